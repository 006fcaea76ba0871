"""Modules that compute in training only, such as stochastic depth.

They stay whole, as a trace of evaluation would lose them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from collections.abc import Iterator


class OnlyInTraining(nn.Module):
    """A module that passes its input on in evaluation, such as one that drops whole paths.

    Args:
        inner: it.
        in_place: whether it writes into its input, which it is then given a copy of.
    """

    inactive_in_evaluation = True

    def __init__(self, inner: nn.Module, *, in_place: bool = False) -> None:
        super().__init__()
        self.inner = inner
        self.in_place = in_place

    def forward(self, x: Tensor) -> Tensor:
        """Of the shape of ``x``."""
        if not self.training:
            return x
        out: Tensor = self.inner(x.clone() if self.in_place else x)
        return out


def only_in_training(model: nn.Module) -> dict[str, bool]:
    """The path of each module that computes in training only, and whether it works in place."""
    found = {
        path: _writes_in_training_only(module) for path, module in model.named_modules() if path
    }
    return {path: in_place for path, in_place in found.items() if in_place is not None}


def _writes_in_training_only(module: nn.Module) -> bool | None:
    """Whether a module that computes in training only works in place; None for any other.

    In evaluation it hands back its very input; in training, something else, or the same with other
    numbers in it.
    """
    if type(module).__module__.startswith("torch.nn") or any(True for _ in _state(module)):
        return None
    twin, probe = copy.deepcopy(module), torch.rand(4, 4, 8, 8)
    given = probe.clone()
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            silent = twin.eval()(given) is given and torch.equal(given, probe)
            twin.train()
            found = [twin(given) for _ in range(_TRIES)]
    except Exception:  # noqa: BLE001  # it wants something else than one image; then it is none of these
        return None
    writes = not torch.equal(given, probe)
    return writes if silent and (writes or any(each is not given for each in found)) else None


_TRIES = 8  # what drops few paths may let one batch pass as it is


def _state(module: nn.Module) -> Iterator[object]:
    yield from module.parameters()
    yield from module.buffers()
    yield from module.children()
