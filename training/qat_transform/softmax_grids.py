"""Grids of softmax no finer than integer kernels can write."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeq.qdq.ort_x86.softmax import smallest_scale
from edgeq.training.quantizers.tracked_clip import TrackedClip

if TYPE_CHECKING:
    from torch import fx, nn

_FINEST_OF_TFLITE = 2.0**-13


def hold_softmax(node: fx.Node, quantizer: nn.Module) -> None:
    """Bound the step of a softmax's grid from below, as its kernels ask for.

    Attention that is about the same everywhere has small probabilities only, and its grid would
    follow them: ONNX Runtime's integer kernel for x86 then gives 0 for all of them.

    Args:
        node: any operator.
        quantizer: what its result is put onto.
    """
    shape = node.meta.get("shape")
    if node.target is not torch.softmax or shape is None or not isinstance(quantizer, TrackedClip):
        return
    axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else -1)
    step = max(smallest_scale(shape[axis]), _FINEST_OF_TFLITE)
    quantizer.least = step * quantizer.qmax
