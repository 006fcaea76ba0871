"""A referee of what a cut model computes: float64, with a bound on the error of float32.

It computes every segment of a model that is cut at its quantised tensors, from the integers at its
start, in float64, and carries along a bound on what float32 arithmetic in any order may have done
to it. So "within float error of a tie" is a proven bound for each element, and not a tolerance
somebody chose.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeq.qdq.attributes import attributes_of
from edgeq.qdq.nodes import constant_of, grid_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.qdq.segments import Cut, Segments


U = 2.0**-24  # unit roundoff of float32


_FUNCTIONS: dict[str, Any] = {
    "Abs": lambda x, _: x.abs(),
    "Cos": lambda x, _: x.cos(),
    "Log": lambda x, _: x.log(),
    "Reciprocal": lambda x, _: x.reciprocal(),
    "Sin": lambda x, _: x.sin(),
    "Sqrt": lambda x, _: x.clamp(min=0).sqrt(),
    "Celu": lambda x, a: F.celu(x, a.get("alpha", 1.0)),
    "Elu": lambda x, a: F.elu(x, a.get("alpha", 1.0)),
    "Erf": lambda x, _: x.erf(),
    "Exp": lambda x, _: x.exp(),
    "Gelu": lambda x, a: F.gelu(x, approximate=a.get("approximate", "none")),
    "HardSigmoid": lambda x, a: (a["alpha"] * x + a["beta"]).clamp(0, 1),
    "HardSwish": lambda x, _: F.hardswish(x),
    "LeakyRelu": lambda x, a: F.leaky_relu(x, a["alpha"]),
    "Mish": lambda x, _: F.mish(x),
    "Neg": lambda x, _: -x,
    "Selu": lambda x, _: F.selu(x),
    "Sigmoid": lambda x, _: x.sigmoid(),
    "Softplus": lambda x, _: F.softplus(x, threshold=1e9),
    "Softsign": lambda x, _: F.softsign(x),
    "Tanh": lambda x, _: x.tanh(),
}


@dataclass(frozen=True)
class Position:
    """Where real numbers lie on the grid that they are about to be rounded to, before clipping.

    Attributes:
        at: in integers, float64.
        error: how far float32 arithmetic may be from it, in integers.
    """

    at: NDArray[np.float64]
    error: NDArray[np.float64]

    def near_tie(self) -> NDArray[np.bool_]:
        """Whether float error decides which of two integers is nearest."""
        return np.abs(np.abs(self.at - np.rint(self.at)) - 0.5) <= self.error

    def open_error(self, where: Cut) -> float:
        """The largest error of those that are not clipped."""
        is_open = (self.at > where.params.qmin - 1) & (self.at < where.params.qmax + 1)
        return float(self.error[is_open].max(initial=0))

    def rounds_to(self, integers: NDArray[np.int64], where: Cut) -> NDArray[np.bool_]:
        """Whether these integers are a right answer within float error."""
        return (
            np.abs(np.clip(self.at, where.params.qmin, where.params.qmax) - integers)
            <= 0.5 + self.error
        )


class Referee:
    """Computes a cut model in float64 with a running error bound.

    Higham, Accuracy and stability of numerical algorithms, Sec. 3.3.
    """

    def __init__(self, segments: Segments) -> None:
        self._segments = segments

    def positions(self, feeds: Mapping[str, NDArray[Any]]) -> dict[str, Position]:
        """The position of every quantised tensor, by name."""
        self._values: dict[ir.Value, _Bounded] = {}
        for value in self._segments.model.graph.inputs:
            self._values[value] = _exact(
                torch.from_numpy(np.asarray(feeds[value.name or ""], np.float64))
            )
        positions: dict[str, Position] = {}
        for node in self._segments.model.graph:
            if node.op_type == "QuantizeLinear":
                positions[node.outputs[0].name or ""] = self._quantized(node)
            elif node.op_type == "Clip" and _name(node.inputs[0]) in positions:
                positions[node.outputs[0].name or ""] = positions[_name(node.inputs[0])]
            else:
                self._values[node.outputs[0]] = self._compute(node)
        return {cut.name: positions[cut.output] for cut in self._segments.cuts}

    def _quantized(self, node: ir.Node) -> Position:
        value, params = self._of(node, 0), grid_of(node)
        at = value.value.numpy() / float(params.scale)
        return Position(
            at + int(params.zero_point),
            value.error.numpy() / float(params.scale) + 2 * U * np.abs(at),
        )

    def _of(self, node: ir.Node, index: int) -> _Bounded:
        value = node.inputs[index]
        assert value is not None
        if value not in self._values:
            constant = constant_of(value)
            assert constant is not None, f"{node.name} reads {value.name}, which nobody computed"
            self._values[value] = _exact(torch.from_numpy(np.asarray(constant, np.float64)))
        return self._values[value]

    def _compute(self, node: ir.Node) -> _Bounded:
        source = self._of(node, 0)
        optional = [
            self._of(node, i) if i < len(node.inputs) and node.inputs[i] is not None else None
            for i in range(1, 5)
        ]
        if node.op_type == "Gather" and constant_of(node.inputs[1]) is None:
            ids = self._of(node, 1).value.long()
            return source.map(lambda table: table[ids])
        attributes: dict[str, Any] = attributes_of(node, tuple(source.value.shape))
        if node.op_type == "DequantizeLinear":
            params = grid_of(node)
            return _rounded(_scaled(source.value, params.scale, params.zero_point, params.axis))
        if node.op_type in ("Conv", "ConvTranspose", "Gemm", "MatMul"):
            return _linear(node.op_type, source, optional[0], optional[1], attributes)
        if node.op_type in ("Add", "Sub", "Mul"):
            return _arithmetic(node.op_type, source, optional[0])
        if node.op_type == "BatchNormalization":
            return _norm(
                source, [one for one in optional if one is not None], attributes["epsilon"]
            )
        if node.op_type == "LayerNormalization":
            return _layer_norm(
                source, [one.value for one in optional if one is not None], attributes
            )
        if node.op_type == "Concat":
            parts = [self._of(node, i) for i in range(len(node.inputs))]
            return _Bounded(
                *(
                    torch.cat([getattr(part, end) for part in parts], attributes["axis"])
                    for end in ("value", "error")
                )
            )
        if node.op_type in ("Softmax", "LogSoftmax"):
            return _softmax(source, attributes["axis"], log=node.op_type == "LogSoftmax")
        if node.op_type in ("ReduceMean", "ReduceSum"):
            return _reduced(source, attributes, mean=node.op_type == "ReduceMean")
        if node.op_type == "Pow":
            exponent = float(_constant(node, 1))
            return _function(source, lambda x: x**exponent)
        if node.op_type in ("AveragePool", "GlobalAveragePool"):
            kernel = attributes.get("kernel_shape") or tuple(source.value.shape[2:])
            stride = attributes.get("strides", kernel)
            return _averaged(source, tuple(kernel), tuple(stride))
        if node.op_type in _FUNCTIONS:
            return _function(source, lambda x: _FUNCTIONS[node.op_type](x, attributes))
        if node.op_type == "Div":
            assert optional[0] is not None
            return _rounded_by(
                _Bounded(source.value / optional[0].value, source.error / optional[0].value.abs()),
                1,
            )
        if node.op_type == "Clip":
            low, high = (
                end.value if end is not None else torch.tensor(way * inf)
                for end, way in zip(optional[:2], (-1, 1), strict=True)
            )
            return _Bounded(source.value.clamp(low, high), source.error)
        if node.op_type == "Resize":
            factors = [float(factor) for factor in _constant(node, 2)[2:]]
            if attributes["mode"] == "nearest":
                return source.map(lambda x: F.interpolate(x, scale_factor=factors))
            return _interpolated(
                source,
                factors,
                corners=attributes["coordinate_transformation_mode"] == "align_corners",
            )
        if node.op_type == "Reshape":
            sizes = [int(size) for size in _constant(node, 1)]
            return source.map(lambda x: x.reshape(x.shape[0], *sizes[1:]))
        return source.map(lambda x: _moved(node.op_type, x, attributes))


def _constant(node: ir.Node, index: int) -> NDArray[Any]:
    numbers = constant_of(node.inputs[index])
    assert numbers is not None
    return numbers


@dataclass(frozen=True)
class _Bounded:
    value: Tensor
    error: Tensor

    def map(self, function: Any) -> _Bounded:
        """Data movement, or a monotone 1-Lipschitz function such as ReLU and maximum."""
        return _Bounded(function(self.value), function(self.error))

    @property
    def most(self) -> Tensor:
        return self.value.abs() + self.error


def _exact(value: Tensor) -> _Bounded:
    return _Bounded(value, torch.zeros_like(value))


def _rounded(value: Tensor) -> _Bounded:
    return _Bounded(value, U * value.abs())


def _scaled(
    integers: Tensor, scale: NDArray[np.float32], zero: NDArray[np.int32], axis: int | None
) -> Tensor:
    shape = [1] * integers.ndim
    if axis is not None:
        shape[axis] = -1
    step, shift = (
        torch.from_numpy(np.asarray(part, np.float64)).reshape(shape if axis is not None else ())
        for part in (scale, zero)
    )
    return (integers - shift) * step


def _linear(
    op_type: str, x: _Bounded, w: _Bounded | None, b: _Bounded | None, attributes: Mapping[str, Any]
) -> _Bounded:
    assert w is not None

    def apply(inputs: Tensor, weight: Tensor) -> Tensor:
        if op_type == "Gemm":
            return inputs @ (weight.T if attributes.get("transB") else weight)
        if op_type == "MatMul":
            return inputs @ weight
        if op_type == "ConvTranspose":
            return F.conv_transpose2d(
                inputs,
                weight,
                None,
                attributes["strides"],
                tuple(attributes["pads"][:2]),
                attributes["output_padding"],
                attributes["group"],
                attributes["dilations"],
            )
        pads = tuple(attributes["pads"][:2])
        return F.conv2d(
            inputs,
            weight,
            None,
            attributes["strides"],
            pads,
            attributes["dilations"],
            attributes["group"],
        )

    terms = w.value[0].numel() if op_type == "Conv" else x.value.shape[-1]
    if op_type == "ConvTranspose":
        terms = w.value[:, 0].numel()
    most = apply(x.most, w.most)
    value, error = (
        apply(x.value, w.value),
        apply(x.error, w.most) + apply(x.value.abs(), w.error) + (terms + 2) * U * most,
    )
    if b is None:
        return _Bounded(value, error)
    shape = (1, -1, 1, 1) if op_type.startswith("Conv") else (1, -1)
    return _Bounded(
        value + b.value.reshape(shape),
        error + b.error.reshape(shape) + 2 * U * (most + b.most.reshape(shape)),
    )


def _arithmetic(op_type: str, a: _Bounded, b: _Bounded | None) -> _Bounded:
    assert b is not None
    if op_type == "Mul":
        value, error = a.value * b.value, a.error * b.most + a.value.abs() * b.error
    else:
        value, error = (
            {"Add": operator.add, "Sub": operator.sub}[op_type](a.value, b.value),
            a.error + b.error,
        )
    return _Bounded(value, error + U * (value.abs() + error))


# of a result, or of one: what float32 functions of torch and ONNX Runtime are off by at most
# (measured: 17)
ULPS = 32


def _function(x: _Bounded, function: Any) -> _Bounded:
    """A unary function whose steepest slope near a point is at an end of the error."""
    value = function(x.value)
    ends = [(function(x.value + way * x.error) - value).abs() for way in (-1, 1)]
    return _rounded_by(_Bounded(value, 2 * torch.maximum(*ends)), ULPS, least=1.0)


def _rounded_by(x: _Bounded, ulps: int, *, least: float = 0.0) -> _Bounded:
    return _Bounded(x.value, x.error + ulps * U * (x.most + least))


def _norm(x: _Bounded, parameters: Sequence[_Bounded], epsilon: float) -> _Bounded:
    gamma, beta, mean, variance = (
        one.value.reshape(1, -1, *[1] * (x.value.ndim - 2)) for one in parameters
    )
    factor = gamma / (variance + epsilon).sqrt()
    value = (x.value - mean) * factor + beta
    # Either (x - mean) * factor + beta or x * factor + (beta - mean * factor), in some order, at
    # most eight roundings deep.
    return _Bounded(
        value, x.error * factor.abs() + 8 * U * ((x.most + mean.abs()) * factor.abs() + beta.abs())
    )


def _layer_norm(
    x: _Bounded, parameters: Sequence[Tensor], attributes: Mapping[str, Any]
) -> _Bounded:
    """Either form of the variance: torch's mean of squares, or a difference of means."""
    axes = tuple(range(int(attributes["axis"]) % x.value.ndim, x.value.ndim))
    terms = x.value[(0,) * axes[0]].numel() + 4
    mean = x.value.mean(axes, keepdim=True)
    mean_error = x.error.mean(axes, keepdim=True) + terms * U * x.most.mean(axes, keepdim=True)
    away, away_error = x.value - mean, x.error + mean_error + U * x.most
    variance = away.square().mean(axes, keepdim=True) + attributes["epsilon"]
    spread = 4 * (x.most * (x.error + mean_error)).mean(
        axes, keepdim=True
    ) + 2 * terms * U * x.most.square().mean(axes, keepdim=True)
    assert (spread < variance / 10).all(), "a variance that float error hides"
    root = variance.sqrt()
    gain, *shift = (parameter.abs() for parameter in parameters)
    error = gain / root * (
        away_error + (away.abs() + away_error) * (0.6 * spread / variance + 8 * U)
    ) + sum(8 * U * each for each in shift)
    value = away / root * parameters[0] + (parameters[1] if shift else 0)
    return _Bounded(value, error)


