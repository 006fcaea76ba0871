"""A study: what was tried, what came of it, and which is the best so far."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

from edgeq.calibration.search.precision import Precision

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

Assignment: TypeAlias = Mapping[str, Precision]
"""The precision of each layer, by name, in the order of the network."""

Direction = Literal["max-drop", "budget"]


@dataclass(frozen=True, slots=True)
class LayerSize:
    """What a search knows of a layer.

    Attributes:
        name: its own.
        weights: how many it has.
        channels: its output channels.
        macs: for one sample.
        kind: the operator.
    """

    name: str
    weights: int
    channels: int
    macs: int
    kind: str


@dataclass(frozen=True, slots=True)
class Figures:
    """What came of a trial.

    Attributes:
        score: of the task, in points (hundredths, of a share) or in its own unit.
        sqnr_db: of the outputs against float; infinite where nothing differs.
        cost: in the unit of the study.
    """

    score: float
    sqnr_db: float
    cost: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One assignment, and what came of it.

    Attributes:
        number: from 0 on.
        step: which part of a strategy asked.
        precisions: by layer.
        figures: what came of it.
        kept: whether it is within the limit.
    """

    number: int
    step: str
    precisions: Assignment
    figures: Figures
    kept: bool


@dataclass(frozen=True, slots=True)
class Goal:
    """What is searched for.

    Attributes:
        direction: ``max-drop``: the least cost within a loss; ``budget``: the best score within a
            cost.
        limit: the worst score, or the largest cost.
        higher_is_better: of the score.
    """

    direction: Direction
    limit: float
    higher_is_better: bool = True

    def excess(self, figures: Figures) -> float:
        """How far beyond the limit; 0 or less within it."""
        if self.direction == "budget":
            return figures.cost - self.limit
        loss = self.limit - figures.score
        return loss if self.higher_is_better else -loss

    def kept(self, figures: Figures) -> bool:
        """Whether a trial is within the limit."""
        return self.excess(figures) <= 1e-9

    def rank(self, figures: Figures) -> tuple[float, ...]:
        """A key: the smaller, the better."""
        score = -figures.score if self.higher_is_better else figures.score
        over = max(0.0, self.excess(figures))
        if self.direction == "budget":
            return over, score, -figures.sqnr_db, figures.cost
        return over, figures.cost, score, -figures.sqnr_db


class Study:
    """Tries assignments, within a number of trials and a time.

    Args:
        layers: of the network, in its order.
        evaluate: tries one.
        goal: what is searched for.
        trials: how many are tried, at most.
        seconds: for how long; what is under way then is finished.
        told: called after each trial.

    Attributes:
        layers: as given.
        goal: as given.
        trials: those so far, in their order.
    """

    def __init__(
        self,
        layers: Sequence[LayerSize],
        evaluate: Callable[[Assignment], Figures],
        goal: Goal,
        *,
        trials: int,
        seconds: float = float("inf"),
        told: Callable[[Trial], None] = lambda _trial: None,
    ) -> None:
        self.layers, self.goal = tuple(layers), goal
        self.trials: list[Trial] = []
        self._evaluate, self._most, self._told = evaluate, trials, told
        self._end = time.monotonic() + seconds
        self._seen: dict[str, Trial] = {}

    @property
    def open(self) -> bool:
        """Whether there are trials and time left."""
        return len(self.trials) < self._most and time.monotonic() < self._end

    @property
    def left(self) -> int:
        """How many trials are left."""
        return max(0, self._most - len(self.trials))

    def attempt(self, precisions: Assignment, step: str) -> Trial:
        """Try an assignment; one that was tried before is answered at once."""
        name = key(precisions)
        if name in self._seen:
            return self._seen[name]
        figures = self._evaluate(precisions)
        trial = Trial(len(self.trials), step, dict(precisions), figures, self.goal.kept(figures))
        self.trials.append(trial)
        self._seen[name] = trial
        self._told(trial)
        return trial

    def uniform(self, precision: Precision) -> dict[str, Precision]:
        """The same for all layers."""
        return {layer.name: precision for layer in self.layers}

    def best(self) -> Trial | None:
        """The best within the limit; None where there is none."""
        kept = [trial for trial in self.trials if trial.kept]
        return min(kept, key=lambda trial: self.goal.rank(trial.figures), default=None)

    def nearest(self) -> Trial:
        """The one that is least beyond the limit."""
        return min(self.trials, key=lambda trial: self.goal.rank(trial.figures))


def key(precisions: Assignment) -> str:
    """An assignment as one word, the same in every run."""
    return " ".join(
        each.name if not each.channel_bits else f"{each.name}:{each.channel_bits}"
        for each in precisions.values()
    )


def pareto(trials: Iterable[Trial], *, higher_is_better: bool = True) -> list[Trial]:
    """Those that no other one beats in both cost and score, the cheapest first."""
    sign = -1.0 if higher_is_better else 1.0
    order = sorted(
        trials,
        key=lambda each: (each.figures.cost, sign * each.figures.score, -each.figures.sqnr_db),
    )
    front: list[Trial] = []
    for trial in order:
        if not front or sign * trial.figures.score < sign * front[-1].figures.score:
            front.append(trial)
    return front
