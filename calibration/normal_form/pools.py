"""Pooling and means in the forms that integer kernels have.

Explicit padding, windows that fit, one mean over all of an image.

Padding that no kernel knows is picked or multiplied: a maximum does not change when pixels of the
border stand in the padding, and a mean that leaves padding out is the one that counts it, times a
constant for each place. All of it is exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    argument,
    constant,
    help_only,
    integer,
    ints,
    name_of,
    not_negative,
    output,
    shape_of,
    sole_reader,
    text,
)
from edgeq.calibration.normal_form.layers import add_convolution, explicit_pads, write
from edgeq.calibration.normal_form.moves import pick

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_LARGE = 9  # values of a window, from which on its mean is a convolution
_LEAST = -1e30  # padding with less than this is none, to a maximum


def plain_pools(draft: Draft) -> None:
    """Rewrite in place whatever can be; what cannot stays, to be refused by its name."""
    for node in tuple(draft.graph):
        rewrite = _REWRITES.get(node.op_type) if node.domain == "" else None
        if rewrite is not None and node.graph is draft.graph:
            rewrite(draft, node)


@dataclass(slots=True)
class _Windows:
    """The windows of a pooling along the axes of an image.

    Attributes:
        sizes: of the image.
        kernel: how many places a window takes.
        strides: from one window to the next.
        dilations: from one place of a window to the next.
        first: padding before.
        last: padding behind.
        beyond: how far the last window reaches over that, where the number of windows is rounded
            up.
    """

    sizes: list[int]
    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    first: list[int]
    last: list[int]
    beyond: list[int]

    def counts(self) -> list[int]:
        """How many windows there are along each axis."""
        return [len(self.places(axis)) for axis in range(len(self.sizes))]

    def places(self, axis: int) -> NDArray[np.int64]:
        """The place in the image of each place of each window, (windows, places).

        Those in the padding are outside.
        """
        padded = self.sizes[axis] + self.first[axis] + self.last[axis] + self.beyond[axis]
        reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
        windows = (padded - reach) // self.strides[axis] + 1
        starts = np.arange(windows) * self.strides[axis] - self.first[axis]
        found: NDArray[np.int64] = (
            starts[:, None] + np.arange(self.kernel[axis]) * self.dilations[axis]
        )
        return found


def _windows(node: ir.Node) -> _Windows | None:
    shape, kernel = shape_of(argument(node, 0)), ints(node, "kernel_shape", [])
    if shape is None or len(shape) != len(kernel) + 2 or any(size is None for size in shape[2:]):
        return None
    ones, sizes = [1] * len(kernel), [size or 0 for size in shape[2:]]
    strides, dilations = ints(node, "strides", ones), ints(node, "dilations", ones)
    pads = explicit_pads(node, kernel, strides, dilations)
    first, last = pads[: len(kernel)], pads[len(kernel) :]
    beyond = [0] * len(kernel)
    if integer(node, "ceil_mode", 0):
        for axis, size in enumerate(sizes):
            padded, reach = (
                size + first[axis] + last[axis],
                (kernel[axis] - 1) * dilations[axis] + 1,
            )
            count = -(-(padded - reach) // strides[axis]) + 1
            # no window begins behind the image
            count -= (count - 1) * strides[axis] >= size + first[axis]
            beyond[axis] = max((count - 1) * strides[axis] + reach - padded, 0)
    return _Windows(sizes, kernel, strides, dilations, first, last, beyond)


def _result_shape(node: ir.Node, windows: _Windows) -> list[int | None]:
    return [*(shape_of(output(node)) or (None, None))[:2], *windows.counts()]


def _explicit(node: ir.Node, windows: _Windows) -> None:
    """Write all padding as numbers, and the size that it leads to."""
    before = output(node).shape
    if before is not None:
        output(node).shape = ir.Shape([*before[:2], *windows.counts()])
    node.attributes.pop("auto_pad", None)
    node.attributes.pop("ceil_mode", None)
    behind = [last + beyond for last, beyond in zip(windows.last, windows.beyond, strict=True)]
    write(node, {"strides": windows.strides, "pads": [*windows.first, *behind]})


def _max_pool(draft: Draft, node: ir.Node) -> None:
    windows = _windows(node)
    if windows is None or len(node.outputs) > 1:
        return
    _take_infinite_padding(draft, node, windows)
    _explicit(node, windows)
    source = node.inputs[0]
    padded = any(windows.first) or any(windows.last) or any(windows.beyond)
    dilated = set(windows.dilations) != {1}
    if source is None or not (
        dilated or (padded and not not_negative(source) and not _is_same(windows))
    ):
        return
    if dilated:
        picks = {
            axis + 2: _inside(windows.places(axis), size).reshape(-1)
            for axis, size in enumerate(windows.sizes)
        }
    else:
        picks = {
            axis + 2: np.clip(_padded_places(windows, axis), 0, size - 1)
            for axis, size in enumerate(windows.sizes)
        }
    attributes = {
        "kernel_shape": windows.kernel,
        "strides": windows.kernel if dilated else windows.strides,
    }
    shape = _result_shape(node, windows)
    draft.finish(
        node,
        draft.add(
            "MaxPool",
            [pick(draft, node, source, picks)],
            node,
            "pooled",
            shape=shape,
            attributes=attributes,
        ),
    )


def _take_infinite_padding(draft: Draft, node: ir.Node, windows: _Windows) -> None:
    """Fold padding with minus infinity into the maximum behind it."""
    pad = node.inputs[0].producer() if node.inputs[0] is not None else None
    if (
        pad is None
        or pad.op_type != "Pad"
        or sole_reader(output(pad)) is not node
        or argument(pad, 3) is not None
    ):
        return
    amounts, fill = constant(argument(pad, 1)), constant(argument(pad, 2))
    if (
        amounts is None
        or fill is None
        or float(fill.reshape(-1)[0]) > _LEAST
        or text(pad, "mode", "constant") != "constant"
    ):
        return
    begin, end = (part.astype(int).tolist() for part in np.split(amounts, 2))
    if any(begin[:2]) or any(end[:2]) or amounts.min() < 0:
        return
    windows.sizes = [
        size - a - b for size, a, b in zip(windows.sizes, begin[2:], end[2:], strict=True)
    ]
    windows.first = [own + more for own, more in zip(windows.first, begin[2:], strict=True)]
    windows.last = [own + more for own, more in zip(windows.last, end[2:], strict=True)]
    node.replace_input_with(0, pad.inputs[0])
    draft.graph.remove(pad, safe=True)


def _inside(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """The indices of each window; one outside the image becomes another of the same window."""
    valid = (places >= 0) & (places < size)
    own = places[np.arange(len(places)), valid.argmax(axis=1)]
    return np.where(valid, places, np.clip(own, 0, size - 1)[:, None])


def _padded_places(windows: _Windows, axis: int) -> NDArray[np.int64]:
    return np.arange(
        -windows.first[axis], windows.sizes[axis] + windows.last[axis] + windows.beyond[axis]
    )


def _is_same(windows: _Windows) -> bool:
    """Whether the padding is that of SAME_UPPER, which kernels know by name."""
    for axis, size in enumerate(windows.sizes):
        reach = (windows.kernel[axis] - 1) * windows.dilations[axis] + 1
        total = max(
            (-(-size // windows.strides[axis]) - 1) * windows.strides[axis] + reach - size, 0
        )
        if (windows.first[axis], windows.last[axis] + windows.beyond[axis]) != (
            total // 2,
            total - total // 2,
        ):
            return False
    return True


def _average_pool(draft: Draft, node: ir.Node) -> None:
    windows = _windows(node)
    source = node.inputs[0]
    if windows is None or source is None:
        return
    padded = any(windows.first) or any(windows.last)
    counted = bool(integer(node, "count_include_pad", 0))
    if (
        not padded
        and not any(windows.beyond)
        and windows.kernel == windows.sizes
        and set(windows.dilations) == {1}
    ):
        draft.finish(node, draft.add("GlobalAveragePool", [source], node, "mean"))
        return
    shares = [_counted(windows, axis, counted=counted) for axis in range(len(windows.sizes))]
    whole = all(
        (share == kernel).all() for share, kernel in zip(shares, windows.kernel, strict=True)
    )
    same = not counted and _is_same(windows) and set(windows.dilations) == {1}
    if set(windows.dilations) != {1} or not (whole or same):
        _times_shares(draft, node, source, windows, shares)
        return
    _explicit(node, windows)
    if whole and (padded or any(windows.beyond)):
        write(node, {"count_include_pad": 1})


def _counted(windows: _Windows, axis: int, *, counted: bool) -> NDArray[np.int64]:
    """How many places of each window a mean divides by.

    Those in the image, and in its padding where that counts.
    """
    places, size = windows.places(axis), windows.sizes[axis]
    low, high = (-windows.first[axis], size + windows.last[axis]) if counted else (0, size)
    found: NDArray[np.int64] = ((places >= low) & (places < high)).sum(axis=1)
    return found


def _times_shares(
    draft: Draft,
    node: ir.Node,
    source: ir.Value,
    windows: _Windows,
    shares: list[NDArray[np.int64]],
) -> None:
    """The mean over whole windows, zeros in them, and how much of each window counts."""
    rank = len(windows.sizes)
    ends = np.zeros((2, rank + 2), np.int64)
    ends[0, 2:], ends[1, 2:] = windows.first, np.add(windows.last, windows.beyond)
    if ends.any():
        shape = [
            size if axis < 2 or size is None else size + int(ends[:, axis].sum())
            for axis, size in enumerate(shape_of(source) or ())
        ]
        source = draft.add(
            "Pad",
            [source, draft.numbers(node, "pads", ends.reshape(-1))],
            node,
            "padded",
            shape=shape,
        )
    strides = windows.strides
    if set(windows.dilations) != {1}:
        moved = [windows.places(axis) + windows.first[axis] for axis in range(rank)]
        source = pick(
            draft, node, source, {axis + 2: places.reshape(-1) for axis, places in enumerate(moved)}
        )
        strides = windows.kernel
    after, attributes = (
        _result_shape(node, windows),
        {"kernel_shape": windows.kernel, "strides": strides},
    )
    pooled = draft.add("AveragePool", [source], node, "counted", shape=after, attributes=attributes)
    factor = np.ones((1, 1, *(1,) * rank))
    for axis, share in enumerate(shares):
        factor = factor * (windows.kernel[axis] / share).reshape(
            [-1 if i == axis + 2 else 1 for i in range(rank + 2)]
        )
    if (factor != 1).any():
        pooled = draft.add(
            "Mul", [pooled, draft.reals(node, "share", factor)], node, "mean", shape=after
        )
    draft.finish(node, pooled)


def _reduce_mean(draft: Draft, node: ir.Node) -> None:
    """Means of means are one; over height and width of an image they are a GlobalAveragePool."""
    source, shape, axes = argument(node, 0), shape_of(argument(node, 0)), _axes(node)
    if source is None or shape is None or axes is None:
        return
    inner = source.producer()
    if (
        inner is not None
        and inner.op_type == "ReduceMean"
        and integer(inner, "keepdims", 1)
        and sole_reader(source) is node
    ):
        more, before = _axes(inner), inner.inputs[0]
        if more is not None and before is not None and not set(more) & set(axes):
            draft.set_constant(
                node, 1, f"{name_of(output(node))}_axes", np.array(sorted({*axes, *more}), np.int64)
            )
            node.replace_input_with(0, before)
            draft.graph.remove(inner, safe=True)
            _reduce_mean(draft, node)
            return
    if len(shape) < 3 or axes != list(range(2, len(shape))):
        return
    pooled = draft.add(
        "GlobalAveragePool", [source], node, "pooled", shape=[*shape[:2], *[1] * len(axes)]
    )
    if not integer(node, "keepdims", 1):
        pooled = draft.add("Flatten", [pooled], node, "flat", attributes={"axis": 1})
    draft.finish(node, pooled)


def _axes(node: ir.Node) -> list[int] | None:
    """What a reduction runs over, sorted; None where the graph computes it."""
    shape, given = shape_of(argument(node, 0)), argument(node, 1)
    axes = constant(given)
    if shape is None or (given is not None and axes is None):
        return None
    if axes is None or not axes.size:
        return [] if integer(node, "noop_with_empty_axes", 0) else list(range(len(shape)))
    return sorted({int(axis) % len(shape) for axis in axes.reshape(-1)})


def _reduce_min(draft: Draft, node: ir.Node) -> None:
    """``min(x) = -max(-x)``."""
    source = node.inputs[0]
    if source is None:
        return
    negative = draft.add("Neg", [source], node, "negative", shape=shape_of(source))
    greatest = draft.add(
        "ReduceMax",
        [negative, *node.inputs[1:]],
        node,
        "greatest",
        attributes={"keepdims": integer(node, "keepdims", 1)},
    )
    draft.finish(node, draft.add("Neg", [greatest], node, "least"))


def averages_as_layers(draft: Draft) -> None:
    """Rewrite large means as convolutions of equal weights, in place, so that they have own grids.

    The more values a mean has, the smaller it is beside their maximum, and AVERAGE_POOL_2D knows no
    other grid than the one it reads. A convolution with the weight 1/n for each of n values
    computes the same, and rescales. Means over few values gain little by it (2 x 2 behind a ReLU:
    0.7 dB), and stay.
    """
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "AveragePool":
            _as_layer(draft, node)


def _as_layer(draft: Draft, node: ir.Node) -> None:
    source, shape = argument(node, 0), shape_of(argument(node, 0))
    kernel = ints(node, "kernel_shape", [])
    pads = ints(node, "pads", [0] * (2 * len(kernel)))
    counted = not any(pads) or integer(node, "count_include_pad", 0)
    if (
        source is None
        or shape is None
        or shape[1] is None
        or np.prod(kernel) < _LARGE
        or not counted
    ):
        return
    weight = np.full((shape[1], 1, *kernel), 1 / np.prod(kernel))
    strides = ints(node, "strides", [1] * len(kernel))
    conv = add_convolution(
        draft, node, source, weight, None, "mean", strides=strides, pads=pads, group=shape[1]
    )
    help_only(conv)
    draft.finish(node, output(conv))


_REWRITES: Mapping[str, Callable[[Draft, ir.Node], None]] = {
    "AveragePool": _average_pool,
    "MaxPool": _max_pool,
    "ReduceMean": _reduce_mean,
    "ReduceMin": _reduce_min,
}
