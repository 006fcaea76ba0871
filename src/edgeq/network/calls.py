"""The arguments of calls of torch, as ``torch.fx`` traces them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import fx


def argument(node: fx.Node, index: int, name: str, default: Any = None) -> Any:
    """An argument of a call, given by position or by name."""
    return node.args[index] if len(node.args) > index else node.kwargs.get(name, default)


def name_of(target: Any) -> str:
    """What a person calls the target of a node: the name of a function, or the target itself."""
    return str(getattr(target, "__name__", target))


def pair(value: Any) -> tuple[int, int]:
    """Height and width of an option that torch takes as one number or two."""
    return (value, value) if isinstance(value, int) else (value[0], value[-1])
