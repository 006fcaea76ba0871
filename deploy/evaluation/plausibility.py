"""Whether a network's answers on labelled classes are what its labels and its samples allow.

Where they are not, other preprocessings and orders of the classes are tried on the same few
samples: a wrong one is the most common cause, and every figure that follows would be about noise.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.data import batches
from edgeq.data.splitting import spread
from edgeq.deploy.evaluation.chain import judging_stage, load_target
from edgeq.deploy.evaluation.doubting.class_order import UNLIKELY, other_order
from edgeq.deploy.evaluation.doubting.other_feeds import others
from edgeq.deploy.evaluation.doubting.recorded import recorded_accuracy
from edgeq.deploy.evaluation.outputs.answers import AS_VALUES, Answering, answering, remarks
from edgeq.deploy.guessing import NOTHING_BETTER, like_guessing
from edgeq.deploy.preprocessing import noted_by
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import resolve
from edgeq.metrics.accuracy import accuracy, hardly_better, mcnemar, near_chance
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import DataSource, Preprocessing, Split
    from edgeq.deploy.evaluation.doubting.class_order import Order
    from edgeq.results import Accuracy
    from edgeq.target import Session

SAMPLES = 128
DOUBTFUL = 0.75
"""Below it, an accuracy is low enough that other ways to feed the samples are tried."""
_FIRST = 32  # samples on which most of those are ruled out
_KEPT = 4  # the ways that are tried on all samples
_BATCH = 16
_MENDED = 1 / 3
"""So many of the wrong answers another preprocessing has to turn right."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """What is odd about answers.

    Attributes:
        told: what it is, in words.
        flags: the preprocessing that does better, as flags; empty where none does.
    """

    told: str
    flags: str = ""


@dataclass(frozen=True, slots=True)
class Answered:
    """What a stage answered.

    Attributes:
        name: of the stage.
        artefact: its file.
        session: the file, opened.
        answers: int64, (samples,).
    """

    name: str
    artefact: Path
    session: Session
    answers: NDArray[np.int64]

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class _Better:
    """A preprocessing that does better than the one in use."""

    scored: Accuracy
    flags: str
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
        doubts = doubtful([Answered(str(artefact), artefact, session, found)], source, few)
        return "; ".join(each.told for each in doubts)
    better = _tried(artefact, source, few, session, found)
    if better is None and not hardly_better(scored, len(source.classes)):
        return ""  # so few samples may mislead
    told = NOTHING_BETTER if better is None else better.told
    return (
        f"{artefact}: {like_guessing(scored, len(source.classes))}, on "
        f"{counted(scored.total, 'sample')}: is the preprocessing right? {told}"
    )


def remarks_on(
    stages: Sequence[Answered],
    scored: Sequence[tuple[str, Answering, Accuracy | None]],
    source: DataSource,
    part: Split,
) -> tuple[tuple[str, ...], list[Doubt]]:
    """What a reader of accuracies has to know, a sentence or some each, and what is odd of them.

    Args:
        stages: those that answer with anything.
        scored: name of each stage, how its outputs are read, and its accuracy.
        source: the data, as they are fed.
        part: the samples that they answered.
    """
    found: list[Doubt] = []
    opened = {each.name: each for each in stages}

    def look(name: str) -> str:
        stage = opened[name]
        doubt = tried(stage.artefact, source, part, stage.session)
        if doubt is not None and doubt.flags:
            found.append(doubt)
        return "" if doubt is None else doubt.told

    told = remarks(scored, source, look)
    named = {name for name, _, accuracy in scored if accuracy is not None}
    more = doubtful([each for each in stages if each.name in named], source, part)
    return (*told, *(each.told for each in more)), [*found, *more]


def doubtful(stages: Sequence[Answered], source: DataSource, part: Split) -> list[Doubt]:
    """What is odd about the answers of stages of which one is better than guessing, or may be.

    Looked into are those that are right of less than ``DOUBTFUL`` of the samples, of less than
    another stage by more than their intervals, or of less than was recorded in training, and those
    whose answers follow another order of the classes. Others cost nothing.

    Args:
        stages: in the order of the chain.
        source: the data, as they are fed.
        part: the samples that they answered.
    """
    if not _has_classes(source, part):
        return []
    labels, count = part.class_labels, len(source.classes)
    scored = {each.name: accuracy(each.answers == labels) for each in stages}
    if all(hardly_better(each, count) for each in scored.values()):
        return []
    best = max(each.low for each in scored.values())
    found: dict[str, Doubt] = {}
    looked: dict[Path, tuple[Accuracy, Doubt | None]] = {}
    for stage in stages:
        mine = scored[stage.name]
        order = other_order(stage.answers, labels, count)
        record = _short_of_record(stage.artefact, source, mine)
        if order is None and not record and mine.high >= max(best, DOUBTFUL):
            continue
        known = looked.get(stage.artefact)
        if known is None or not (known[0].low <= mine.high and mine.low <= known[0].high):
            fed = _few(part)
            looked[stage.artefact] = known = mine, _looked_into(stage, source, fed, order)
        told = known[1] or (Doubt(record) if record else None)
        if told is not None:
            found[stage.name] = told
    return [
        replace(
            doubt, told=f"{', '.join(name for name in found if found[name] == doubt)}: {doubt.told}"
        )
        for doubt in dict.fromkeys(found.values())
    ]


def _looked_into(
    stage: Answered, source: DataSource, few: Split, order: Order | None
) -> Doubt | None:
    """Why a stage is not as right as it should be; None where nothing does better."""
    now = _answers(stage.artefact, source, few, stage.session)
    if not isinstance(now, np.ndarray):
        return None
    right = now == few.class_labels
    scored = accuracy(right)
    share = f"{100 * scored.fraction:.2f} % of {counted(scored.total, 'sample')} are right"
    better = _better_fed(stage.artefact, source, few, stage.session, right)
    # an order of the classes is chosen among many, so that one as good as another feed is by chance
    if better is not None and (order is None or better.scored.high >= order.scored.fraction):
        return Doubt(f"{share}: is the preprocessing right? {better.told}", better.flags)
    return None if order is None else Doubt(f"{order.told(source)}")


def _short_of_record(artefact: Path, source: DataSource, scored: Accuracy) -> str:
    """That an accuracy is far from what was recorded, in words; empty where it is not."""
    recorded = recorded_accuracy(artefact, source)
    if recorded is None or scored.high >= recorded.low:
        return ""
    return (
        f"{100 * scored.fraction:.2f} % of {counted(scored.total, 'sample')} are right, and at "
        f"the end of training {100 * recorded.fraction:.2f} % were: are the samples, their labels "
        f"and the preprocessing those of training? {NOTHING_BETTER}"
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


def tried(artefact: Path, source: DataSource, part: Split, session: Session) -> Doubt | None:
    """What else was tried on a network that answers like guessing, and what came of it.

    Args:
        artefact: the file.
        source: the data, as they are fed.
        part: the samples, of which some, evenly spread, are used.
        session: the network, opened.

    Returns:
        A sentence; None where nothing could be tried.
    """
    if not _has_classes(source, part):
        return None
    few = _few(part)
    found = _answers(artefact, source, few, session)
    if not isinstance(found, np.ndarray):
        return None
    return _tried(artefact, source, few, session, found) or Doubt(NOTHING_BETTER)


def tried_on_reference(artefact: Path, source: DataSource, part: Split) -> str:
    """As :func:`tried`, of a file on the reference of its format; empty where it does not run."""
    with suppress(EdgeqError):
        path = resolve(artefact)
        with load_target(judging_stage(path).target).open(path) as session:
            found = tried(path, source, part, session)
            return "" if found is None else found.told
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
) -> Doubt | None:
    """What does better than some answers on the same samples; None for nothing."""
    order = other_order(answers, few.class_labels, len(source.classes))
    better = _better_fed(artefact, source, few, session, answers == few.class_labels)
    # an order of the classes is chosen among many, so that one as good as another feed is by chance
    if better is not None and (order is None or better.scored.high >= order.scored.fraction):
        return Doubt(better.told, better.flags)
    return None if order is None else Doubt(order.told(source))


def _better_fed(
    artefact: Path, source: DataSource, few: Split, session: Session, right: NDArray[np.bool_]
) -> _Better | None:
    """The preprocessing that does best on the same samples; None where none is better.

    Better is one that turns a third of the wrong answers right, by more than both intervals, and
    more than chance explains by McNemar's test.
    """
    first = spread(min(len(few), _FIRST), len(few))
    likely: list[tuple[int, str, Preprocessing]] = []
    for flags, preprocessing in others(source):
        met = _right(artefact, source, preprocessing, few.take(first), session)
        if met is not None and (gained := int(met.sum()) - int(right[first].sum())) > 0:
            likely.append((gained, flags, preprocessing))
    scored = accuracy(right)
    better: list[tuple[Accuracy, str]] = []
    for _, flags, preprocessing in sorted(likely, key=lambda each: -each[0])[:_KEPT]:
        met = _right(artefact, source, preprocessing, few, session)
        if met is None:
            continue
        found = accuracy(met)
        lost, gained = int((right & ~met).sum()), int((met & ~right).sum())
        if (
            found.low > scored.high
            and found.fraction - scored.fraction >= _MENDED * (1 - scored.fraction)
            and mcnemar(lost, gained) < UNLIKELY
        ):
            better.append((found, flags))
    if not better:
        return None
    best, flags = max(better, key=lambda each: each[0].fraction)
    noted = noted_by(artefact) is not None
    remedy = f"; {artefact.name} notes another, so write it again with that" if noted else ""
    share = f"{100 * best.fraction:.2f} % on {len(few)} of the same samples"
    return _Better(best, flags, f"{flags} reaches {share}{remedy}")


def _right(
    artefact: Path, source: DataSource, fed: Preprocessing, part: Split, session: Session
) -> NDArray[np.bool_] | None:
    """Which samples are answered right where they are fed so; None where they cannot be."""
    found = _answers(artefact, replace(source, preprocessing=fed), part, session)
    return found == part.class_labels if isinstance(found, np.ndarray) else None


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
