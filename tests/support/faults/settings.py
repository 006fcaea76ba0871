"""Faults in what operators are set to, of kinds that other quantisers' files have."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.support.faults.planted import Plant
    from tests.support.faults.planting import Layer, Planting

from tests.support.faults.places import nodes_behind, told_of
from tests.support.faults.planted import Planted, at


def on_real(name: str, factor: float, *op_types: str) -> Plant:
    """An attribute that is a real number, multiplied."""

    def plant(p: Planting, layer: Layer) -> Planted | None:
        for node in nodes_behind(p, layer, *op_types):
            before = next((each.f for each in node.attribute if each.name == name), None)
            if before:
                p.set(node, name, before * factor)
                return told_of(p, node, "conversion")
        return None

    return plant


def groups_exchanged(p: Planting, layer: Layer) -> Planted | None:
    """The filters of one group are those of the next."""
    groups = next(
        (each.i for each in p.graph.node[layer.place].attribute if each.name == "group"), 1
    )
    if layer.op_type != "Conv" or groups < 2 or p.values(layer.weights).shape[1] < 2:
        return None
    width = len(p.values(layer.weights)) // groups
    p.change(layer.weights, lambda a: np.roll(a, width, 0))
    return at(layer, "layout", "conversion")


def another_index(p: Planting, layer: Layer) -> Planted | None:
    """A Gather picks a neighbour."""
    for node in nodes_behind(p, layer, "Gather"):
        p.own(node, 1, lambda a: np.roll(a, 1) if a.size > 1 else a - 1)
        return told_of(p, node, "conversion", "layout")
    return None


def cut_off_elsewhere(p: Planting, layer: Layer) -> Planted | None:
    """A Clip of real numbers ends at half of what it did."""
    for node in nodes_behind(p, layer, "Clip"):
        if len(node.input) < 3 or not node.input[2]:
            continue
        try:
            end = p.values(node.input[2])
        except KeyError:
            continue
        if end.dtype.kind != "f":
            continue
        p.own(node, 2, lambda a: a / 2)
        return told_of(p, node, "clipping", "conversion")
    return None
