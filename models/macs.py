"""What a network costs: multiply-accumulates by module, and parameters, each counted once.

The network is really run, on PyTorch's ``meta`` device where tensors have shapes and no content, so
a count cannot disagree with what the forward pass does, and costs no arithmetic.
"""

from __future__ import annotations

import copy
import math
from functools import partial
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_COUNTED = (nn.Conv2d, nn.ConvTranspose2d, nn.Linear)


def count_parameters(module: nn.Module) -> int:
    """How many trainable numbers it has; a parameter that two modules share counts once."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


def count_macs(module: nn.Module, input_shape: tuple[int, ...]) -> Mapping[str, int]:
    """Multiply-accumulates of one sample, by module path, in the order in which the modules run.

    A convolution costs its weights times its output pixels, also where the kernel reaches into the
    padding; a transposed one costs its weights times its input pixels. A module that runs twice is
    counted twice; a weight that two modules share is counted in each.

    Args:
        module: it is copied, and not changed.
        input_shape: channels, height and width.

    Raises:
        UsageError: the network cannot take an input of this shape.
    """
    network = copy.deepcopy(module).to("meta").eval()
    macs: dict[str, int] = {}
    for path, layer in network.named_modules():
        if isinstance(layer, _COUNTED):
            layer.register_forward_hook(partial(_count, macs, path))
    try:
        with torch.no_grad():
            network(torch.empty(1, *input_shape, device="meta"))
    except RuntimeError as error:
        raise UsageError(
            f"the network cannot take an input of {input_shape}: {error}",
            hint="give channels, height and width",
        ) from error
    return macs


def _count(
    macs: dict[str, int], path: str, layer: nn.Module, inputs: tuple[Tensor, ...], output: Tensor
) -> None:
    pixels = inputs[0].shape[2:] if isinstance(layer, nn.ConvTranspose2d) else output.shape[2:]
    if isinstance(layer, nn.Linear):
        pixels = output.shape[:-1]
    weight = layer.get_parameter("weight")
    macs[path] = macs.get(path, 0) + weight.numel() * math.prod(pixels)
