"""Whether a network answers its own data better than guessing, before anything rests on it.

Where it does not, other preprocessings and orders of the classes are tried on the same few samples:
a wrong one is the most common cause, and every figure that follows would be about noise.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
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
    from collections.abc import Iterator
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


@dataclass(frozen=True, slots=True)
class _Better:
    """What does better than the answers as they are: how well, and in words."""

    scored: Accuracy
    told: str


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
        renamed = _renamed(found, few.class_labels, source, scored)
        if renamed is None:
            return ""
        share = f"{100 * scored.fraction:.2f} % of {counted(scored.total, 'sample')} are right"
        fed = _better_fed(artefact, source, few, session, scored)
        if fed is not None and fed.scored.high >= renamed.scored.fraction:
            return f"{artefact}: {share}: is the preprocessing right? {fed.told}"
        return f"{artefact}: {share}; {renamed.told}"
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
    scored = accuracy(answers == few.class_labels)
    renamed = _renamed(answers, few.class_labels, source, scored)
    better = _better_fed(artefact, source, few, session, scored)
    # an order of the classes is chosen among many, so that one as good as another feed is by chance
    if better is not None and (renamed is None or better.scored.high >= renamed.scored.fraction):
        return better.told
    return "" if renamed is None else renamed.told


def _better_fed(
    artefact: Path, source: DataSource, few: Split, session: Session, scored: Accuracy
) -> _Better | None:
    """The preprocessing that does best on the same samples; None where none is better."""
    better: list[tuple[Accuracy, str]] = []
    for flags, preprocessing in _others(source):
        other = _answers(artefact, replace(source, preprocessing=preprocessing), few, session)
        if isinstance(other, np.ndarray):
            found = accuracy(other == few.class_labels)
            if found.low > scored.high:
                better.append((found, flags))
    if not better:
        return None
    best, flags = max(better, key=lambda each: each[0].fraction)
    noted = noted_by(artefact) is not None
    remedy = f"; {artefact.name} notes another, so write it again with that" if noted else ""
    share = f"{100 * best.fraction:.2f} % on {len(few)} of the same samples"
    return _Better(best, f"{flags} reaches {share}{remedy}")


def _renamed(
    answers: NDArray[np.int64],
    labels: NDArray[np.int64],
    source: DataSource,
    scored: Accuracy,
) -> _Better | None:
    """Whether answers and labels agree but for the numbers of the classes; None where not."""
    classes = source.classes
    count = len(classes)
    if len(labels) < _OF_A_CLASS * count:
        return None
    # what one answer to all of them reaches: an order of the classes is found among several
    alike = float(np.bincount(labels, minlength=count).max() / len(labels))
    worst = max(scored.high, alike)
    for shift in (1, -1):
        found = accuracy(answers + shift == labels)
        if found.low > worst and found.fraction > _MOSTLY:
            way = "less" if shift == 1 else "more"
            return _Better(
                found,
                f"{100 * found.fraction:.2f} % are right where the network counts one {way} than "
                "the labels: the classes are off by one",
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
        return None
    order = ", ".join(classes[means[answer]] for answer in range(min(count, _SHOWN)))
    what = (
        f"but {source.order} says another order"
        if source.order
        else "classes.txt beside the folders says it"
    )
    return _Better(
        found,
        f"{100 * found.fraction:.2f} % are right where the classes come in the network's order, "
        f"{order}{', ...' if count > _SHOWN else ''}{';' if source.order else ':'} {what}",
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
    if used.channels == "bgr" and colours:
        yield f"--channels rgb{kept}", replace(used, channels="rgb")
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
