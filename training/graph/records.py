"""What a training run on a graph says of itself: of each epoch, and at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.training.graph.recipe import GraphRecipe


@dataclass(frozen=True, slots=True)
class GraphEpoch:
    """One line of a run's history.

    Accuracies are fractions, ``test`` is None unless the recipe asks for it.
    """

    epoch: int
    loss: float
    accuracy: float
    validation_loss: float
    validation: float
    test: float | None


@dataclass(frozen=True, slots=True)
class GraphResult:
    """A finished run.

    Attributes:
        recipe: what was run.
        folder: holds ``best.safetensors``, ``last.safetensors`` and ``run.json``.
        best_epoch: the epoch of the lowest validation loss, whose checkpoint is kept.
        validation: its accuracy on the validation nodes, a fraction.
        test_correct: test nodes that it classifies right.
        test_total: test nodes.
        test_selected: the highest test accuracy of any epoch, a fraction: no honest figure, and
            only to be compared with published ones that were selected so. None unless the recipe
            asks for it.
        seconds: of this call.
        history: one record an epoch.
    """

    recipe: GraphRecipe
    folder: Path
    best_epoch: int
    validation: float
    test_correct: int
    test_total: int
    test_selected: float | None
    seconds: float
    history: tuple[GraphEpoch, ...]
