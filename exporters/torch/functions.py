"""Unary elementwise functions in the operators of ONNX.

Those it has no operator for, in several.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import UsageError
from edgeq.numerics.functions import bounds

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.exporters.torch.graph_writer import GraphWriter

_OPERATORS: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "abs": ("Abs", {}),
    "ceil": ("Ceil", {}),
    "celu": ("Celu", {"alpha": "alpha"}),
    "cos": ("Cos", {}),
    "elu": ("Elu", {"alpha": "alpha"}),
    "erf": ("Erf", {}),
    "exp": ("Exp", {}),
    "floor": ("Floor", {}),
    "gelu": ("Gelu", {"approximate": "approximate"}),
    "hardswish": ("HardSwish", {}),
    "leakyrelu": ("LeakyRelu", {"negative_slope": "alpha"}),
    "log": ("Log", {}),
    "mish": ("Mish", {}),
    "neg": ("Neg", {}),
    "prelu": ("LeakyRelu", {"negative_slope": "alpha"}),
    "reciprocal": ("Reciprocal", {}),
    "round": ("Round", {}),
    "selu": ("Selu", {}),
    "sigmoid": ("Sigmoid", {}),
    "sign": ("Sign", {}),
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
    if name in _WRITTEN_OUT:
        return _WRITTEN_OUT[name](_Steps(writer, tensor, shape), source, options)
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


@dataclass(frozen=True, slots=True)
class _Steps:
    """Operators that make up one function; see :func:`write_function`."""

    writer: GraphWriter
    tensor: str
    shape: Sequence[int]

    def op(
        self, operator: str, *operands: ir.Value | float, last: bool = False, **given: Any
    ) -> Any:
        """Append one; numbers become constants, and the last one makes the function's tensor."""
        values = [
            self.writer.constant(f"{self.tensor}_{each}", np.array(each, np.float32))
            if isinstance(each, float | int)
            else each
            for each in operands
        ]
        name = self.tensor if last else f"{self.tensor}_{operator.lower()}"
        return self.writer.op(operator, values, name, shape=self.shape, attributes=given)


def _expm1(steps: _Steps, x: ir.Value, _: Mapping[str, Any]) -> ir.Value:
    found: ir.Value = steps.op("Sub", steps.op("Exp", x), 1.0, last=True)
    return found


def _log1p(steps: _Steps, x: ir.Value, _: Mapping[str, Any]) -> ir.Value:
    found: ir.Value = steps.op("Log", steps.op("Add", x, 1.0), last=True)
    return found


def _log_sigmoid(steps: _Steps, x: ir.Value, _: Mapping[str, Any]) -> ir.Value:
    turned = steps.op("Softplus", steps.op("Neg", x))
    found: ir.Value = steps.op("Neg", turned, last=True)
    return found


def _tanh_shrink(steps: _Steps, x: ir.Value, _: Mapping[str, Any]) -> ir.Value:
    found: ir.Value = steps.op("Sub", x, steps.op("Tanh", x), last=True)
    return found


def _soft_shrink(steps: _Steps, x: ir.Value, options: Mapping[str, Any]) -> ir.Value:
    """What lies beyond the bounds on either side."""
    edge = float(options["lambd"])
    above = steps.op("Relu", steps.op("Sub", x, edge))
    below = steps.op("Relu", steps.op("Sub", steps.op("Neg", x), edge))
    found: ir.Value = steps.op("Sub", above, below, last=True)
    return found


def _hard_shrink(steps: _Steps, x: ir.Value, options: Mapping[str, Any]) -> ir.Value:
    edge = float(options["lambd"])
    above = steps.op("ThresholdedRelu", x, alpha=edge)
    below = steps.op("ThresholdedRelu", steps.op("Neg", x), alpha=edge)
    found: ir.Value = steps.op("Sub", above, below, last=True)
    return found


def _threshold(steps: _Steps, x: ir.Value, options: Mapping[str, Any]) -> ir.Value:
    if options["value"] != 0:
        raise UsageError(
            f"{steps.tensor} is a threshold that fills with {options['value']}",
            hint="fill with 0, or use torch.where",
        )
    edge = float(options["threshold"])
    found: ir.Value = steps.op("ThresholdedRelu", x, last=True, alpha=edge)
    return found


_WRITTEN_OUT: Mapping[str, Callable[[_Steps, ir.Value, Mapping[str, Any]], ir.Value]] = {
    "expm1": _expm1,
    "hardshrink": _hard_shrink,
    "log1p": _log1p,
    "logsigmoid": _log_sigmoid,
    "softshrink": _soft_shrink,
    "tanhshrink": _tanh_shrink,
    "threshold": _threshold,
}
"""Functions that ONNX has in several operators."""


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
