"""Operators that compute each element, at the corners of their grids."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from tests.support.models.corners.drawing import (
    Draw,
    X,
    beside,
    grids,
    recipe_quantized,
    sizes,
    started,
)
from tests.support.models.qdq_models import Grid

from edgeq.numerics.pointwise import UNARY

if TYPE_CHECKING:
    from tests.exporters.tflite.test_random_graphs import Recipe


@st.composite
def pairs(draw: Draw) -> Recipe:
    """Two activations, the second on its own grid and perhaps smaller, or a constant."""
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
