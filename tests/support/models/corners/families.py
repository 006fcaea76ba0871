"""Graphs of one operator at the corners of its sizes, modes, grids and numbers, by family."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support.models.corners.elementwise import bounds, functions, normalizations, pairs
from tests.support.models.corners.layers import (
    convolutions,
    dense,
    pools,
    products,
    reductions,
    transposed,
)
from tests.support.models.corners.movement import (
    blocks,
    choices,
    concatenations,
    paddings,
    picks,
    resizes,
    scatters,
    slices,
    views,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from hypothesis import strategies as st
    from tests.exporters.tflite.test_random_graphs import Recipe

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
