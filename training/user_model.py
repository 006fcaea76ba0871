"""A user's own network, named as ``package.module:function`` and checked against its data."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgeq.errors import UsageError, first_line
from edgeq.factories import call
from edgeq.training.qat_transform.tracing import trace


def build_user(reference: str, input_shape: tuple[int, ...], classes: int) -> nn.Module:
    """Build it.

    Args:
        reference: the function that returns it, which the user has named in this command.
        input_shape: (channels, height, width) of a sample.
        classes: how many its output has to tell apart.

    Returns:
        The network as a graph of canonical operators.

    Raises:
        UsageError: it was not named, is no network, cannot be traced, or does not fit the data.
    """
    made = call(reference, flag="--model")
    if not isinstance(made, nn.Module):
        raise UsageError(
            f"{reference}() returns a {type(made).__name__}, no torch.nn.Module",
            hint="return the network",
        )
    if not classes:
        raise UsageError(
            "the labels of the data are no classes, which a network of your own is trained for",
            hint="give whole numbers from 0 as labels, or train it in a loop of your own with "
            "edgeq.quantize",
        )
    example, output = _answered(made.eval(), reference, input_shape)
    shape = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    if shape != (2, classes):
        raise UsageError(
            f"the network of {reference} gives {shape} for 2 images, and the data has "
            f"{classes} classes",
            hint=f"let it return a tensor of (images, {classes})",
        )
    return trace(made.train(), example)


def _answered(
    network: nn.Module, reference: str, input_shape: tuple[int, ...]
) -> tuple[torch.Tensor, Any]:
    """Two samples of zeros as a network takes them, of whole numbers too, and its answer."""
    errors: list[Exception] = []
    for dtype in (torch.float32, torch.int64):
        example = torch.zeros(2, *input_shape, dtype=dtype)
        try:
            with torch.no_grad():
                return example, network(example)
        except Exception as error:  # noqa: BLE001  # whatever a user's forward raises
            errors.append(error)
    raise UsageError(
        f"the network of {reference} cannot read samples of {input_shape}: {first_line(errors[0])}",
        hint="build it for them, or name other data",
    ) from errors[0]
