"""What every drawn graph begins with: its grids, sizes and windows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from hypothesis import strategies as st
from tests.exporters.tflite.test_random_graphs import Recipe
from tests.support.models.qdq_models import Grid

if TYPE_CHECKING:
    from collections.abc import Sequence


Draw = st.DrawFn
X = "x_dequantized"
MIN_INTEGER = {"uint8": 0, "int8": -128, "int16": -(2**15), "uint16": 0}


# ---- grids ---------------------------------------------------------------------------------------


@st.composite
def grids(draw: Draw, kinds: Sequence[str] = ("uint8", "int8")) -> Grid:
    """Grids of any step, zero points at the ends as often as inside, some with a sub-range."""
    dtype = draw(st.sampled_from(kinds))
    scale = draw(st.sampled_from([0.02, 1.0, 1 / 255, 2.0**-7]) | st.floats(1e-3, 4.0))
    if dtype.endswith("16"):
        return Grid(scale / 256, 0 if dtype == "int16" else 2**15, dtype)
    least = MIN_INTEGER[dtype]
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


def layer(draw: Draw) -> dict[str, Any]:
    """How the weights of a layer are stored."""
    return {
        "per_channel": draw(st.booleans()),
        "bias": draw(st.booleans()),
        "relu": draw(st.booleans()),
        "levels": draw(st.sampled_from([1, 7, 127])),
    }


def recipe_quantized(recipe: Recipe, name: str, grid: Grid) -> str:
    recipe.call("quantize", name, grid)
    return f"{name}_dequantized"
