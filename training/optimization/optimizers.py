"""Makes the optimiser that a recipe asks for, and takes its state apart for a checkpoint."""

from __future__ import annotations

from collections import defaultdict
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from edgeq.errors import UsageError
from edgeq.training.layers import WeightQuantizer
from edgeq.training.optimization.rmsprop import RMSProp
from edgeq.training.recipes.optimization import GROUPS, Group

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.training.recipes.recipe import Recipe

_NORMS = (nn.modules.batchnorm._BatchNorm, nn.LayerNorm, nn.GroupNorm)
_PLAIN = "momentum_buffer"  # its name in a checkpoint is the parameter's alone
_REST = Group("*")


def build(recipe: Recipe, model: nn.Module) -> torch.optim.Optimizer:
    """The optimiser: a parameter group for each of the recipe's, and one for the rest.

    Raises:
        UsageError: a group's pattern fits no parameter.
    """
    kinds = _kinds(model)
    members: dict[Group, list[nn.Parameter]] = defaultdict(list)
    for name, parameter in model.named_parameters():
        group = next((group for group in recipe.groups if _fits(group, name, kinds[name])), _REST)
        members[group].append(parameter)
    _check_patterns(recipe, kinds)
    groups = [
        {
            "params": parameters,
            "lr": recipe.lr if group.lr is None else group.lr,
            "weight_decay": recipe.weight_decay
            if group.weight_decay is None
            else group.weight_decay,
        }
        for group, parameters in members.items()
    ]
    optimizer = _make(recipe, groups)
    for made in optimizer.param_groups:
        made["first_lr"] = made["lr"]
    return optimizer


def _make(recipe: Recipe, groups: list[dict[str, Any]]) -> torch.optim.Optimizer:
    chosen = recipe.optimizer
    match chosen.name:
        case "sgd":
            return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum)
        case "adam":
            return torch.optim.Adam(groups, lr=recipe.lr, betas=chosen.betas, eps=chosen.epsilon)
        case "rmsprop":
            return RMSProp(
                groups,
                recipe.lr,
                decay=chosen.decay,
                momentum=recipe.momentum,
                epsilon=chosen.epsilon,
            )


def set_rates(optimizer: torch.optim.Optimizer, multiplier: float) -> None:
    """Let every group learn at a share of its first rate."""
    for group in optimizer.param_groups:
        group["lr"] = group["first_lr"] * multiplier


def state(
    optimizer: torch.optim.Optimizer, parameters: Mapping[str, nn.Parameter]
) -> dict[str, torch.Tensor]:
    """Every tensor that the optimiser keeps, by the parameter's name and its own."""
    return {
        name if key == _PLAIN else f"{name}/{key}": value
        for name, parameter in parameters.items()
        for key, value in optimizer.state[parameter].items()
        if isinstance(value, torch.Tensor)
    }


def restore(
    optimizer: torch.optim.Optimizer,
    parameters: Mapping[str, nn.Parameter],
    saved: Mapping[str, torch.Tensor],
) -> None:
    """The inverse of :func:`state`."""
    for slot, tensor in saved.items():
        name, _, key = slot.partition("/")
        if name in parameters:
            # where PyTorch's optimisers keep them
            device = "cpu" if key == "step" else parameters[name].device
            optimizer.state[parameters[name]][key or _PLAIN] = tensor.to(device)


def _kinds(model: nn.Module) -> dict[str, str | None]:
    """Which of the named groups each parameter is of."""
    kinds: dict[str, str | None] = {}
    modules = dict(model.named_modules())
    of_weights = tuple(
        f"{path}." for path, module in modules.items() if isinstance(module, WeightQuantizer)
    )
    for name, _ in model.named_parameters():
        owner = modules[name.rpartition(".")[0]]
        if name.startswith(of_weights):
            kinds[name] = "weight-bounds"
        elif name.startswith("quantizers."):
            kinds[name] = "act-bounds"
        elif isinstance(owner, _NORMS):
            kinds[name] = "norms"
        else:
            kinds[name] = "biases" if name.endswith("bias") else None
    return kinds


def _fits(group: Group, name: str, kind: str | None) -> bool:
    return group.of == kind if group.of in GROUPS else fnmatchcase(name, group.of)


def _check_patterns(recipe: Recipe, names: Mapping[str, str | None]) -> None:
    for group in recipe.groups:
        if group.of not in GROUPS and not any(fnmatchcase(name, group.of) for name in names):
            some = ", ".join(list(names)[:3])
            raise UsageError(
                f"no parameter is called like {group.of!r}",
                hint=f"use {', '.join(GROUPS)}, or a pattern of names such as {some}",
            )
