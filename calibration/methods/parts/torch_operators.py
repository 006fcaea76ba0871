"""Operators of the canonical graph in torch, for gradients through a block."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.calibration._nodes import argument, constant, integer, ints, real, shape_of, text
from edgeq.calibration.methods.parts.layer_function import layer_function

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    import torch

    Operator = Callable[..., torch.Tensor]


def operator(node: ir.Node) -> Operator | None:
    """A node as a function of what it reads, its constants too; None where there is none."""
    import torch
    from torch.nn import functional

    if node.domain:
        return None
    simple: dict[str, Operator] = {
        "Add": torch.add,
        "Sub": torch.sub,
        "Mul": torch.mul,
        "Relu": torch.relu,
        "Sigmoid": torch.sigmoid,
        "Tanh": torch.tanh,
        "HardSwish": functional.hardswish,
        "GlobalAveragePool": _global_average,
    }
    made = _SPECIAL.get(node.op_type)
    return simple.get(node.op_type) if made is None else made(node)


def _layer(node: ir.Node) -> Operator | None:
    shape = shape_of(argument(node, 1))
    function = None if shape is None else layer_function(node, len(shape) - 2)
    if function is None:
        return None

    def layer(
        x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None
    ) -> torch.Tensor:
        made = function(x, weight)
        return made if bias is None else made + bias.reshape(-1, *[1] * (made.ndim - 2))

    return layer


def _global_average(x: torch.Tensor) -> torch.Tensor:
    return x.mean(dim=tuple(range(2, x.ndim)), keepdim=True)


def _clip(_node: ir.Node) -> Operator:
    import torch

    return torch.clamp


def _leaky(node: ir.Node) -> Operator:
    from torch.nn import functional

    slope = real(node, "alpha", 0.01)
    return lambda x: functional.leaky_relu(x, slope)


def _hard_sigmoid(node: ir.Node) -> Operator:
    alpha, beta = real(node, "alpha", 0.2), real(node, "beta", 0.5)
    return lambda x: (alpha * x + beta).clamp(0, 1)


def _concat(node: ir.Node) -> Operator:
    import torch

    axis = integer(node, "axis", 0)
    return lambda *parts: torch.cat(parts, dim=axis)


def _flatten(node: ir.Node) -> Operator | None:
    return (lambda x: x.flatten(1)) if integer(node, "axis", 1) == 1 else None


def _pool(node: ir.Node) -> Operator | None:
    """Pooling of images, where torch pads as ONNX does."""
    from torch.nn import functional

    kernel = ints(node, "kernel_shape", [])
    pads = ints(node, "pads", [0] * 2 * len(kernel))
    stride = ints(node, "strides", [1] * len(kernel))
    plain = (
        len(kernel) == 2
        and pads[:2] == pads[2:]
        and not integer(node, "ceil_mode", 0)
        and text(node, "auto_pad", "NOTSET") == "NOTSET"
        and set(ints(node, "dilations", [1])) == {1}
    )
    if not plain:
        return None
    if node.op_type == "MaxPool":
        return lambda x: functional.max_pool2d(x, kernel, stride, pads[:2])
    counts = bool(integer(node, "count_include_pad", 0))
    return lambda x: functional.avg_pool2d(x, kernel, stride, pads[:2], count_include_pad=counts)


def _slice(node: ir.Node) -> Operator | None:
    given = [constant(argument(node, index)) for index in range(1, 5)]
    if given[0] is None or given[1] is None:
        return None
    starts, ends = (array.reshape(-1).tolist() for array in given[:2] if array is not None)
    axes = list(range(len(starts))) if given[2] is None else given[2].reshape(-1).tolist()
    steps = [1] * len(starts) if given[3] is None else given[3].reshape(-1).tolist()
    if any(step < 1 for step in steps):
        return None

    def cut(x: torch.Tensor, *_bounds: torch.Tensor) -> torch.Tensor:
        places = [slice(None)] * x.ndim
        for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
            places[axis] = slice(start, end, step)
        return x[tuple(places)]

    return cut


def _pad(node: ir.Node) -> Operator | None:
    from torch.nn import functional

    pads, value = constant(argument(node, 1)), constant(argument(node, 2))
    plain = text(node, "mode", "constant") == "constant" and argument(node, 3) is None
    if pads is None or not plain:
        return None
    rank = pads.size // 2
    sides = pads.reshape(2, rank)
    order = [int(sides[end, axis]) for axis in reversed(range(rank)) for end in (0, 1)]
    filling = 0.0 if value is None else float(value.reshape(-1)[0])
    return lambda x, *_rest: functional.pad(x, order, value=filling)


_SPECIAL: dict[str, Callable[[ir.Node], Operator | None]] = {
    "Conv": _layer,
    "Gemm": _layer,
    "Clip": _clip,
    "LeakyRelu": _leaky,
    "HardSigmoid": _hard_sigmoid,
    "Concat": _concat,
    "Flatten": _flatten,
    "MaxPool": _pool,
    "AveragePool": _pool,
    "Slice": _slice,
    "Pad": _pad,
}
