"""Where the axes of an ONNX tensor stand in a TFLite one.

A layout lists, for each TFLite dimension, the ONNX axis that stands there. Images are stored as
TFLite wants them; a Transpose in the ONNX graph moves no data, it only renames axes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Sequence

Layout: TypeAlias = tuple[int, ...]

NHWC: Layout = (0, 2, 3, 1)


def onnx_order(rank: int) -> Layout:
    """The layout that leaves all axes where they are."""
    return tuple(range(rank))


def natural(rank: int) -> Layout:
    """The layout of a graph's inputs and outputs: images NHWC, anything else as in ONNX."""
    return NHWC if rank == 4 else onnx_order(rank)


def stored_shape(shape: Sequence[int], layout: Layout) -> tuple[int, ...]:
    """The dimensions of a tensor in a layout."""
    return tuple(shape[axis] for axis in layout)


def same_order(shape: Sequence[int], one: Layout, other: Layout) -> bool:
    """Whether a tensor's elements are in the same order in two layouts.

    Axes of one element do not count.

    The first axis always counts: it may be a batch that is 1 only until the file is run.
    """

    def moved(layout: Layout) -> list[int]:
        return [axis for axis in layout if axis == 0 or shape[axis] != 1]

    return moved(one) == moved(other)


def renamed(layout: Layout, perm: Sequence[int]) -> Layout:
    """The layout in which a stored tensor already is its ONNX transpose by ``perm``."""
    return tuple(tuple(perm).index(axis) for axis in layout)
