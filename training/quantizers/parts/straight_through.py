"""Gradients that are not those of the value computed.

The pieces the published methods are put together from.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from edgeq.training.autograd import applied


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, surrogate: Tensor) -> Tensor:  # noqa: ARG004  (autograd's signature)
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:  # noqa: ARG004  (autograd's signature)
        return grads[0], grads[0]


def straight_through(value: Tensor, surrogate: Tensor) -> Tensor:
    """``value``, bit for bit, with the gradient of ``surrogate`` beside its own, if it has one.

    Both of one shape and dtype.
    """
    return applied(_StraightThrough, value, surrogate)


class _ScaledGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        return grads[0] * ctx.factor, None


def scale_gradient(x: Tensor, factor: float) -> Tensor:
    """``x``, bit for bit, with its gradient times ``factor``."""
    return applied(_ScaledGradient, x, factor)