def _softmax(x: _Bounded, axis: int, *, log: bool) -> _Bounded:
    """Every term is off by what its function and the largest error of what it reads make of it."""
    relative = 2 * x.error.amax(axis, keepdim=True) + (x.value.shape[axis] + 2 * ULPS) * U
    if log:
        value = x.value.log_softmax(axis)
        return _Bounded(value, relative + 4 * U * (x.most + value.abs()))
    value = x.value.softmax(axis)
    return _Bounded(value, value * relative)


def _reduced(x: _Bounded, attributes: Mapping[str, Any], *, mean: bool) -> _Bounded:
    axes, keep = tuple(attributes["axes"]), bool(attributes["keepdims"])
    value, error, most = (
        part.mean(axes, keep) if mean else part.sum(axes, keep)
        for part in (x.value, x.error, x.most)
    )
    terms = x.value.numel() // value.numel()
    return _Bounded(value, error + (terms + 2) * U * most)


def _averaged(x: _Bounded, kernel: tuple[int, ...], stride: tuple[int, ...]) -> _Bounded:
    mean = [F.avg_pool2d(part, kernel, stride) for part in (x.value, x.error, x.most)]
    return _Bounded(mean[0], mean[1] + (kernel[0] * kernel[1] + 2) * U * mean[2])


