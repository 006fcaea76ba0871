"""Quantisers of every method in the catalogue, and checks of their gradients."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeq.training.quantizers.catalogue import METHODS, Method, build_activation, build_weight

if TYPE_CHECKING:
    from collections.abc import Iterator


def weight(seed: int = 0, shape: tuple[int, ...] = (6, 4, 3, 3)) -> Tensor:
    """A convolution's weight as training leaves it: channels of different size."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.linspace(0.02, 0.3, shape[0]).reshape(-1, *[1] * (len(shape) - 1))
    return torch.randn(shape, generator=generator) * scale


def activation(seed: int = 0, shape: tuple[int, ...] = (3, 4, 5, 5)) -> Tensor:
    """A batch of both signs."""
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)) * 2


def built(method: Method, bits: int, *, axis: int | None = None, signed: bool | None = None) -> Any:
    """A quantiser as training leaves it, in evaluation mode."""
    if method.role == "weights":
        made: Any = build_weight(
            method.name, bits, weight(), channels_axis=axis, normalized=method.normalized
        )
        return made.eval()
    made = build_activation(
        method.name, bits, signed=method.signs[-1] if signed is None else signed
    )
    made.train()(activation(1).relu() if signed is False else activation(1))
    return made.eval()


def every_kind() -> Iterator[tuple[Method, int, int | None]]:
    """Every method at its min and max width, per tensor and, where it can be, per channel."""
    for method in METHODS:
        for bits in sorted({method.widths[0], method.widths[-1]}):
            for axis in (None, 0) if method.per_channel else (None,):
                yield method, bits, axis


def name_of(kind: tuple[Method, int, int | None]) -> str:
    method, bits, axis = kind
    return f"{method.name}-{method.role}-{bits}" + ("" if axis is None else "-per-channel")


def gradients(
    module: nn.Module, parameter: nn.Parameter | None, x: list[float]
) -> tuple[Tensor, Tensor]:
    """dy/dx and dy/dparameter for each of the values, taken one by one."""
    by_x, by_parameter = [], []
    for value in x:
        element = torch.tensor([value], requires_grad=True)
        module.zero_grad()
        module(element).sum().backward()
        assert element.grad is not None
        by_x.append(element.grad.item())
        if parameter is not None:
            by_parameter.append(0.0 if parameter.grad is None else parameter.grad.item())
    return torch.tensor(by_x), torch.tensor(by_parameter)
