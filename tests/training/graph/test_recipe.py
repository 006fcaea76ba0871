"""Recipes of graph networks say the same in every form, and refuse what cannot be."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import pytest

from edgeq.errors import ArtefactError, UsageError
from edgeq.training.graph.recipe import GraphRecipe, GraphScheme

if TYPE_CHECKING:
    from pathlib import Path


def test_a_recipe_survives_json_and_toml(tmp_path: Path) -> None:
    recipe = GraphRecipe(
        "pde-gcn-64", "cora", GraphScheme(32, 4, "released", 3.0), epochs=7, step_size=1.0
    )
    assert GraphRecipe.from_dict(recipe.to_dict()) == recipe
    path = tmp_path / "recipe.toml"
    path.write_text(
        'model = "pde-gcn-64"\ndata = "cora"\nepochs = 7\nstep_size = 1.0\n'
        '[scheme]\nweight_bits = 32\nact_bits = 4\nactivations = "released"\nbound = 3.0\n'
    )
    assert GraphRecipe.from_toml(path) == recipe
    assert recipe.name == "pde-gcn-64 32W/4A"
    assert GraphRecipe("pde-gcn-64", "cora").name == "pde-gcn-64 FP32"


@pytest.mark.parametrize(
    "fields",
    [
        {"epochs": 0},
        {"patience": 1.5},
        {"lr": 0.0},
        {"lr_bounds": -1.0},
        {"dropout": 1.0},
        {"step_size": float("nan")},
        {"track_test": 1},
        {"model": 3},
        {"momentum": 0.9},
        {"scheme": 4},
        {"scheme": {"weight_bits": 9}},
        {"scheme": {"act_bits": 32}},
        {"scheme": {"activations": "other"}},
        {"scheme": {"bound": -1}},
        {"scheme": {"boundary_bits": 8}},
    ],
)
def test_what_cannot_be_is_refused(fields: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        GraphRecipe.from_dict({"model": "pde-gcn-64", "data": "cora"} | fields)


def test_a_recipe_without_a_model_is_refused() -> None:
    with pytest.raises(UsageError, match="cannot be used"):
        GraphRecipe.from_dict({"data": "cora"})


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text("model = ")
    with pytest.raises(ArtefactError, match="no TOML"):
        GraphRecipe.from_toml(path)


def test_the_scheme_is_plain_data() -> None:
    assert asdict(GraphScheme()) == {
        "weight_bits": 4,
        "act_bits": 8,
        "activations": "signed",
        "bound": 6.0,
    }
