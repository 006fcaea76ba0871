"""Whether a network answers its own data better than guessing, before anything rests on it.

Where it does not, other preprocessings are tried on the same few samples: a wrong one is the most
common cause, and every figure that follows would be about noise.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data import batches
from edgeq.deploy.evaluation.chain import reference_of
from edgeq.deploy.evaluation.outputs.answers import answering
from edgeq.deploy.guessing import like_guessing
from edgeq.deploy.preprocessing import named
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import detect, resolve
from edgeq.metrics.accuracy import hardly_better, near_chance, share_right

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeq.data import DataSource, Preprocessing, Split
    from edgeq.results import Accuracy
    from edgeq.target import Session

SAMPLES = 128
_BATCH = 16


def implausible(artefact: Path, source: DataSource, part: Split, session: Session) -> str:
    """What is odd about a network's answers on labelled classes, in words; empty for nothing.

    Args:
        artefact: the file.
        source: the data, as they are fed.
        part: the samples, of which some, evenly spread, are used.
        session: the network, opened.
    """
    if source.task != "top1" or part.labels is None or len(source.classes) < 2 or not len(part):
        return ""
    few = part.take(np.linspace(0, len(part) - 1, min(len(part), SAMPLES)).astype(np.int64))
    scored = _accuracy(artefact, source, few, session)
    if scored is None or not near_chance(scored, len(source.classes)):
        return ""
    told = (
        f"{artefact}: {like_guessing(scored, len(source.classes))}, on {scored.total} samples: is "
        "the preprocessing right?"
    )
    better: list[tuple[float, str]] = []
    for flags, preprocessing in _others(source):
        other = replace(source, preprocessing=preprocessing)
        found = _accuracy(artefact, other, few, session)
        if found is not None and found.low > scored.high:
            better.append((found.fraction, flags))
    if not better:
        luck = not hardly_better(scored, len(source.classes))  # so few samples may mislead
        return "" if luck else f"{told} Others were tried, and none is better"
    share, flags = max(better, key=lambda each: each[0])
    return f"{told} {flags} reaches {100 * share:.2f} % on the same samples"


def doubts(artefact: Path, source: DataSource) -> str:
    """As :func:`implausible`, of a file on the reference of its format and the test samples.

    Empty where it cannot be run there.
    """
    with suppress(EdgeqError):
        path = resolve(artefact)
        with reference_of(detect(path)).open(path) as session:
            return implausible(path, source, source.test, session)
    return ""


def _others(source: DataSource) -> Iterator[tuple[str, Preprocessing]]:
    """Flags, and what they make of the preprocessing in use."""
    known, used = named(source), source.preprocessing
    plain = known["raw"]
    unit = replace(plain, scale=Fraction(1, 255))
    centred = replace(plain, mean=(127.5,), std=(127.5,))
    colours = 3 in next(iter(source.shapes.values()))
    candidates = {
        "--preprocess raw": plain,
        "--preprocess raw --scale 1/255": unit,
        "--preprocess raw --mean 127.5 --std 127.5": centred,
        **({"--preprocess imagenet": known["imagenet"]} if colours else {}),
    }
    for flags, values in [("", used), *candidates.items()]:
        if values != used:
            yield flags, values
        if values.channels == "rgb" and colours:
            yield f"{flags} --channels bgr".strip(), replace(values, channels="bgr")


def _accuracy(artefact: Path, source: DataSource, part: Split, session: Session) -> Accuracy | None:
    """Of the network on some samples fed so; None where it has none, or cannot be fed so."""
    right = 0
    try:
        for fed, labels in batches(part, source, _BATCH):
            output = session.run(fed)
            how = answering(artefact, session.output, output.shape[1:], source)
            answers = how.of(output)
            if how.unscored or answers is None:
                return None
            right += int((answers[:, 0] == labels).sum())
    except EdgeqError:
        return None
    return share_right(right, len(part))
