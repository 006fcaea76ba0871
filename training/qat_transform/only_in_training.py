"""Modules that compute in training only, such as stochastic depth.

They stay whole, as a trace of evaluation would lose them.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

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
    """The path of each module that computes in training only, and whether it works in place.

    One that does nothing in training either, such as stochastic depth of probability 0, is told by
    its type, which others that do something have.
    """
    modules = {path: module for path, module in model.named_modules() if path}
    found = {path: _effect_of_training(module) for path, module in modules.items()}
    types = {type(modules[path]) for path, effect in found.items() if effect in ("new", "written")}
    return {
        path: effect == "written"
        for path, effect in found.items()
        if effect is not None and type(modules[path]) in types
    }


def _effect_of_training(module: nn.Module) -> Literal["none", "new", "written"] | None:
    """What training does in a module that hands back its very input in evaluation.

    It makes something new, writes other numbers into the input, or does nothing there either. None
    for other modules, and for those with parameters.
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
    if not silent:
        return None
    if not torch.equal(given, probe):
        return "written"
    return "new" if any(each is not given for each in found) else "none"


_TRIES = 8  # what drops few paths may let one batch pass as it is


def _state(module: nn.Module) -> Iterator[object]:
    yield from module.parameters()
    yield from module.buffers()
    yield from module.children()
