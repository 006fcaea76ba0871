"""What a training run says of itself: while it runs, after each epoch, and at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.results import Score
    from edgeq.training.recipes.any_recipe import AnyRecipe
    from edgeq.training.recipes.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a run stands, after each step.

    Attributes:
        epoch: from 0.
        epochs: in all.
        step: steps done in this epoch.
        steps: in an epoch.
        loss: mean loss of the epoch so far.
        accuracy: on training samples of the epoch so far, a fraction; None where the task has none.
        validation: accuracy on the validation split after the last whole epoch, None before.
        bits: the annealing width, None at the target widths.
        eta_s: seconds left at the present speed.
    """

    epoch: int
    epochs: int
    step: int
    steps: int
    loss: float
    accuracy: float | None
    validation: float | None
    bits: int | None
    eta_s: float


def seconds_left(done: int, total: int, first: int, started: float) -> float:
    """At the pace of this call.

    Args:
        done: steps, at least one of them in this call.
        total: steps of the run.
        first: steps that were done before this call.
        started: when this call began, by ``time.monotonic``.
    """
    speed = (done - first) / max(time.monotonic() - started, 1e-9)
    return (total - done) / speed


@dataclass(frozen=True, slots=True)
class Epoch:
    """One line of a run's history; accuracies are fractions.

    ``validation`` is the score where the task is none of classification, and ``accuracy`` None
    where the task has no right and wrong.
    """

    epoch: int
    loss: float
    accuracy: float | None
    validation: float
    bits: int | None


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Attributes:
        recipe: what was run.
        folder: holds ``best.safetensors``, ``last.safetensors`` and ``run.json``.
        best_epoch: the epoch of the best checkpoint.
        validation: its accuracy on the validation split or nodes, a fraction; its score there
            where the task is none of classification.
        test_correct: test samples that it classifies right; the test split is used here and
            nowhere before.
        test_total: test samples.
        seconds: of this call.
        history: one record per epoch.
    """

    recipe: AnyRecipe
    folder: Path
    best_epoch: int
    validation: float
    test_correct: int
    test_total: int
    seconds: float
    history: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class TrainingResult(RunResult):
    """A finished run on images.

    Attributes:
        score: on the test split, where the task is none of classification; then ``test_correct``
            and ``test_total`` are 0.
    """

    recipe: Recipe
    history: tuple[Epoch, ...]
    score: Score | None = None
