"""Unary elementwise functions as torch spells them.

One table for whoever places quantisers and whoever writes files.

Torch has each of them up to four times: as a module, as a function of two packages, and as a
method. All go by one name here, the function's, in lower case and without underscores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Option = float | str | None


@dataclass(frozen=True, slots=True)
class TorchFunction:
    """A unary elementwise function.

    Attributes:
        options: the parameters that torch takes behind the tensor, by name, with its defaults.
        not_negative: whether no result is below zero.
    """

    options: tuple[tuple[str, Option], ...] = ()
    not_negative: bool = False


FUNCTIONS: Mapping[str, TorchFunction] = {
    "abs": TorchFunction(not_negative=True),
    "celu": TorchFunction((("alpha", 1.0),)),
    "ceil": TorchFunction(),
    "clamp": TorchFunction((("min", None), ("max", None))),
    "cos": TorchFunction(),
    "elu": TorchFunction((("alpha", 1.0),)),
    "erf": TorchFunction(),
    "exp": TorchFunction(not_negative=True),
    "expm1": TorchFunction(),
    "floor": TorchFunction(),
    "gelu": TorchFunction((("approximate", "none"),)),
    "hardshrink": TorchFunction((("lambd", 0.5),)),
    "hardsigmoid": TorchFunction(not_negative=True),
    "hardswish": TorchFunction(),
    "hardtanh": TorchFunction((("min_val", -1.0), ("max_val", 1.0))),
    "leakyrelu": TorchFunction((("negative_slope", 0.01),)),
    "log": TorchFunction(),
    "log1p": TorchFunction(),
    "logsigmoid": TorchFunction(),
    "mish": TorchFunction(),
    "neg": TorchFunction(),
    "pow": TorchFunction((("exponent", None),)),
    "prelu": TorchFunction(),
    "reciprocal": TorchFunction(),
    "relu": TorchFunction(not_negative=True),
    "relu6": TorchFunction(not_negative=True),
    "round": TorchFunction(),
    "rsqrt": TorchFunction(not_negative=True),
    "selu": TorchFunction(),
    "sigmoid": TorchFunction(not_negative=True),
    "sign": TorchFunction(),
    "silu": TorchFunction(),
    "sin": TorchFunction(),
    "softplus": TorchFunction((("beta", 1.0), ("threshold", 20.0)), not_negative=True),
    "softshrink": TorchFunction((("lambd", 0.5),)),
    "softsign": TorchFunction(),
    "sqrt": TorchFunction(not_negative=True),
    "square": TorchFunction(not_negative=True),
    "tanh": TorchFunction(),
    "tanhshrink": TorchFunction(),
    "threshold": TorchFunction((("threshold", None), ("value", None))),
}
"""Every function that can be quantised and written, by its name."""


def function_name(target: object) -> str | None:
    """The name in :data:`FUNCTIONS` of a module, function or method of torch; None for others.

    Args:
        target: a module, a function, or the name of a method.
    """
    from torch import nn

    if isinstance(target, nn.Module):
        known = type(target).__module__.startswith("torch.nn.modules.")
        return _known(type(target).__name__) if known else None
    if isinstance(target, str):
        return _known(target)
    name = getattr(target, "__name__", "")
    return _known(name) if _is_torchs(target, name) else None


def _known(name: str) -> str | None:
    plain = name.lower().replace("_", "")
    return plain if plain in FUNCTIONS else None


def _is_torchs(target: object, name: str) -> bool:
    import operator

    import torch
    from torch.nn import functional

    spellings = (name, name.replace("_", ""))  # torch calls its own logsigmoid log_sigmoid
    return any(
        getattr(package, spelling, None) is target
        for package in (torch, functional, operator)
        for spelling in spellings
    )


def function_options(
    name: str, target: object, arguments: Sequence[Any], keywords: Mapping[str, Any]
) -> dict[str, Any]:
    """The options that a function is called with.

    Args:
        name: a key of :data:`FUNCTIONS`.
        target: what is called; a module holds its options itself.
        arguments: behind the tensor, by position.
        keywords: by name.
    """
    from torch import nn

    given: Mapping[str, Any] = keywords
    if isinstance(target, nn.Module):
        given = vars(target)
    else:
        given = {
            **dict(zip((option for option, _ in FUNCTIONS[name].options), arguments, strict=False)),
            **keywords,
        }
    return {option: given.get(option, default) for option, default in FUNCTIONS[name].options}


def bounds(name: str, options: Mapping[str, Any]) -> tuple[float | None, float | None] | None:
    """The min and max that a function clips to; None for one that does more than clip."""
    if name == "relu":
        return 0.0, None
    if name == "relu6":
        return 0.0, 6.0
    keys = {"hardtanh": ("min_val", "max_val"), "clamp": ("min", "max")}.get(name)
    return None if keys is None else (options[keys[0]], options[keys[1]])
