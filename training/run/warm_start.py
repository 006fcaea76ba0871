"""The network that a run starts with.

Random, or with the weights of an earlier run, whatever that one was quantised to.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from edgeq.data import normalize
from edgeq.errors import ArtefactError, UsageError
from edgeq.factories import is_reference
from edgeq.training import checkpoint as checkpoints
from edgeq.training.kept_function import quantize

if TYPE_CHECKING:
    from torch import nn

    from edgeq.data import DataSource
    from edgeq.training.checkpoint import Checkpoint
    from edgeq.training.recipes.recipe import Recipe


_EXAMPLES = 16  # samples on which a scheme that changes the network is found out


def settled(recipe: Recipe) -> Recipe:
    """A recipe whose scheme leaves nothing open that hangs on what training starts from.

    Weights are normalised, as published, where a network of the zoo starts at random. A quantised
    checkpoint goes on as it is. What comes from elsewhere, such as a float checkpoint or a network
    of the user's own, may be trained, and keeps what it computes.

    Raises:
        ArtefactError: the checkpoint to start from is none.
    """
    if recipe.scheme is None:
        return recipe
    normalize = recipe.init_from is None and not is_reference(recipe.model)
    if recipe.scheme.normalize_weights is None and recipe.init_from is not None:
        before = checkpoints.read(Path(recipe.init_from)).recipe.scheme
        normalize = before is not None and bool(before.normalize_weights)
    return replace(recipe, scheme=recipe.scheme.settled(normalize_weights=normalize))


def starting_model(recipe: Recipe, source: DataSource) -> nn.Module:
    """The network of a recipe before its first step; chance comes from the recipe's seed.

    Raises:
        ArtefactError: the checkpoint to start from is none, or of another network.
        UsageError: it is quantised, and an FP32 run is to start from it.

    Warns:
        FunctionChanged: the scheme changes what the network computes before its first step.
    """
    torch.manual_seed(recipe.seed)
    if recipe.init_from is None and recipe.scheme is not None and is_reference(recipe.model):
        made = checkpoints.build_model(
            replace(recipe, scheme=None), source.shape, len(source.classes)
        )
        return quantize(made, recipe.scheme, _example(source))  # it may be trained
    if recipe.init_from is None:
        return checkpoints.build_model(recipe, source.shape, len(source.classes))
    path = Path(recipe.init_from)
    saved = checkpoints.read(path)
    if (found := (saved.recipe.model, saved.input_shape, len(saved.classes))) != (
        recipe.model,
        source.shape,
        len(source.classes),
    ):
        raise ArtefactError(
            f"{path} holds {found[0]} for inputs of {found[1]} and {found[2]} classes, not "
            f"{recipe.model} for {source.shape} and "
            f"{len(source.classes)}",
            hint="start from a checkpoint of the same network and kind of data",
        )
    if saved.recipe.scheme is None and recipe.scheme is not None:
        model = checkpoints.build_model(saved.recipe, source.shape, len(source.classes))
        checkpoints.restore(model, saved, path)
        # after the weights are in: the first bounds come from them
        return quantize(model, recipe.scheme, _example(source))
    if recipe.scheme is None and saved.recipe.scheme is not None:
        raise UsageError(
            f"{path} is quantised, and the run is in FP32",
            hint="start an FP32 run from an FP32 checkpoint, or at random",
        )
    model = checkpoints.build_model(recipe, source.shape, len(source.classes))
    _copy_common(model, saved, path)
    return model


def _example(source: DataSource) -> torch.Tensor:
    return torch.from_numpy(normalize(source.train.images[:_EXAMPLES], source))


@torch.no_grad()
def _copy_common(model: nn.Module, saved: Checkpoint, path: Path) -> None:
    """Everything but quantisers has to be there; of quantisers, what both schemes have."""
    for name, tensor in checkpoints.model_state(model).items():
        found = saved.tensors.get(checkpoints.MODEL + name)
        if found is not None and found.shape == tensor.shape:
            tensor.copy_(found)
        elif "quantizer" not in name:
            raise ArtefactError(
                f"{path} does not fit: {name!r} differs",
                hint="start from a checkpoint of the same network and placement",
            )
