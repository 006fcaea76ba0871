"""Operators that move, pick or repeat elements, at the corners of sizes and axes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from tests.support.models.corners.drawing import Draw, X, beside, sizes, started

if TYPE_CHECKING:
    from tests.exporters.tflite.test_random_graphs import Recipe

# ---- what only moves -----------------------------------------------------------------------------


@st.composite
def paddings(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 4))
    recipe, grid = draw(started(draw(sizes(rank, 6)), wide=True))
    mode = draw(st.sampled_from(["constant", "constant", "reflect", "edge", "wrap"]))
    axes = draw(st.lists(st.integers(1, rank), unique=True, min_size=1, max_size=rank))
    recipe.call(
        "ints",
        "pads",
        draw(st.lists(st.integers(-3, 4), min_size=2 * len(axes), max_size=2 * len(axes))),
    )
    recipe.call("ints", "axes", [axis - (rank + 1) * draw(st.integers(0, 1)) for axis in axes])
    recipe.call("number", "zero", draw(st.sampled_from([0.0, 0.0, 0.0, -1.0])))
    recipe.call("op", "Pad", [X, "pads", "zero", "axes"], "y", draw(beside(grid)), mode=mode)
    return recipe


@st.composite
def slices(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 4))
    shape = draw(sizes(rank, 6))
    recipe, grid = draw(started(shape))
    if draw(st.integers(0, 2)) == 0:
        axis = draw(st.integers(1, rank))
        first = draw(st.integers(0, shape[axis - 1]))
        recipe.call("ints", "parts", [first, shape[axis - 1] - first])
        recipe.call(
            "several",
            "Split",
            [X, "parts"],
            ["left", "right"],
            axis=axis - (rank + 1) * draw(st.integers(0, 1)),
        )
        recipe.call("op", "Concat", ["right", "left"], "y", draw(beside(grid)), axis=axis)
        return recipe
    axes = draw(st.lists(st.integers(1, rank), unique=True, min_size=1, max_size=rank))
    ends = st.integers(-8, 8) | st.sampled_from([2**62, -(2**62)])
    for name in ("starts", "ends"):
        recipe.call("ints", name, draw(st.lists(ends, min_size=len(axes), max_size=len(axes))))
    recipe.call("ints", "axes", [axis - (rank + 1) * draw(st.integers(0, 1)) for axis in axes])
    recipe.call(
        "ints",
        "steps",
        draw(
            st.lists(st.sampled_from([1, 1, 2, 3, -1, -2]), min_size=len(axes), max_size=len(axes))
        ),
    )
    recipe.call("op", "Slice", [X, "starts", "ends", "axes", "steps"], "y", draw(beside(grid)))
    return recipe


@st.composite
def concatenations(draw: Draw) -> Recipe:
    """Three parts, one of them negated on a grid of its own."""
    rank = draw(st.integers(1, 4))
    recipe, grid = draw(started(draw(sizes(rank, 4)), wide=True))
    recipe.call("op", "Neg", [X], "other", draw(beside(grid)))
    parts = draw(st.lists(st.sampled_from([X, "other_dequantized"]), min_size=1, max_size=4))
    recipe.call(
        "op",
        "Concat",
        parts,
        "y",
        draw(beside(grid)),
        axis=draw(st.integers(1, rank)) - (rank + 1) * draw(st.integers(0, 1)),
    )
    return recipe


@st.composite
def views(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 4))
    shape = draw(sizes(rank, 5))
    recipe, grid = draw(started(shape))
    op = draw(st.sampled_from(["Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose"]))
    inputs = [X]
    attributes: dict[str, Any] = {}
    match op:
        case "Reshape":
            total = int(np.prod(shape))
            first = draw(
                st.sampled_from([size for size in range(1, total + 1) if total % size == 0])
            )
            wanted = draw(
                st.sampled_from(
                    [
                        [-1, total],
                        [0, -1],
                        [0, first, -1],
                        [0, first, total // first],
                        [-1, first, 1, total // first],
                    ]
                )
            )
            recipe.call("ints", "shape", wanted)
            inputs.append("shape")
        case "Flatten":
            attributes["axis"] = draw(st.integers(-rank, rank + 1))
        case "Squeeze":
            ones = [axis for axis, size in enumerate(shape, 1) if size == 1]
            recipe.call(
                "ints", "axes", draw(st.lists(st.sampled_from(ones), unique=True)) if ones else []
            )
            inputs.append("axes")
        case "Unsqueeze":
            recipe.call(
                "ints",
                "axes",
                draw(
                    st.lists(
                        st.integers(-rank, rank + 1).filter(bool),
                        unique=True,
                        min_size=1,
                        max_size=2,
                    )
                ),
            )
            inputs.append("axes")
        case _:
            attributes["perm"] = [0, *draw(st.permutations(range(1, rank + 1)))]
    recipe.call("op", op, inputs, "y", draw(beside(grid)), **attributes)
    return recipe


@st.composite
def picks(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 4))
    shape = draw(sizes(rank, 5))
    recipe, grid = draw(started(shape))
    op = draw(
        st.sampled_from(["Gather", "GatherND", "Tile", "Expand", "DepthToSpace", "SpaceToDepth"])
    )
    inputs = [X]
    attributes: dict[str, Any] = {}
    match op:
        case "Gather":
            axis = draw(st.integers(1, rank))
            size = shape[axis - 1]
            picked = draw(st.lists(st.integers(-size, size - 1), min_size=1, max_size=6))
            form = draw(st.sampled_from([(len(picked),), (1, len(picked)), ()]))
            recipe.call("array", "indices", picked[:1] if form == () else picked, form)
            inputs.append("indices")
            attributes["axis"] = axis - (rank + 1) * draw(st.integers(0, 1))
        case "GatherND":
            recipe.call("array", "indices", [0, 0], (2, 1))
            inputs.append("indices")
        case "Tile":
            recipe.call("ints", "repeats", [1, *draw(sizes(rank, 3))])
            inputs.append("repeats")
        case "Expand":
            wanted = [
                draw(st.integers(1, 4)) if size == 1 else draw(st.sampled_from([1, size]))
                for size in shape
            ]
            recipe.call(
                "ints", "shape", draw(st.sampled_from([[1, *wanted], wanted, [3, 1, *wanted]]))
            )
            inputs.append("shape")
        case _:
            attributes["blocksize"] = draw(st.integers(1, 3))
            if op == "DepthToSpace" and draw(st.booleans()):
                attributes["mode"] = draw(st.sampled_from(["DCR", "CRD"]))
    recipe.call("op", op, inputs, "y", draw(beside(grid)), **attributes)
    return recipe


@st.composite
def blocks(draw: Draw) -> Recipe:
    block, op = draw(st.integers(1, 3)), draw(st.sampled_from(["DepthToSpace", "SpaceToDepth"]))
    channels, high, wide = draw(sizes(3, 3))
    shape = (
        [channels * block**2, high, wide]
        if op == "DepthToSpace"
        else [channels, high * block, wide * block]
    )
    recipe, grid = draw(started(shape))
    attributes = {"mode": draw(st.sampled_from(["DCR", "CRD"]))} if op == "DepthToSpace" else {}
    recipe.call("op", op, [X], "y", draw(beside(grid)), blocksize=block, **attributes)
    return recipe


@st.composite
def resizes(draw: Draw) -> Recipe:
    rank = draw(st.sampled_from([2, 1, 2, 2]))
    shape = draw(sizes(rank + 1, 5))
    recipe, grid = draw(started(shape))
    recipe.calls[0] = ("input", ("x", [1, *shape], grid), {})
    attributes: dict[str, Any] = {
        "mode": draw(st.sampled_from(["nearest", "nearest", "linear", "linear", "cubic"])),
        "coordinate_transformation_mode": draw(
            st.sampled_from(
                [
                    "half_pixel",
                    "asymmetric",
                    "align_corners",
                    "pytorch_half_pixel",
                    "half_pixel_symmetric",
                ]
            )
        ),
    }
    if attributes["mode"] == "nearest":
        attributes["nearest_mode"] = draw(
            st.sampled_from(["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
        )
    if draw(st.booleans()):
        factors = [draw(st.sampled_from([1.0, 2.0, 4.0, 0.5, 1.5, 3.0])) for _ in range(rank)]
        recipe.call("scales_of", "scales", [1.0, 1.0, *factors])
        inputs = [X, "", "scales"]
    else:
        recipe.call("ints", "sizes", [1, shape[0], *draw(sizes(rank, 11))])
        inputs = [X, "", "", "sizes"]
    recipe.call("op", "Resize", inputs, "y", draw(st.just(grid) | beside(grid)), **attributes)
    return recipe


@st.composite
def scatters(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 3))
    shape = draw(sizes(rank, 5))
    recipe, grid = draw(started(shape))
    recipe.calls[0] = ("input", ("x", [1, *shape], grid), {})
    axis, rows = draw(st.integers(1, rank)), draw(st.integers(1, 5))
    recipe.call(
        "zeros", "zeros", [1, *(rows if i == axis else size for i, size in enumerate(shape, 1))]
    )
    at = draw(
        st.lists(st.integers(-rows, rows - 1), min_size=shape[axis - 1], max_size=shape[axis - 1])
    )
    recipe.call("rows", "indices", at, [1, *shape], axis)
    output = draw(beside(grid))
    recipe.call(
        "op",
        "ScatterElements",
        ["zeros", "indices", X],
        "y",
        output,
        axis=axis - (rank + 1) * draw(st.integers(0, 1)),
        reduction="add",
    )
    return recipe


@st.composite
def choices(draw: Draw) -> Recipe:
    """An ArgMax as the output."""
    rank = draw(st.integers(1, 4))
    recipe, grid = draw(started(draw(sizes(rank, 5))))
    axis = draw(st.integers(1, rank)) - (rank + 1) * draw(st.integers(0, 1))
    recipe.call("op", "Neg", [X], "k", draw(beside(grid)))
    attributes = {"select_last_index": 1} if draw(st.integers(0, 5)) == 0 else {}
    recipe.call(
        "node",
        "ArgMax",
        ["k_dequantized"],
        "y",
        axis=axis,
        keepdims=draw(st.integers(0, 1)),
        **attributes,
    )
    if draw(st.booleans()):
        recipe.call("node", "Cast", ["y"], "small", to=6)
    return recipe
