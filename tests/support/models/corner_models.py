"""Graphs of one operator at the corners of its sizes, modes, grids and numbers, drawn for a search."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import strategies as st
from tests.exporters.tflite.test_random_graphs import Recipe
from tests.support.models.qdq_models import Grid

from edgeq.numerics.pointwise import UNARY

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Draw = st.DrawFn
X = "x_dequantized"
_LEAST = {"uint8": 0, "int8": -128, "int16": -(2**15), "uint16": 0}


# ---- grids ---------------------------------------------------------------------------------------


@st.composite
def grids(draw: Draw, kinds: Sequence[str] = ("uint8", "int8")) -> Grid:
    """Grids of any step, their zero points at the ends as often as inside, some of them narrower than their storage dtype."""
    dtype = draw(st.sampled_from(kinds))
    scale = draw(st.sampled_from([0.02, 1.0, 1 / 255, 2.0**-7]) | st.floats(1e-3, 4.0))
    if dtype.endswith("16"):
        return Grid(scale / 256, 0 if dtype == "int16" else 2**15, dtype)
    least = _LEAST[dtype]
    zero = draw(st.sampled_from([0, 1, 127, 128, 255]) | st.integers(0, 255)) + least
    clip = draw(
        st.sampled_from([None, None, None, (least, least + 15), (least + 120, least + 135)])
    )
    return Grid(scale, zero, dtype, clip)


@st.composite
def beside(draw: Draw, grid: Grid, *, reach: float = 6.0) -> Grid:
    """The same grid, or one whose step is up to ``2 ** reach`` times as large or as small."""
    if draw(st.booleans()):
        return grid
    other = draw(grids((grid.dtype,)))
    return replace(other, scale=grid.scale * 2.0 ** draw(st.floats(-reach, reach)))


@st.composite
def started(draw: Draw, shape: Sequence[int], *, wide: bool = False) -> tuple[Recipe, Grid]:
    """A recipe with its input, the batch of one image open or stated."""
    recipe = Recipe(draw(st.integers(0, 2**16)))
    grid = draw(grids(("uint8", "int8", "int16") if wide else ("uint8", "int8")))
    recipe.call("input", "x", [draw(st.sampled_from(["N", 1])), *shape], grid)
    return recipe, grid


def sizes(rank: int, most: int = 6) -> st.SearchStrategy[list[int]]:
    """Dimensions, ones among them."""
    return st.lists(st.integers(1, most), min_size=rank, max_size=rank)


# ---- windows -------------------------------------------------------------------------------------


def windows(draw: Draw, rank: int, *, dilated: bool = True) -> dict[str, Any]:
    found: dict[str, Any] = {"strides": draw(sizes(rank, 4))}
    if dilated and draw(st.booleans()):
        found["dilations"] = draw(sizes(rank, 3))
    match draw(st.sampled_from(["pads", "pads", "none", "SAME_UPPER", "SAME_LOWER", "VALID"])):
        case "pads":
            found["pads"] = draw(st.lists(st.integers(0, 3), min_size=2 * rank, max_size=2 * rank))
        case "none":
            pass
        case mode:
            found["auto_pad"] = mode
    return found


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


def layer(draw: Draw) -> dict[str, Any]:
    """How the weights of a layer are stored."""
    return {
        "per_channel": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "relu": draw(st.booleans()),
        "levels": draw(st.sampled_from([1, 7, 127])),
    }


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


@st.composite
def pairs(draw: Draw) -> Recipe:
    """Two activations, the second on a grid of its own and perhaps smaller, or one and a constant."""
    rank = draw(st.integers(1, 4))
    shape = draw(sizes(rank, 4))
    recipe, grid = draw(started(shape, wide=True))
    op = draw(st.sampled_from(["Add", "Sub", "Mul", "PRelu", "Div", "Max", "Min", "Pow"]))
    kind = draw(st.sampled_from(["activation", "constant", "number", "floats"]))
    if op in ("Div", "Max", "Min", "Pow"):
        kind = draw(st.sampled_from(["number", "activation"]))
    elif op == "PRelu":
        kind = draw(st.sampled_from(["constant", "floats"]))
    cut = [draw(st.sampled_from([1, size])) for size in shape][draw(st.integers(0, rank)) :]
    match kind:
        case "activation":
            recipe.call("node", "Identity", [X], "other")
            second = recipe_quantized(recipe, "other", draw(beside(grid)))
            if draw(st.booleans()):
                for name, value in (
                    ("first", 0),
                    ("second", 1),
                    ("axis", draw(st.integers(1, rank))),
                ):
                    recipe.call("ints", name, [value])
                recipe.call("node", "Slice", [second, "first", "second", "axis"], "narrow")
                second = "narrow"
        case "constant":
            recipe.call("small", "c", tuple(cut), draw(st.floats(1e-3, 0.1)))
            second = "c"
        case "number":
            recipe.call(
                "number", "c", draw(st.sampled_from([0.0, 1.0, -1.0, 6.0, 2.0]) | st.floats(-4, 4))
            )
            second = "c"
        case _:
            recipe.call(
                "scales_of",
                "c",
                draw(st.lists(st.floats(-2, 2), min_size=shape[-1], max_size=shape[-1])),
            )
            second = "c"
    operands = [second, X] if op != "PRelu" and draw(st.booleans()) else [X, second]
    recipe.call("op", op, operands, "y", draw(beside(grid)), relu=draw(st.booleans()))
    return recipe


def recipe_quantized(recipe: Recipe, name: str, grid: Grid) -> str:
    recipe.call("quantize", name, grid)
    return f"{name}_dequantized"


# ---- functions -----------------------------------------------------------------------------------

_PARAMETERS = {
    "Celu": ("alpha",),
    "Elu": ("alpha",),
    "HardSigmoid": ("alpha", "beta"),
    "LeakyRelu": ("alpha",),
    "Selu": ("alpha", "gamma"),
    "ThresholdedRelu": ("alpha",),
}
_NEWER = ("Swish",)  # than the operator set that these graphs are written in


@st.composite
def functions(draw: Draw) -> Recipe:
    recipe, grid = draw(started(draw(sizes(draw(st.integers(1, 3)), 5)), wide=True))
    op = draw(st.sampled_from([name for name in UNARY if name not in _NEWER]))
    attributes: dict[str, Any] = {
        name: draw(st.floats(0.1, 3)) for name in _PARAMETERS.get(op, ()) if draw(st.booleans())
    }
    if op == "Gelu":
        attributes["approximate"] = draw(st.sampled_from(["none", "tanh"]))
    output = draw(beside(grid) | grids((grid.dtype,)))
    recipe.call("op", op, [X], "y", output, **attributes)
    return recipe


@st.composite
def bounds(draw: Draw) -> Recipe:
    """Relu, Clip, a change of grid, and what changes nothing."""
    recipe, grid = draw(started(draw(sizes(draw(st.integers(1, 3)), 5)), wide=True))
    op = draw(st.sampled_from(["Relu", "Clip", "Identity", "Dropout"]))
    inputs = [X]
    if op == "Clip":
        for name in ("least", "most"):
            recipe.call("number", name, draw(st.sampled_from([0.0, 6.0, -1.0]) | st.floats(-3, 3)))
        inputs = [X, *draw(st.sampled_from([["least", "most"], ["least"], ["", "most"], []]))]
    recipe.call("op", op, inputs, "y", draw(beside(grid, reach=10)))
    return recipe


@st.composite
def normalizations(draw: Draw) -> Recipe:
    rank = draw(st.integers(1, 4))
    shape = draw(sizes(rank, 5))
    recipe, grid = draw(started(shape))
    op = draw(st.sampled_from(["Softmax", "LogSoftmax", "BatchNormalization"]))
    if op == "BatchNormalization":
        recipe.call("normalized", X, "y", shape[0], draw(beside(grid)))
        return recipe
    axis = draw(st.integers(-rank, rank).filter(bool))
    if op == "Softmax":
        zero = draw(st.integers(0, 20))
        output = Grid(
            draw(
                st.sampled_from([1 / 256, 1 / 255, 2.0**-10, 2.0**-13]) | st.floats(2.0**-13, 0.05)
            ),
            zero,
        )
    else:
        output = Grid(
            draw(st.sampled_from([1 / 16, 0.1]) | st.floats(1 / 16, 0.5)),
            draw(st.integers(100, 255)),
        )
    if grid.dtype == "int8":
        output = replace(output, zero=output.zero - 128, dtype="int8")
    recipe.call("op", op, [X], "y", output, axis=axis)
    return recipe


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


FAMILIES: dict[str, Callable[[], st.SearchStrategy[Recipe]]] = {
    "blocks": blocks,
    "bounds": bounds,
    "choices": choices,
    "concatenations": concatenations,
    "convolutions": convolutions,
    "dense": dense,
    "functions": functions,
    "normalizations": normalizations,
    "paddings": paddings,
    "pairs": pairs,
    "picks": picks,
    "pools": pools,
    "products": products,
    "reductions": reductions,
    "resizes": resizes,
    "scatters": scatters,
    "slices": slices,
    "transposed": transposed,
    "views": views,
}
"""Recipes by what they are about."""
