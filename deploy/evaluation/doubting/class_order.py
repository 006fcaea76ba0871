"""Whether a network numbers the classes otherwise than the labels do, by its answers alone.

A class that the network means by another number shows in the table of answers and labels: one
answer meets one label, and mostly no other, each way. Confused classes do not: both answers meet
both labels. The rule is stated at :func:`other_order`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.metrics.accuracy import accuracy, mcnemar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.results import Accuracy

MOSTLY = 0.6
"""How far an answer and a label of one class meet each other alone; 1 where they always do."""
_OF_FEW = 0.9
"""The same of two or three classes, which a network that was never trained may tell apart."""
_FEW = 3
UNLIKELY = 1e-4
"""Of McNemar's test: what is chosen among many things has to be less likely by chance."""
_OF_A_CLASS = 3
"""How often a class has to be met on average, and once less at least."""
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Order:
    """Classes that a network numbers otherwise.

    Attributes:
        scored: the accuracy, once answers are numbered as labels are.
        shift: what a class's number is to be raised by, where that is all; 0 where it is not.
        means: the network's class to that of the labels, of those that differ.
    """

    scored: Accuracy
    shift: int
    means: Mapping[int, int]

    def told(self, source: DataSource) -> str:
        """What it is, in words."""
        share = f"{100 * self.scored.fraction:.2f} % are right where"
        if self.shift:
            way = "less" if self.shift == 1 else "more"
            return (
                f"{share} the network counts one {way} than the labels: the classes are off by one"
            )
        classes = source.classes
        what = (
            f"but {source.order} says another order"
            if source.order
            else "classes.txt beside the folders says it"
        )
        end = ";" if source.order else ":"
        if 2 * len(self.means) > len(classes):
            full = {**{each: each for each in range(len(classes))}, **self.means}
            known = [classes[full[number]] for number in range(min(len(classes), _SHOWN))]
            more = ", ..." if len(classes) > _SHOWN else ""
            return (
                f"{share} the classes come in the network's order, {', '.join(known)}{more}"
                f"{end} {what}"
            )
        pairs = [f"{classes[one]} means {classes[other]}" for one, other in self.means.items()]
        more = ", ..." if len(pairs) > _SHOWN else ""
        return (
            f"{share} some classes come in the network's order, in which "
            f"{', '.join(pairs[:_SHOWN])}{more}{end} {what}"
        )


def other_order(
    answers: NDArray[np.int64], labels: NDArray[np.int64], classes: int
) -> Order | None:
    """The order of the classes that explains the answers, where it is not that of the labels.

    An answer means another class where each is what the other meets most. Such classes count where
    they change places among each other, where they meet each other mostly (``MOSTLY``, the mean of
    the Dice coefficients) and three times each, and where that many more right answers are no
    chance (``UNLIKELY``). Of all answers, most have to be right then.

    Args:
        answers: (samples,).
        labels: (samples,).
        classes: how many there are.
    """
    if not len(labels) or classes < 2 or np.any((answers < 0) | (answers >= classes)):
        return None
    before = answers == labels
    mostly = _OF_FEW if classes <= _FEW else MOSTLY
    # what one answer to all of them reaches, so that an order may do so too
    alike = float(np.bincount(labels, minlength=classes).max() / len(labels))
    met = np.zeros((classes, classes), np.int64)
    np.add.at(met, (answers, labels), 1)
    for shift in (1, -1):
        after = answers + shift == labels
        scored = accuracy(after)
        if scored.low > alike and scored.fraction > mostly and _is_better(after, before):
            return Order(scored, shift, {})
    means: dict[int, int] = {}
    for places in _moved(met):
        if _is_evident(met, places, mostly):
            means |= places
    numbers = np.arange(classes)
    numbers[list(means)] = list(means.values())
    scored = accuracy(numbers[answers] == labels)
    if not means or scored.fraction <= mostly:
        return None
    return Order(scored, 0, dict(sorted(means.items())))


def _is_evident(met: NDArray[np.int64], places: Mapping[int, int], mostly: float) -> bool:
    """Whether answers mean other classes, by the rule of :func:`other_order`."""
    links = [(one, other) for one, other in places.items() if met[one, other]]
    hits = [int(met[link]) for link in links]
    right = sum(int(met[one, one]) for one in places)
    shares = [2 * met[link] / (met[link[0]].sum() + met[:, link[1]].sum()) for link in links]
    return (
        len(links) > 1
        and min(hits) >= _OF_A_CLASS - 1
        and sum(hits) >= _OF_A_CLASS * len(hits)
        and float(np.mean(shares)) > mostly
        and mcnemar(right, sum(hits)) < UNLIKELY
    )


def _is_better(after: NDArray[np.bool_], before: NDArray[np.bool_]) -> bool:
    return mcnemar(int((before & ~after).sum()), int((after & ~before).sum())) < UNLIKELY


def _moved(met: NDArray[np.int64]) -> list[dict[int, int]]:
    """Answers to the labels that they may mean instead, in groups that change places."""
    rows, columns = met.max(axis=1), met.max(axis=0)
    best = (met > 0) & (met == rows[:, np.newaxis]) & (met == columns)
    links = {
        int(one): int(np.flatnonzero(best[one])[0])
        for one in np.flatnonzero(best.any(axis=1))
        if not best[one, one]
    }
    if len(set(links.values())) < len(links):  # equal counts, of which none tells
        taken = list(links.values())
        links = {one: other for one, other in links.items() if taken.count(other) == 1}
    groups = []
    while links:
        chain = _chain(links, next(iter(links)))
        places = {one: links.pop(one) for one in chain}
        begin, end = chain[0], places[chain[-1]]
        # an end stays open only where no sample tells of it
        if end == begin or not (met[:, begin].any() or met[end].any()):
            groups.append({**places, **({} if end == begin else {end: begin})})
    return groups


def _chain(links: Mapping[int, int], one: int) -> Sequence[int]:
    """The answers that lead to one and follow from it, in their order."""
    before = {other: each for each, other in links.items()}
    begin = one
    while begin in before and before[begin] != one:
        begin = before[begin]
    chain = [begin]
    while links[chain[-1]] in links and links[chain[-1]] != begin:
        chain.append(links[chain[-1]])
    return chain
