"""Constants that a graph moves before it uses them.

The same integers on the same grid, in other places.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from edgeq.numerics.attributes import integer, integers
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.op_traits import traits_of
from edgeq.qdq.picks import PICK, picks_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.numerics.attributes import AttributeValue
    from edgeq.quant import QuantParams

    Attributes: TypeAlias = Mapping[str, AttributeValue]


def moved_constant(
    op_type: str, constant: QdqConstant, attributes: Attributes, shape: Sequence[int]
) -> QdqConstant | None:
    """A constant behind an operator that only moves data.

    None where the operator does more than that, or where scales would not follow.

    Args:
        op_type: the operator, of the view.
        constant: what it reads.
        attributes: its attributes, as those of the view.
        shape: the dimensions of its result.
    """
    places: NDArray[np.int64] = np.arange(constant.values.size).reshape(constant.values.shape)
    moved = _moved(op_type, places, attributes, shape)
    if moved is None or moved.shape != tuple(shape):
        return None
    params = constant.params
    if params is not None and params.axis is not None:
        channels = np.unravel_index(moved, places.shape)[params.axis % places.ndim]
        params = _followed(params, channels)
        if params is None:
            return None
    return QdqConstant(constant.name, constant.values.reshape(-1)[moved], params)


def _moved(
    op_type: str, places: NDArray[np.int64], attributes: Attributes, shape: Sequence[int]
) -> NDArray[np.int64] | None:
    """Which number of the input stands at each place of the result."""
    if traits_of(op_type).reshapes:
        return places.reshape(shape) if math.prod(shape) == places.size else None
    if op_type == "Transpose":
        return places.transpose(integers(attributes, "perm"))
    if op_type == "Slice":
        parts = [slice(None)] * places.ndim
        for axis, start, end, step in zip(
            *(integers(attributes, name) for name in ("axes", "starts", "ends", "steps")),
            strict=True,
        ):
            parts[axis] = slice(start, None if end < 0 else end, step)
        return places[tuple(parts)]
    if op_type == "Gather":
        indices = np.array(integers(attributes, "indices"), np.int64)
        shaped = indices.reshape(integers(attributes, "indices_shape"))
        return places.take(shaped, integer(attributes, "axis"))
    if op_type == PICK:
        places = places.reshape((1,) * (len(shape) - places.ndim) + places.shape)
        for axis, picks in picks_of(attributes).items():
            places = places.take(picks, axis)
        return places
    return None


def _followed(params: QuantParams, channels: NDArray[np.int64]) -> QuantParams | None:
    """The grid with its scales along the axis where each number keeps its own; None without one.

    Args:
        params: the grid before.
        channels: of each number of the result, the channel that it had.
    """
    for axis, size in enumerate(channels.shape):
        lines = np.moveaxis(channels, axis, 0).reshape(size, -1)
        if size > 1 and (lines == lines[:, :1]).all():
            return replace(
                params,
                scale=params.scale[lines[:, 0]],
                zero_point=params.zero_point[lines[:, 0]],
                axis=axis,
            )
    return None
