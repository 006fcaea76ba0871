"""Grids of softmax no finer than kernels can write, and of reciprocals no wider than they are.

``1 / x`` where ``x`` is almost nothing has no bound, and would leave all others no steps. What lies
below the step of ``x`` is zero in integers, so the reciprocal of that step is as much as one can
stand for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from edgeq.qdq.ort_x86.softmax import smallest_scale
from edgeq.training.quantizers.parts.uniform import UniformGrid
from edgeq.training.quantizers.tracked_clip import TrackedClip
from edgeq.training.quantizers.tracked_range import TrackedRange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import fx, nn

    from edgeq.network.placement import Op

_FINEST_OF_TFLITE = 2.0**-13
_OF_LOG_SOFTMAX = 2.0**-4


def hold_softmax(node: fx.Node, quantizer: nn.Module) -> None:
    """Bound the step of a softmax's grid from below, as its kernels ask for.

    Attention that is about the same everywhere has small probabilities only, and its grid would
    follow them: ONNX Runtime's integer kernel for x86 then gives 0 for all of them. TFLite writes
    the logarithm of a softmax with one step only.

    Args:
        node: any operator.
        quantizer: what its result is put onto.
    """
    shape = node.meta.get("shape")
    if node.target is torch.log_softmax and isinstance(quantizer, TrackedRange):
        quantizer.finest = _OF_LOG_SOFTMAX
    if node.target is not torch.softmax or shape is None or not isinstance(quantizer, TrackedClip):
        return
    axis = node.kwargs.get("dim", node.args[1] if len(node.args) > 1 else -1)
    step = max(smallest_scale(shape[axis]), _FINEST_OF_TFLITE)
    quantizer.least = step * quantizer.qmax


def hold_reciprocal(
    node: fx.Node, quantizer: nn.Module, ops: Mapping[str, Op], grids: Mapping[str, nn.Module]
) -> None:
    """Bound a reciprocal's grid from above by the reciprocal of one step of what it is taken of.

    Args:
        node: any operator.
        quantizer: what its result is put onto.
        ops: the operators, by the tensors that they make.
        grids: what each tensor is put onto, by its name.
    """
    if node.target is not torch.reciprocal or not isinstance(quantizer, TrackedClip):
        return
    source = ops[node.name].inputs[0]
    while source not in grids and ops[source].kind == "data_movement":
        source = ops[source].inputs[0]
    divisor = grids.get(source)
    if isinstance(divisor, UniformGrid):
        quantizer.divisor = (divisor,)
