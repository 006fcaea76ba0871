"""What was planted, and what a tool has to say of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from tests.support.faults.planting import Layer, Planting


@dataclass(frozen=True)
class Planted:
    """What was planted.

    Attributes:
        causes: the kinds of cause that are right.
        tensors: the results of the operators that may be named.
        channels: the output channels that have to be named; empty for no matter.
    """

    causes: frozenset[str]
    tensors: frozenset[str]
    channels: tuple[int, ...] = ()


Plant: TypeAlias = Callable[[Planting, Layer], Planted | None]
"""Plants a fault in a layer; None where it has no place there."""


def at(layer: Layer, *causes: str, channels: tuple[int, ...] = ()) -> Planted:
    """A fault at the result of a layer."""
    return Planted(frozenset(causes), frozenset((layer.result,)), channels)


def alone(p: Planting, name: str) -> bool:
    """Whether one node alone reads a constant."""
    return sum(name in node.input for node in p.graph.node) == 1
