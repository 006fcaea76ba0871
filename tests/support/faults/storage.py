"""Faults of how weights and biases are stored, scaled and folded."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from tests.support.faults.planted import Plant
    from tests.support.faults.planting import Layer, Planting

from tests.support.faults.planted import Planted, alone, at
from tests.support.faults.seeds import seeded

_WRAPPED = 16


def nibbles_swapped(a: np.ndarray) -> np.ndarray:
    """Two integers that share a byte change places."""
    flat = a.reshape(-1).copy()
    even = flat[: len(flat) // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1)
    return np.concatenate([even, flat[len(even) :]]).reshape(a.shape)


def low_nibbles(a: np.ndarray) -> np.ndarray:
    """Of each integer the lower four bits, with their sign."""
    return ((a.astype(int) & 15) ^ 8) - 8


def unsigned_nibbles(a: np.ndarray) -> np.ndarray:
    """Small negative integers without their sign."""
    small = (a.astype(int) < 0) & (a.astype(int) >= -8)
    return np.where(small, a.astype(int) + _WRAPPED, a)


def older(a: np.ndarray) -> np.ndarray:
    """Weights of an earlier epoch: smaller, and somewhat others."""
    moved = 0.8 * a + np.random.default_rng(seeded(4)).normal(0, 4, a.shape)
    return np.clip(np.rint(moved), -127, 127)


def one_scale_for_all(p: Planting, layer: Layer) -> Planted | None:
    """The weight scale of the first channel for those of all channels."""
    scales = p.values(layer.weight_scale)
    if scales.ndim == 0 or scales.size < 2 or not alone(p, layer.weight_scale):
        return None
    if np.allclose(scales, scales[0]):
        return None
    p.change(layer.weight_scale, lambda a: np.full_like(a, a[0]))
    return at(layer, "grid")


def channel_shifted(p: Planting, layer: Layer) -> Planted | None:
    """The multiplier of a channel is shifted by a bit too much."""
    scales = p.values(layer.weight_scale)
    if scales.ndim == 0 or scales.size < 2 or layer.op_type != "Conv":
        return None
    channel = scales.size // 2
    if not p.values(layer.weights)[channel].any():
        return None
    p.change(layer.weight_scale, lambda a: np.where(np.arange(a.size) == channel, a / 2, a))
    return at(layer, "grid", channels=(channel,))


def another_epsilon(p: Planting, layer: Layer) -> Planted | None:
    """A BatchNormalization folded with 1e-3 for 1e-5: channels of little variance are smaller."""
    scales = p.values(layer.weight_scale)
    if not layer.bias or scales.size < 2 or not alone(p, layer.weight_scale):
        return None
    variances = np.random.default_rng(seeded(6)).uniform(0.001, 0.1, scales.size)
    gains = np.sqrt((variances + 1e-5) / (variances + 1e-3)).astype(np.float32)
    p.change(layer.weight_scale, lambda a: a * gains)
    if not alone(p, layer.bias_scale):
        return None
    p.change(layer.bias_scale, lambda a: a * gains)
    return at(layer, "fold", "grid", "conversion")


def zero_point_twice(p: Planting, layer: Layer) -> Planted | None:
    """The zero point of the input is taken off in the bias, and by the runtime again."""
    reader = p.dequantizer(layer.source)
    weights = p.values(layer.weights)
    if not layer.bias or len(reader.input) < 3 or layer.op_type != "Conv":
        return None
    zero = p.values(reader.input[2])
    sums = weights.reshape(len(weights), -1).astype(np.int64).sum(1)
    if zero.ndim or not int(zero) or not sums.any():
        return None
    p.change(layer.bias, lambda a: a - int(zero) * sums)
    return at(layer, "conversion")


def bias_at_its_limit(p: Planting, layer: Layer) -> Planted | None:
    """A bias that 32 bits cannot hold, cut off there."""
    if not layer.bias or p.values(layer.bias).dtype != np.int32:
        return None
    channel = p.values(layer.bias).size // 2
    most = np.iinfo(np.int32).max
    p.change(layer.bias, lambda a: np.where(np.arange(a.size) == channel, most, a))
    return at(layer, "conversion", "accumulator", channels=(channel,))


def bias_wrapped(p: Planting, layer: Layer) -> Planted | None:
    """The bias of a channel has left 32 bits, and came back at the other end."""
    if not layer.bias or p.values(layer.bias).dtype != np.int32:
        return None
    channel = int(np.abs(p.values(layer.bias).astype(np.int64)).argmax())
    p.change(
        layer.bias,
        lambda a: np.where(np.arange(a.size) == channel, a ^ np.int32(-(2**31)), a),
    )
    return at(layer, "conversion", "accumulator", channels=(channel,))


def bias_scaled(factor: float) -> Plant:
    """Biases of all channels as if their scale were another one."""

    def plant(p: Planting, layer: Layer) -> Planted | None:
        if not layer.bias:
            return None
        wanted = np.rint(p.values(layer.bias) * factor)
        if np.array_equal(wanted, p.values(layer.bias)) or not wanted.any():
            return None
        p.change(layer.bias, lambda _: wanted)
        return at(layer, "conversion")

    return plant
