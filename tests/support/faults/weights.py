"""Faults in weights and biases."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.support.faults.planted import Plant
    from tests.support.faults.planting import Layer, Planting

from tests.support.faults.planted import Planted, alone, at
from tests.support.faults.seeds import seeded


def _channel(values: np.ndarray) -> int:
    """A channel in the middle that holds something."""
    rows = np.abs(values.reshape(len(values), -1).astype(np.int64)).sum(1)
    return int(np.argsort(rows)[len(rows) // 2 :][0]) if rows.size else 0


# ---- weights ---------------------------------------------------------------------------------


def weight_scale(factor: float) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        if not alone(p, layer.weight_scale):
            return None
        p.change(layer.weight_scale, lambda a: a * np.float32(factor))
        return at(layer, "grid")

    return plant


def one_channel_scale(p: Planting, layer: Layer) -> Planted | None:
    scales, channel = p.values(layer.weight_scale), _channel(p.values(layer.weights))
    if scales.ndim == 0 or scales.size < 2 or layer.op_type != "Conv":
        return None
    p.change(layer.weight_scale, lambda a: np.where(np.arange(a.size) == channel, a * 1.5, a))
    return at(layer, "grid", channels=(channel,))


def one_weight(step: int) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        values = p.values(layer.weights)
        flat = values.reshape(-1).astype(np.int64)
        index = flat.size // 2
        new = flat[index] + (step if flat[index] < 0 else -step)
        place = np.unravel_index(index, values.shape)

        def change(a: np.ndarray) -> np.ndarray:
            a[place] = new
            return a

        p.change(layer.weights, change)
        channel = (int(place[0]),) if layer.op_type == "Conv" else ()
        return at(layer, "conversion", channels=channel)

    return plant


def on_channel(how: Callable[[np.ndarray], np.ndarray]) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        values = p.values(layer.weights)
        if layer.op_type != "Conv" or values.dtype != np.int8:
            return None
        channel = _channel(values)
        if np.array_equal(how(values[channel]), values[channel]):
            return None

        def change(a: np.ndarray) -> np.ndarray:
            a[channel] = how(a[channel])
            return a

        p.change(layer.weights, change)
        return at(layer, "conversion", "layout", channels=(channel,))

    return plant


def on_weights(
    how: Callable[[np.ndarray], np.ndarray], *causes: str, images: bool = False
) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        values = p.values(layer.weights)
        if images and (values.ndim < 4 or values.shape[-1] == 1 or layer.op_type != "Conv"):
            return None
        if values.dtype != np.int8:
            return None
        after = how(values.copy())
        if after.shape != values.shape or np.array_equal(after, values):
            return None
        p.change(layer.weights, how)
        return at(layer, *causes)

    return plant


def swap(a: np.ndarray, axis: int) -> np.ndarray:
    order = np.arange(a.shape[axis])
    if len(order) > 1:
        order[[0, 1]] = order[[1, 0]]
    return np.take(a, order, axis)


def swapped_outputs(*, with_bias: bool) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        values = p.values(layer.weights)
        if layer.op_type != "Conv" or len(values) < 2 or np.array_equal(values[0], values[1]):
            return None
        p.change(layer.weights, lambda a: swap(a, 0))
        if with_bias:
            if not layer.bias:
                return None
            bias = p.values(layer.bias)
            if bias[0] == bias[1]:
                return None
            p.change(layer.bias, lambda a: swap(a, 0))
        return at(layer, "layout", channels=(0, 1))

    return plant


def weight_zero(p: Planting, layer: Layer) -> Planted | None:
    if not layer.weight_zero or not alone(p, layer.weight_zero):
        return None
    p.change(layer.weight_zero, lambda a: a + 1)
    return at(layer, "grid", "conversion")


# ---- biases ----------------------------------------------------------------------------------


def on_bias(how: Callable[[np.ndarray], np.ndarray], *causes: str) -> Plant:
    def plant(p: Planting, layer: Layer) -> Planted | None:
        if not layer.bias:
            return None
        bias = p.values(layer.bias)
        if np.array_equal(how(bias.copy()), bias):
            return None
        p.change(layer.bias, how)
        return at(layer, *(causes or ("conversion",)))

    return plant


def bias_of_a_channel(p: Planting, layer: Layer) -> Planted | None:
    if not layer.bias:
        return None
    size = p.values(layer.bias).size
    channel = min(3, size - 1)
    p.change(layer.bias, lambda a: a + 40 * (np.arange(a.size) == channel))
    return at(layer, "conversion", channels=(channel,))


def bias_scale(p: Planting, layer: Layer) -> Planted | None:
    if not layer.bias or not alone(p, layer.bias_scale):
        return None
    p.change(layer.bias_scale, lambda a: a * np.float32(1.5))
    return at(layer, "grid", "conversion")


def folded_otherwise(p: Planting, layer: Layer) -> Planted | None:
    """A BatchNormalization folded with other numbers: scales and biases of all channels."""
    scales = p.values(layer.weight_scale)
    if not layer.bias or scales.size < 2 or not alone(p, layer.weight_scale):
        return None
    gains = np.random.default_rng(seeded(0)).uniform(0.8, 1.25, scales.size).astype(np.float32)
    p.change(layer.weight_scale, lambda a: a * gains)
    p.change(layer.bias, lambda a: np.rint(a * 1.1 + 30))
    return at(layer, "fold")


def quarter(a: np.ndarray) -> np.ndarray:
    return np.rint(a / 4) * 4
