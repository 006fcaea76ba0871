"""What a training run on a graph says of itself: of each epoch, and at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.training.run.records import RunResult

if TYPE_CHECKING:
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
class GraphResult(RunResult):
    """A finished run on a graph; its best epoch is the one of the lowest validation loss.

    Attributes:
        test_selected: the max test accuracy of any epoch, a fraction: no honest figure, and only
            to be compared with published ones that were selected so. None unless the recipe asks
            for it.
    """

    recipe: GraphRecipe
    history: tuple[GraphEpoch, ...]
    test_selected: float | None
