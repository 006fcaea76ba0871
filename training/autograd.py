"""Functions of torch with a gradient of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor


def applied(function: type[torch.autograd.Function], *arguments: Any) -> Tensor:
    """What a function gives; torch leaves ``apply`` without a type."""
    out: Tensor = function.apply(*arguments)
    return out
