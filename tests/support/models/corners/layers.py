"""Layers and reductions at the corners of their windows, grids and numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from tests.support.models.corners.drawing import Draw, X, beside, layer, sizes, started, windows

if TYPE_CHECKING:
    from tests.exporters.tflite.test_random_graphs import Recipe


@st.composite
def convolutions(draw: Draw) -> Recipe:
    rank, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 2, 3]))
    depth, per_group = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    recipe, grid = draw(started([groups * depth, *draw(sizes(rank, 7))], wide=True))
    kernel = draw(sizes(rank, 4))
    recipe.call(
        "weighted",
        "Conv",
        X,
        "y",
        (groups * per_group, depth, *kernel),
        draw(beside(grid)),
        group=groups,
        kernel_shape=kernel,
        **layer(draw),
        **windows(draw, rank),
    )
    return recipe


@st.composite
def transposed(draw: Draw) -> Recipe:
    rank, groups = draw(st.integers(1, 2)), draw(st.sampled_from([1, 1, 1, 2]))
    channels = groups * draw(st.integers(1, 3))
    recipe, grid = draw(started([channels, *draw(sizes(rank, 5))]))
    kernel, attributes = draw(sizes(rank, 4)), windows(draw, rank)
    if draw(st.booleans()):
        attributes["output_padding"] = [
            draw(st.integers(0, max(stride - 1, 0))) for stride in attributes["strides"]
        ]
    options = layer(draw)
    if groups > 1:
        options |= {"per_channel": False, "bias": False}
    shape = (channels, draw(st.integers(1, 3)), *kernel)
    recipe.call(
        "weighted",
        "ConvTranspose",
        X,
        "y",
        shape,
        draw(beside(grid)),
        channel_axis=1,
        group=groups,
        kernel_shape=kernel,
        **options,
        **attributes,
    )
    return recipe


@st.composite
def pools(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 2))
    recipe, grid = draw(started([draw(st.integers(1, 3)), *draw(sizes(rank, 7))], wide=True))
    op = draw(st.sampled_from(["MaxPool", "AveragePool"]))
    attributes = windows(draw, rank, dilated=draw(st.integers(0, 4)) == 0)
    attributes |= {"kernel_shape": draw(sizes(rank, 4)), "ceil_mode": draw(st.integers(0, 1))}
    if op == "AveragePool":
        attributes["count_include_pad"] = draw(st.integers(0, 1))
    recipe.call("op", op, [X], "y", draw(beside(grid)), relu=draw(st.booleans()), **attributes)
    return recipe


@st.composite
def reductions(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 4))
    recipe, grid = draw(started(draw(sizes(rank, 7))))
    op = draw(
        st.sampled_from(
            ["ReduceMean", "ReduceMax", "ReduceSum", "GlobalAveragePool", "GlobalMaxPool"]
        )
    )
    output = draw(beside(grid))
    if op.startswith("Global"):
        recipe.call("op", op, [X], "y", output)
        return recipe
    axes = draw(st.lists(st.integers(1, rank), unique=True, max_size=rank))
    recipe.call("ints", "axes", [axis - (rank + 1) * draw(st.integers(0, 1)) for axis in axes])
    attributes = {"noop_with_empty_axes": 1} if draw(st.integers(0, 5)) == 0 else {}
    recipe.call("op", op, [X, "axes"], "y", output, keepdims=draw(st.integers(0, 1)), **attributes)
    return recipe


# ---- products and sums ---------------------------------------------------------------------------


@st.composite
def dense(draw: Draw) -> Recipe:
    size, out, by_rows = draw(st.integers(1, 9)), draw(st.integers(1, 5)), draw(st.integers(0, 1))
    recipe, grid = draw(started([size], wide=True))
    attributes: dict[str, Any] = {"transB": by_rows}
    if draw(st.integers(0, 5)) == 0:
        attributes |= {
            "alpha": draw(st.sampled_from([1.0, 0.5])),
            "beta": draw(st.sampled_from([1.0, 2.0])),
        }
    shape = (out, size) if by_rows else (size, out)
    recipe.call(
        "weighted",
        "Gemm",
        X,
        "y",
        shape,
        draw(beside(grid)),
        channel_axis=1 - by_rows,
        **layer(draw),
        **attributes,
    )
    return recipe


@st.composite
def products(draw: Draw) -> Recipe:
    """A MatMul with a constant on either side, or of a tensor with itself, turned."""
    rank = draw(st.integers(1, 4))
    shape = draw(sizes(rank, 5))
    recipe, grid = draw(started(shape, wide=True))
    output = draw(beside(grid, reach=8))
    kind = draw(st.sampled_from(["right", "left", "batched", "vector", "itself"]))
    constant: tuple[int, ...]
    match kind:
        case "itself":
            perm = [*range(rank - 1), rank, rank - 1]
            recipe.call("node", "Transpose", [X], "turned", perm=perm)
            recipe.call("op", "MatMul", [X, "turned"], "y", output)
            return recipe
        case "right":
            constant = (shape[-1], draw(st.integers(1, 4)))
        case "left":
            constant = (draw(st.integers(1, 4)), shape[-2] if rank > 1 else 1)
        case "vector":
            constant = (shape[-1],)
        case _:
            constant = (
                *(draw(st.sampled_from([1, size])) for size in shape[:-2]),
                shape[-1],
                draw(st.integers(1, 4)),
            )
    recipe.call("small", "c", constant, draw(st.floats(1e-3, 0.05)))
    recipe.call("op", "MatMul", ["c", X] if kind == "left" else [X, "c"], "y", output)
    return recipe
