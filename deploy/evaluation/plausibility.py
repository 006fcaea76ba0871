"""Whether a network answers its own data better than guessing, before anything rests on it.

Where it does not, other preprocessings and orders of the classes are tried on the same few samples:
a wrong one is the most common cause, and every figure that follows would be about noise.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data import batches
from edgeq.data.splitting import spread
from edgeq.deploy.evaluation.chain import judging_stage, load_target
from edgeq.deploy.evaluation.outputs.answers import AS_VALUES, Answering, answering
from edgeq.deploy.guessing import NOTHING_BETTER, like_guessing
from edgeq.deploy.preprocessing import named, noted_by
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import resolve
from edgeq.metrics.accuracy import accuracy, hardly_better, near_chance
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Preprocessing, Split
    from edgeq.results import Accuracy
    from edgeq.target import Session

SAMPLES = 128
_BATCH = 16
_OF_A_CLASS = 3  # samples, with which an order of the classes is no chance find
_MOSTLY = 0.6
_SHOWN = 10


def implausible(artefact: Path, source: DataSource, part: Split, session: Session) -> str:
    """What is odd about a network's answers on labelled classes, in words; empty for nothing.

    Args:
        artefact: the file.
        source: the data, as they are fed.
        part: the samples, of which some, evenly spread, are used.
        session: the network, opened.
    """
    if not _has_classes(source, part):
        return ""
    few = _few(part)
    found = _answers(artefact, source, few, session)
    if isinstance(found, Answering):
        return f"{artefact}: {AS_VALUES}" if found.alone else ""
    if found is None:
        return ""
    scored = accuracy(found == few.class_labels)
    if not near_chance(scored, len(source.classes)):
        renamed = _renamed(found, few.class_labels, source.classes, scored)
        share = f"{100 * scored.fraction:.2f} % of {counted(scored.total, 'sample')} are right"
        return f"{artefact}: {share}; {renamed}" if renamed else ""
    better = _tried(artefact, source, few, session, found)
    if not better and not hardly_better(scored, len(source.classes)):
        return ""  # so few samples may mislead
    return (
        f"{artefact}: {like_guessing(scored, len(source.classes))}, on "
        f"{counted(scored.total, 'sample')}: is the preprocessing right? {better or NOTHING_BETTER}"
    )


def doubts(artefact: Path, source: DataSource) -> str:
    """As :func:`implausible`, of a file on the reference of its format and the test samples.

    Empty where it cannot be run there.
    """
    if not _has_classes(source, source.test):
        return ""
    with suppress(EdgeqError):
        path = resolve(artefact)
        with load_target(judging_stage(path).target).open(path) as session:
            return implausible(path, source, source.test, session)
    return ""


def tried(artefact: Path, source: DataSource, part: Split, session: Session) -> str:
    """What else was tried on a network that answers like guessing, and what came of it.

    Args:
        artefact: the file.
        source: the data, as they are fed.
        part: the samples, of which some, evenly spread, are used.
        session: the network, opened.

    Returns:
        A sentence; empty where nothing could be tried.
    """
    if not _has_classes(source, part):
        return ""
    few = _few(part)
    found = _answers(artefact, source, few, session)
    if not isinstance(found, np.ndarray):
        return ""
    return _tried(artefact, source, few, session, found) or NOTHING_BETTER


def tried_on_reference(artefact: Path, source: DataSource, part: Split) -> str:
    """As :func:`tried`, of a file on the reference of its format; empty where it does not run."""
    with suppress(EdgeqError):
        path = resolve(artefact)
        with load_target(judging_stage(path).target).open(path) as session:
            return tried(path, source, part, session)
    return ""


def _has_classes(source: DataSource, part: Split) -> bool:
    return (
        source.task == "top1"
        and part.labels is not None
        and len(source.classes) > 1
        and len(part) > 0
    )


def _few(part: Split) -> Split:
    return part.take(spread(min(len(part), SAMPLES), len(part)))


def _tried(
    artefact: Path,
    source: DataSource,
    few: Split,
    session: Session,
    answers: NDArray[np.int64],
) -> str:
    """What does better than some answers on the same samples; empty for nothing."""
    labels = few.class_labels
    scored = accuracy(answers == labels)
    if renamed := _renamed(answers, labels, source.classes, scored):
        return renamed
    better: list[tuple[float, str]] = []
    for flags, preprocessing in _others(source):
        other = _answers(artefact, replace(source, preprocessing=preprocessing), few, session)
        if isinstance(other, np.ndarray) and (found := accuracy(other == labels)).low > scored.high:
            better.append((found.fraction, flags))
    if not better:
        return ""
    share, flags = max(better, key=lambda each: each[0])
    noted = noted_by(artefact) is not None
    remedy = f"; {artefact.name} notes another, so write it again with that" if noted else ""
    return f"{flags} reaches {100 * share:.2f} % on {len(few)} of the same samples{remedy}"


def _renamed(
    answers: NDArray[np.int64],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    scored: Accuracy,
) -> str:
    """Whether answers and labels agree but for the numbers of the classes; empty where not."""
    count = len(classes)
    if len(labels) < _OF_A_CLASS * count:
        return ""
    # what one answer to all of them reaches: an order of the classes is found among several
    alike = float(np.bincount(labels, minlength=count).max() / len(labels))
    worst = max(scored.high, alike)
    for shift in (1, -1):
        found = accuracy(answers + shift == labels)
        if found.low > worst and found.fraction > _MOSTLY:
            way = "less" if shift == 1 else "more"
            return (
                f"{100 * found.fraction:.2f} % are right where the network counts one {way} than "
                "the labels: the classes are off by one"
            )
    met = np.zeros((count, count), np.int64)
    np.add.at(met, (answers, labels), 1)
    means: dict[int, int] = {}
    taken: set[int] = set()
    for place in np.argsort(-met, axis=None, kind="stable"):
        answer, label = divmod(int(place), count)
        if answer not in means and label not in taken:
            means[answer] = label
            taken.add(label)
    found = accuracy(np.array([means[int(answer)] for answer in answers]) == labels)
    if found.low <= worst or found.fraction <= _MOSTLY:
        return ""
    order = ", ".join(classes[means[answer]] for answer in range(min(count, _SHOWN)))
    return (
        f"{100 * found.fraction:.2f} % are right where the classes come in the network's order, "
        f"{order}{', ...' if count > _SHOWN else ''}: classes.txt beside the folders says it"
    )


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
    kept = _kept(source)
    for flags, values in [("", used), *candidates.items()]:
        if values != used:
            yield f"{flags}{kept}", values
        if values.channels == "rgb" and colours:
            yield f"{flags} --channels bgr{kept}".strip(), replace(values, channels="bgr")


def _kept(source: DataSource) -> str:
    """The flags of what stays as it is, of which a file may note nothing."""
    used, told = source.preprocessing, ""
    for name in ("resize", "center_crop", "letterbox"):
        if size := getattr(used, name):
            told += f" --{name.replace('_', '-')} {'x'.join(map(str, size))}"
    if used.interpolation != "bilinear" and used.changes_size:
        told += f" --interpolation {used.interpolation}"
    return told + (f" --layout {used.layout}" if used.layout != "nchw" else "")


def _answers(
    artefact: Path, source: DataSource, part: Split, session: Session
) -> NDArray[np.int64] | Answering | None:
    """The class that a network answers each sample with: int64, (samples,).

    How it answers where that is no class; None where it cannot be fed so.
    """
    found = []
    try:
        for fed, _ in batches(part, source, _BATCH):
            output = session.run(fed)
            how = answering(artefact, session.output, output.shape[1:], source)
            answers = how.of(output)
            if how.unscored or answers is None:
                return how
            found.append(answers[:, 0])
    except EdgeqError:
        return None
    return np.concatenate(found)