def _interpolated(x: _Bounded, factors: list[float], *, corners: bool) -> _Bounded:
    """Float32 sample positions are off by a few roundings, and the result in proportion."""
    value, error, most = (
        F.interpolate(part, scale_factor=factors, mode="bilinear", align_corners=corners)
        for part in (x.value, x.error, x.most)
    )
    around = F.interpolate(F.max_pool2d(x.most, 3, 1, 1), scale_factor=factors)
    return _Bounded(value, error + 8 * U * most + 16 * U * max(x.value.shape[2:]) * around)


def _moved(op_type: str, x: Tensor, attributes: Mapping[str, Any]) -> Tensor:
    if op_type == "Relu":
        return x.relu()
    if op_type == "Flatten":
        return x.flatten(1)
    if op_type == "Transpose":
        return x.permute(*attributes["perm"])
    if op_type == "Identity":
        return x
    if op_type == "ReduceMax":
        return x.amax(tuple(attributes["axes"]), bool(attributes["keepdims"]))
    if op_type == "GlobalMaxPool":
        return x.amax((2, 3), keepdim=True)
    if op_type == "MaxPool":
        return F.max_pool2d(
            x, attributes["kernel_shape"], attributes["strides"], attributes["pads"][:2]
        )
    if op_type == "Slice":
        cuts = [slice(None)] * x.ndim
        for axis, start, end, step in zip(
            attributes["axes"],
            attributes["starts"],
            attributes["ends"],
            attributes["steps"],
            strict=True,
        ):
            cuts[axis] = slice(start, end, step)
        return x[tuple(cuts)]
    if op_type == "DepthToSpace":
        block, (count, channels, height, width) = attributes["blocksize"], x.shape
        apart = x.reshape(count, channels // block**2, block, block, height, width)
        return apart.permute(0, 1, 4, 2, 5, 3).reshape(count, -1, height * block, width * block)
    assert op_type == "Pad", f"the referee knows no {op_type}"
    ends = np.reshape(attributes["pads"], (2, -1)).T[::-1].ravel()
    return F.pad(x, [int(end) for end in ends])


def _name(value: ir.Value | None) -> str:
    return (value.name if value is not None else None) or ""
