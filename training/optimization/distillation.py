"""The network whose answers a run learns from beside the labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeq.errors import ArtefactError
from edgeq.training import checkpoint as checkpoints

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.data import DataSource
    from edgeq.training.recipes.recipe import Recipe


def load_teacher(
    recipe: Recipe, source: DataSource, device: torch.device
) -> Callable[[torch.Tensor], torch.Tensor] | None:
    """A function from normalised images to the teacher's logits, float32, (n, classes).

    None where a recipe has no teacher.

    Raises:
        ArtefactError: the checkpoint is none, or its inputs or classes are not those of the data.
    """
    if recipe.teacher is None:
        return None
    path = Path(recipe.teacher)
    saved = checkpoints.read(path)
    if (saved.input_shape, saved.classes) != (source.shape, source.classes):
        raise ArtefactError(
            f"the teacher {path} knows inputs of {saved.input_shape} and "
            f"{len(saved.classes)} classes, and {source.name} has "
            f"{source.shape} and {len(source.classes)}",
            hint="choose a teacher that was trained on the same data",
        )
    model = checkpoints.load_model(path).module.to(device).requires_grad_(False)

    def teach(images: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            logits: torch.Tensor = model(images).float()
        return logits

    return teach
