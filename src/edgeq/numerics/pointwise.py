"""Unary elementwise functions, as ONNX defines them.

On 8 bits each of them is a table of 256 entries, and so exact.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

Floats: TypeAlias = "NDArray[np.float64]"
Attributes: TypeAlias = "Mapping[str, object]"

# the defaults that ONNX states
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


def _number(attributes: Attributes, name: str, default: float) -> float:
    value = attributes.get(name, default)
    return float(value) if isinstance(value, (int, float)) else default


def _sigmoid(x: Floats) -> Floats:
    result: Floats = 1 / (1 + np.exp(-x))
    return result


def _erf(x: Floats) -> Floats:
    return np.array([math.erf(value) for value in x.reshape(-1)]).reshape(x.shape)


def _elu(x: Floats, alpha: float, width: float = 1.0) -> Floats:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0) / width))


def _gelu(x: Floats, attributes: Attributes) -> Floats:
    by_tanh = attributes.get("approximate", "none") == "tanh"
    cumulated = (
        np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))
        if by_tanh
        else _erf(x / math.sqrt(2))
    )
    result: Floats = 0.5 * x * (1 + cumulated)
    return result


def _hard_sigmoid(x: Floats, alpha: float, beta: float) -> Floats:
    return np.clip(alpha * x + beta, 0, 1)


def _selu(x: Floats, attributes: Attributes) -> Floats:
    return _number(attributes, "gamma", _SELU_GAMMA) * _elu(
        x, _number(attributes, "alpha", _SELU_ALPHA)
    )


def _celu(x: Floats, attributes: Attributes) -> Floats:
    alpha = _number(attributes, "alpha", 1.0)
    return _elu(x, alpha, alpha)


UNARY: Mapping[str, Callable[[Floats, Attributes], Floats]] = {
    "Abs": lambda x, _: np.abs(x),
    "Ceil": lambda x, _: np.ceil(x),
    "Celu": _celu,
    "Cos": lambda x, _: np.cos(x),
    "Elu": lambda x, a: _elu(x, _number(a, "alpha", 1.0)),
    "Erf": lambda x, _: _erf(x),
    "Exp": lambda x, _: np.exp(x),
    "Floor": lambda x, _: np.floor(x),
    "Gelu": _gelu,
    "HardSigmoid": lambda x, a: _hard_sigmoid(x, _number(a, "alpha", 0.2), _number(a, "beta", 0.5)),
    "HardSwish": lambda x, _: x * _hard_sigmoid(x, 1 / 6, 0.5),
    "LeakyRelu": lambda x, a: np.where(x >= 0, x, _number(a, "alpha", 0.01) * x),
    "Log": lambda x, _: np.log(x),
    "Mish": lambda x, _: x * np.tanh(np.logaddexp(0, x)),
    "Neg": lambda x, _: -x,
    "Reciprocal": lambda x, _: 1 / x,
    "Round": lambda x, _: np.rint(x),
    "Selu": _selu,
    "Sigmoid": lambda x, _: _sigmoid(x),
    "Sign": lambda x, _: np.sign(x),
    "Sin": lambda x, _: np.sin(x),
    "Softplus": lambda x, _: np.logaddexp(0, x),
    "Softsign": lambda x, _: x / (1 + np.abs(x)),
    "Sqrt": lambda x, _: np.sqrt(x),
    "Swish": lambda x, a: x * _sigmoid(_number(a, "alpha", 1.0) * x),
    "Tanh": lambda x, _: np.tanh(x),
    "ThresholdedRelu": lambda x, a: np.where(x > _number(a, "alpha", 1.0), x, 0.0),
}
"""Unary elementwise functions by ONNX operator, in float64, with the node's attributes."""

BINARY: Mapping[str, Callable[[Floats, Floats], Floats]] = {
    "Add": np.add,
    "Div": np.divide,
    "Max": np.maximum,
    "Min": np.minimum,
    "Mul": np.multiply,
    "Pow": np.power,
    "Sub": np.subtract,
}
"""Functions of two numbers by ONNX operator, in float64."""


def evaluate(
    op_type: str, operands: tuple[NDArray[np.float32], ...], attributes: Attributes
) -> NDArray[np.float32]:
    """The value of a function of :data:`UNARY` or :data:`BINARY`.

    Rounded to float32, as a runtime stores it.
    """
    wide = [operand.astype(np.float64) for operand in operands]
    with np.errstate(all="ignore"):  # infinities saturate on any grid
        result = (
            UNARY[op_type](wide[0], attributes)
            if op_type in UNARY
            else BINARY[op_type](wide[0], wide[1])
        )
        return result.astype(np.float32)
