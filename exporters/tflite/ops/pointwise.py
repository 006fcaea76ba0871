"""Unary elementwise functions.

By TFLite's own operator where that is within a step of ONNX, else by a table.

A table is exact on every runtime: GATHER from 256 stored results, its indices the integers
themselves. It costs a CAST and an ADD on top, so an operator of TFLite's own comes first. LOGISTIC
and TANH write one fixed grid; where the model has another, a QUANTIZE follows, if what both
together give is within a step for each of the 256 integers that may come in. For 16 bits the table
has 65,536 results (128 KiB): kernels of their own, but LEAKY_RELU, are up to three steps off.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.exporters.tflite.context import Op
from edgeq.exporters.tflite.file.builder import TENSOR_TYPES, StoredGrid
from edgeq.exporters.tflite.file.layouts import stored_shape
from edgeq.exporters.tflite.ops.float_functions import lower_function
from edgeq.exporters.tflite.storage import activation, refused
from edgeq.formats.tflite_schema import schema
from edgeq.numerics.pointwise import UNARY, evaluate
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.lookup_tables import integers_of
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeq.exporters.tflite.context import LoweringContext
    from edgeq.exporters.tflite.storage import Storage
    from edgeq.qdq.ir import QdqOp, QdqTensor

# what makes an index of the smallest integer of an element type
_OFFSETS = {"int8": 2**7, "int16": 2**15}
_DOUBT = 2.0**-10  # of a step: runtimes compute the function in float32, each in its own way
_STEEPEST_HARD_SWISH = 100.0  # the kernel refuses input scales of 128 times the output's and more


def _gelu(op: QdqOp) -> Any:
    options = schema.GeluOptionsT()
    options.approximate = op.attributes.get("approximate", "none") == "tanh"
    return options


def _leaky_relu(op: QdqOp) -> Any:
    options = schema.LeakyReluOptionsT()
    alpha = op.attributes.get("alpha", 0.01)
    options.alpha = float(alpha) if isinstance(alpha, (int, float)) else 0.01
    return options


@dataclass(frozen=True, slots=True)
class FunctionKernel:
    """An operator of TFLite's own.

    Attributes:
        builtin: its number.
        version: the first with int8 kernels.
        options: its options for an operator of the view.
        fixed: the one grid that it writes, if it does.
        wide: whether its int16 kernel is within a step.
    """

    builtin: int
    version: int
    options: Callable[[QdqOp], Any] = lambda _: None
    fixed: QuantParams | None = None
    wide: bool = False


KERNELS: Mapping[str, FunctionKernel] = {
    "Gelu": FunctionKernel(Op.GELU, 2, _gelu),
    "HardSwish": FunctionKernel(Op.HARD_SWISH, 1, lambda _: schema.HardSwishOptionsT()),
    "LeakyRelu": FunctionKernel(Op.LEAKY_RELU, 2, _leaky_relu, wide=True),
    "Sigmoid": FunctionKernel(Op.LOGISTIC, 2, fixed=QuantParams.of(1 / 256, -128)),
    "Tanh": FunctionKernel(Op.TANH, 2, fixed=QuantParams.of(1 / 128, 0)),
}


def lower_pointwise(op: QdqOp, context: LoweringContext) -> None:
    """Append a unary elementwise function."""
    kernel = KERNELS.get(op.op_type)
    if kernel is not None and not context.builder.has_kernel(kernel.builtin):
        kernel = None
    if context.is_float:
        if kernel is None and lower_function(op, context):
            return
        if kernel is None:
            raise refused(
                op,
                "the runtime has no kernel for it",
                "quantise what it reads and writes to 8 bits",
            )
        _direct(op, context, kernel)
    elif kernel is None or not _fits(op, context, kernel):
        lower_lookup(op, context)
    elif kernel.fixed is None or context.is_on(op.output, kernel.fixed):
        _direct(op, context, kernel)
    elif _error_lsb(op, kernel.fixed) <= 1:
        _through(op, context, kernel, kernel.fixed)
    else:
        lower_lookup(op, context)


def lower_lookup(op: QdqOp, context: LoweringContext) -> None:
    """Append a unary elementwise function as its table: CAST, ADD, GATHER."""
    source = context.operand(op)
    layout = context.layout(source)
    shape = stored_shape(op.output.shape, layout)
    held = context.storages[source.name].dtype
    builder, name = context.builder, op.output.name
    integers = _whole(context, f"{name}~integers", shape)
    _cast(context, context.read(source, layout), integers, held, "int32")
    indices = _whole(context, f"{name}~indices", shape)
    builder.operator(Op.ADD, 1, [integers, builder.numbers([_OFFSETS[held]])], [indices], _add())
    results = table_of(op, context.storages[source.name], context.storages[name])
    target = context.tensor(op.output, layout)
    if results.dtype != np.int8 and not builder.has_kernel(Op.GATHER, results.dtype.name):
        _by_halves(context, op.output, results, indices, target, shape)
    else:
        table = builder.constant(f"{name}~table", results, context.grid(op.output))
        builder.operator(Op.GATHER, 2, [table, indices], [target], schema.GatherOptionsT())
    context.place(op.output, target, layout)


def _by_halves(
    context: LoweringContext,
    tensor: QdqTensor,
    results: NDArray[np.signedinteger],
    indices: int,
    target: int,
    shape: tuple[int, ...],
) -> None:
    """Look 16 bits up as two integers of 8: ``256 * upper + (lower + 128)``.

    For runtimes that gather 8 bits only.
    """
    builder, name, scale = context.builder, tensor.name, float(tensor.scale)
    wide = results.astype(np.int32)
    halves = {
        "upper": (wide >> 8, StoredGrid.of(scale * 256)),
        "lower": ((wide & 255) - 128, StoredGrid.of(scale, -128)),
    }
    plain = {}
    for half, (values, grid) in halves.items():
        table = builder.constant(f"{name}~{half}_table", values.astype(np.int8), grid)
        found = builder.activation(f"{name}~{half}", shape, grid)
        builder.operator(Op.GATHER, 2, [table, indices], [found], schema.GatherOptionsT())
        plain[half] = _whole(context, f"{name}~{half}_integers", shape)
        _cast(context, found, plain[half], "int8", "int32")
    scaled, moved, total = (
        _whole(context, f"{name}~{step}", shape) for step in ("scaled", "moved", "total")
    )
    builder.operator(
        Op.MUL, 1, [plain["upper"], builder.numbers([256])], [scaled], schema.MulOptionsT()
    )
    builder.operator(Op.ADD, 1, [plain["lower"], builder.numbers([128])], [moved], _add())
    builder.operator(Op.ADD, 1, [scaled, moved], [total], _add())
    _cast(context, total, target, "int32", "int16")


def _whole(context: LoweringContext, name: str, shape: tuple[int, ...]) -> int:
    """Add a tensor of plain integers."""
    return context.builder.activation(name, shape, None, np.int32)


def _add() -> Any:
    return schema.AddOptionsT()


def _cast(context: LoweringContext, source: int, target: int, before: str, after: str) -> None:
    """Append a CAST from one element type to another, as numpy names them."""
    options = schema.CastOptionsT()
    options.inDataType, options.outDataType = (
        TENSOR_TYPES[np.dtype(dtype)] for dtype in (before, after)
    )
    context.builder.operator(Op.CAST, 1, [source], [target], options)


def table_of(op: QdqOp, source: Storage, target: Storage) -> NDArray[np.signedinteger]:
    """The result, as it is stored, for each integer that the input's element type holds.

    Args:
        op: a function of one tensor.
        source: how the input is held.
        target: how the output is held.
    """
    curve, integers = _curve(op), np.arange(source.smallest, source.largest + 1)
    first = int(integers_of(activation(op))[0])
    at = np.clip(integers - source.shift - first, 0, curve.size - 1)
    centered = np.clip(
        op.output.params.quantize(curve).astype(np.int32), op.output.low, op.output.high
    )
    return (centered[at] + target.shift).astype(np.dtype(target.dtype))


def _curve(op: QdqOp) -> NDArray[np.float32]:
    """The function's value for each integer of the storage dtype of its input."""
    source = activation(op)
    table = op.inputs[1] if len(op.inputs) > 1 else None
    if op.op_type == "Lookup" and isinstance(table, QdqConstant):
        return table.values.astype(np.float32)
    reals = source.params.dequantize(integers_of(source))
    return evaluate(op.op_type, (reals,), op.attributes)


