"""Unary elementwise functions in the operators of ONNX.

Those it has no operator for, in several.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import UsageError
from edgeq.numerics.functions import bounds

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgeq.exporters.torch.graph_writer import GraphWriter

_OPERATORS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "abs": ("Abs", {}),
    "celu": ("Celu", {"alpha": "alpha"}),
    "cos": ("Cos", {}),
    "elu": ("Elu", {"alpha": "alpha"}),
    "erf": ("Erf", {}),
    "exp": ("Exp", {}),
    "gelu": ("Gelu", {"approximate": "approximate"}),
    "hardswish": ("HardSwish", {}),
    "leakyrelu": ("LeakyRelu", {"negative_slope": "alpha"}),
    "log": ("Log", {}),
    "mish": ("Mish", {}),
    "neg": ("Neg", {}),
    "prelu": ("LeakyRelu", {"negative_slope": "alpha"}),
    "reciprocal": ("Reciprocal", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "sin": ("Sin", {}),
    "softplus": ("Softplus", {}),
    "softsign": ("Softsign", {}),
    "sqrt": ("Sqrt", {}),
    "tanh": ("Tanh", {}),
}
"""The ONNX operator of each function, and its attributes by torch's options."""


def write_function(
    writer: GraphWriter,
    name: str,
    source: ir.Value,
    tensor: str,
    shape: Sequence[int],
    options: Mapping[str, Any],
) -> ir.Value:
    """Append a function.

    Args:
        writer: of the graph.
        name: a key of :data:`edgeq.numerics.functions.FUNCTIONS`.
        source: what it reads.
        tensor: the name of what it makes.
        shape: of that, without the batch.
        options: torch's options for it.

    Raises:
        UsageError: the options are none that ONNX has.
    """
    if name == "relu":
        return writer.op("Relu", [source], tensor, shape=shape)
    if (limits := bounds(name, options)) is not None:
        return _clip(writer, source, tensor, shape, limits)
    if name == "silu":
        gate = writer.op("Sigmoid", [source], f"{tensor}_sigmoid", shape=shape)
        return writer.op("Mul", [source, gate], tensor, shape=shape)
    if name in ("pow", "square"):
        exponent = np.array(options.get("exponent", 2.0), np.float32)
        operands = [source, writer.constant(f"{tensor}_exponent", exponent)]
        return writer.op("Pow", operands, tensor, shape=shape)
    if name == "rsqrt":
        root = writer.op("Sqrt", [source], f"{tensor}_root", shape=shape)
        return writer.op("Reciprocal", [root], tensor, shape=shape)
    if name == "hardsigmoid":
        return writer.op(
            "HardSigmoid",
            [source],
            tensor,
            shape=shape,
            attributes={"alpha": float(np.float32(1 / 6)), "beta": 0.5},
        )
    if name == "softplus" and options.get("beta", 1.0) != 1.0:
        raise UsageError(
            f"{tensor} is a softplus with beta {options['beta']}, which ONNX does not have",
            hint="use beta=1",
        )
    operator, attributes = _OPERATORS[name]
    given = {attributes[option]: value for option, value in options.items() if option in attributes}
    return writer.op(operator, [source], tensor, shape=shape, attributes=given)


def _clip(
    writer: GraphWriter,
    source: ir.Value,
    tensor: str,
    shape: Sequence[int],
    limits: tuple[float | None, float | None],
) -> ir.Value:
    if limits == (0, None):
        return writer.op("Relu", [source], tensor, shape=shape)
    ends = (("least", limits[0]), ("most", limits[1]))
    bounds_ = [
        None if limit is None else writer.constant(f"{tensor}_{end}", np.array(limit, np.float32))
        for end, limit in ends
    ]
    return writer.op("Clip", [source, *bounds_], tensor, shape=shape)
