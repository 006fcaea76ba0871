"""What differs between two layers."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.diffing.grids import scale_difference
from edgeq.diffing.records import Difference, listed
from edgeq.metrics.sqnr import sqnr_db
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.linting.model import LintLayer
    from edgeq.quant import QuantParams

_ONE_GRID_STEP = 0.5001
"""Weights that are one real number rounded on two grids differ by half a step of each at most."""


TRANSPOSED = frozenset(("ConvTranspose", "TRANSPOSE_CONV"))


def as_convolution(layer: LintLayer) -> LintLayer:
    """A transposed convolution of stride 1 as the convolution that it is: its kernel turned."""
    if layer.op_type not in TRANSPOSED or layer.weights is None:
        return layer
    turned = np.flip(layer.weights, tuple(range(2, layer.weights.ndim)))
    return replace(layer, weights=np.ascontiguousarray(turned))


def taps(layer: LintLayer) -> tuple[int, ...] | None:
    """(out, in / groups, ...) without axes of one tap, which formats write or leave out."""
    if layer.weights is None:
        return None
    channels, kernel = layer.weights.shape[:2], layer.weights.shape[2:]
    return (*channels, *(size for size in kernel if size > 1))


def _of_one_rank(before: LintLayer, after: LintLayer) -> tuple[LintLayer, LintLayer]:
    """Two layers with as many axes, where one is on a line and the other on an image of it."""
    if before.weights is None or after.weights is None:
        return before, after
    if before.weights.ndim == after.weights.ndim:
        return before, after
    shapes = taps(before), taps(after)
    first, second = (
        replace(layer, weights=weights.reshape(shape or weights.shape))
        for layer, weights, shape in zip(
            (before, after), (before.weights, after.weights), shapes, strict=True
        )
    )
    return first, second


def layer_differences(before: LintLayer, after: LintLayer) -> Iterator[Difference]:
    """How the weights, the bias and their scales of a layer differ."""
    where = before.node
    if (before.op_type in TRANSPOSED) != (after.op_type in TRANSPOSED):
        before, after = as_convolution(before), as_convolution(after)
    before, after = _of_one_rank(before, after)
    if (before.weights is None) != (after.weights is None):
        forms = ["in float" if layer.weights is None else "quantised" for layer in (before, after)]
        yield Difference("number format", where, f"weights {forms[0]} became {forms[1]}")
    if before.weights is None or after.weights is None:
        return
    if before.weight_grid is None or after.weight_grid is None:
        return
    order = None
    if before.weights.shape == after.weights.shape:
        order = _reordered(before, after)
        yield from _weights(before, after, order)
    elif turned := _turned(before.weights, after.weights):
        yield Difference("weights transposed", where, turned)
    else:
        old, new = ("x".join(map(str, each.shape)) for each in (before.weights, after.weights))
        yield Difference("shape", where, f"weights of {old} became {new}")
    if order is None:
        yield from _bias(before, after)
    yield from _bias_scale(before, after)


def _weights(
    before: LintLayer, after: LintLayer, order: NDArray[np.int64] | None
) -> Iterator[Difference]:
    old, new, grid, other = before.weights, after.weights, before.weight_grid, after.weight_grid
    if old is None or new is None or grid is None or other is None:
        return
    where, count = before.node, len(old)
    if order is not None:
        moved = tuple(int(i) for i in np.flatnonzero(order != np.arange(count)))
        told = (
            f"channels {moved[0]} and {moved[1]} change places"
            if len(moved) == 2
            else f"{len(moved)} of {count} channels stand in another order"
        )
        stay = "" if _follows(before, after, order) else ", and their biases do not"
        yield Difference("channels reordered", where, f"{told}{stay}", moved)
        return
    differ = _channels(old != new)
    real, after_real = (_real(values, each) for values, each in ((old, grid), (new, other)))
    reach = _ONE_GRID_STEP * (_scales(grid, old) + _scales(other, new))
    if differ and np.all(np.abs(real - after_real) <= reach) and not _same_scales(grid, other):
        yield Difference(
            "weights requantised",
            where,
            _requantised(layers=(before, after), real=(real, after_real)),
        )
        return
    yield from scale_difference(grid, other, where, "weight scale")
    if turned := _turned(old, new):
        yield Difference("weights transposed", where, turned)
    elif differ:
        steps = int(np.abs(new - old).max())
        number = int((new != old).sum())
        yield Difference(
            "weights",
            where,
            f"{counted(number, 'integer', 'differ', of=old.size)}, by up to {steps}, in "
            f"{listed(differ, count)}",
            differ if len(differ) < count else (),
            steps=steps,
        )


def _requantised(
    layers: tuple[LintLayer, LintLayer],
    real: tuple[NDArray[np.float64], NDArray[np.float64]],
) -> str:
    """How weights lie that are one real number rounded on two grids, and how far they moved."""
    (old, grid), (new, other) = (
        (each.weights, each.weight_grid)
        for each in layers
        if each.weights is not None and each.weight_grid is not None
    )
    apart = real[1] - real[0]
    told = f"{sqnr_db(float((real[0] ** 2).sum()), float((apart**2).sum())):.1f} dB"
    finer = np.minimum(_scales(grid, old), _scales(other, new))
    if np.all(np.abs(apart) <= _ONE_GRID_STEP * finer):
        return f"the same real weights on {_grid_of(grid, other)}, within rounding: {told}"
    levels = [2 * int(np.abs(integers).max()) + 1 for integers in (old, new)]
    onto = (
        f"rounded to {levels[1]} steps instead of {levels[0]}"
        if levels[0] != levels[1]
        else f"rounded on {_grid_of(grid, other)}"
    )
    return f"{onto}: the real weights moved, {told}"


def _bias(before: LintLayer, after: LintLayer) -> Iterator[Difference]:
    count = len(before.weights) if before.weights is not None else 0
    zeros = np.zeros(count, np.int64)
    old, new = (  # whatever shape they are stored in
        zeros if layer.bias is None else layer.bias.reshape(-1) for layer in (before, after)
    )
    if old.size != new.size or np.array_equal(old, new):
        return
    first, second = before.step, after.step
    if first is not None and second is not None and not np.allclose(first, second, rtol=1e-6):
        reach = _ONE_GRID_STEP * (first + second)
        if np.all(np.abs(new * second - old * first) <= reach):
            return  # the same real bias on the grid of other scales
    differ = tuple(int(i) for i in np.flatnonzero(old != new))
    change = (new - old)[list(differ)]
    largest = int(change[np.abs(change).argmax()])
    told = f"{largest:+d}" if len(differ) == 1 else f"by up to {abs(largest)}"
    yield Difference(
        "bias", before.node, f"{told} in {listed(differ, count)}", differ, steps=abs(largest)
    )


def _bias_scale(before: LintLayer, after: LintLayer) -> Iterator[Difference]:
    """A bias on another grid than the sums, in the second file only."""
    grids, steps = (before.bias_grid, after.bias_grid), (before.step, after.step)
    if grids[0] is None or grids[1] is None or steps[0] is None or steps[1] is None:
        return
    if _fits(grids[0], steps[0]) and not _fits(grids[1], steps[1]):
        yield from scale_difference(grids[0], grids[1], before.node, "bias scale")


def _fits(grid: QuantParams, step: NDArray[np.float64]) -> bool:
    return bool(np.allclose(np.atleast_1d(grid.scale), step, rtol=1e-5, atol=0.0))


def _reordered(before: LintLayer, after: LintLayer) -> NDArray[np.int64] | None:
    """For each channel after, the one before that it was; None where no order explains it."""
    rows = [_rows(layer) for layer in (before, after)]
    if rows[0] == rows[1] or sorted(rows[0]) != sorted(rows[1]):
        return None
    places: dict[bytes, list[int]] = {}
    for i, row in enumerate(rows[0]):
        places.setdefault(row, []).append(i)
    order = [i if rows[0][i] == row else -1 for i, row in enumerate(rows[1])]
    for i, row in enumerate(rows[1]):
        free = [place for place in places[row] if place not in order]
        order[i] = order[i] if order[i] >= 0 else free[0]
    return np.array(order, np.int64)


def _rows(layer: LintLayer) -> list[bytes]:
    weights = layer.weights if layer.weights is not None else np.zeros((0, 0), np.int64)
    return [np.ascontiguousarray(row, np.int64).tobytes() for row in weights]


def _follows(before: LintLayer, after: LintLayer, order: NDArray[np.int64]) -> bool:
    """Whether the biases stand in the order of the weights."""
    if before.bias is None or after.bias is None:
        return before.bias is after.bias
    return np.array_equal(before.bias[order], after.bias)


def _turned(old: NDArray[np.int64], new: NDArray[np.int64]) -> str:
    """Which axes of the weights changed places, for people; empty where none did."""
    if min(old.ndim, new.ndim) < 2 or np.array_equal(old, new):
        return ""
    turned = old.swapaxes(0, 1)
    if any(
        np.array_equal(each, new) for each in (turned, np.flip(turned, tuple(range(2, old.ndim))))
    ):
        return "inputs and outputs change places"
    if old.ndim > 3 and np.array_equal(old.swapaxes(-1, -2), new):
        return "rows and columns of the kernel change places"
    return ""


def _channels(differs: NDArray[np.bool_]) -> tuple[int, ...]:
    rows = differs.reshape(len(differs), -1).any(axis=1)
    return tuple(int(i) for i in np.flatnonzero(rows))


def _scales(grid: QuantParams, like: NDArray[np.int64]) -> NDArray[np.float64]:
    """The scale of each output channel, shaped to broadcast with the weights."""
    scale = np.atleast_1d(grid.scale).astype(np.float64)
    return scale.reshape(-1, *[1] * (like.ndim - 1))


def _real(values: NDArray[np.int64], grid: QuantParams) -> NDArray[np.float64]:
    return values * _scales(grid, values)


def _same_scales(a: QuantParams, b: QuantParams) -> bool:
    return np.size(a.scale) == np.size(b.scale) and np.allclose(a.scale, b.scale, rtol=1e-6)


def _grid_of(before: QuantParams, after: QuantParams) -> str:
    if (before.axis is None) == (after.axis is None):
        return "another grid"
    return "one scale for the layer" if after.axis is None else "a scale for each channel"