def _fits(op: QdqOp, context: LoweringContext, kernel: FunctionKernel) -> bool:
    """Whether TFLite's kernel takes the grids, and is exact on them."""
    source, target = context.operand(op), op.output
    dtypes = {context.storages[tensor.name].dtype for tensor in (source, target)}
    if dtypes != {"int8"}:
        return kernel.wide and dtypes == {"int16"}
    return op.op_type != "HardSwish" or float(source.scale) < _STEEPEST_HARD_SWISH * float(
        target.scale
    )


def _error_lsb(op: QdqOp, fixed: QuantParams) -> int:
    """How far rounding to a fixed grid first takes the result, at most.

    Near ties both ways of rounding count.
    """
    curve = _curve(op)
    wanted = op.output.params.quantize(curve).astype(np.int32)
    doubt = np.float32(_DOUBT) * fixed.scale
    twice = [
        op.output.params.quantize(fixed.dequantize(fixed.quantize(curve + way * doubt)))
        for way in (-1, 1)
    ]
    return max(
        int(
            np.abs(
                np.clip(t.astype(np.int32), op.output.low, op.output.high)
                - np.clip(wanted, op.output.low, op.output.high)
            ).max()
        )
        for t in twice
    )


def _direct(op: QdqOp, context: LoweringContext, kernel: FunctionKernel) -> None:
    source = context.operand(op)
    layout = context.layout(source)
    with context.writing(op, layout) as (target, _):
        context.builder.operator(
            kernel.builtin,
            kernel.version,
            [context.read(source, layout)],
            [target],
            kernel.options(op),
        )


def _through(
    op: QdqOp, context: LoweringContext, kernel: FunctionKernel, fixed: QuantParams
) -> None:
    """By way of the one grid that the kernel writes."""
    source = context.operand(op)
    layout = context.layout(source)
    inner = fixed_tensor(context, op.output, stored_shape(op.output.shape, layout), fixed)
    context.builder.operator(
        kernel.builtin, kernel.version, [context.read(source, layout)], [inner], kernel.options(op)
    )
    with context.writing(op, layout) as (target, _):
        context.builder.operator(Op.QUANTIZE, 1, [inner], [target], schema.QuantizeOptionsT())


def fixed_tensor(
    context: LoweringContext, tensor: QdqTensor, shape: tuple[int, ...], fixed: QuantParams
) -> int:
    """Add a helper of a tensor that lies on a grid which TFLite prescribes."""
    grid = StoredGrid.of(float(fixed.scale), int(fixed.zero_point))
    return context.builder.activation(
        f"{tensor.name}~fixed", shape, grid, np.int16 if fixed.dtype == "int16" else np.int8
    )


FUNCTIONS = tuple(UNARY)
"""The ONNX operators that are unary elementwise functions."""
