"""The recipes that come with edgeq can be run.

Their network, data, methods and groups are all there.
"""

from __future__ import annotations

import tomllib
from typing import Any

import pytest

from edgeq.data import DATASETS, GRAPHS
from edgeq.errors import UnknownName
from edgeq.models import zoo
from edgeq.training.checkpoint import build_model
from edgeq.training.graph.recipe import GraphRecipe
from edgeq.training.layers import QuantLayer
from edgeq.training.optimization import optimizers
from edgeq.training.recipes import builtin_recipes
from edgeq.training.recipes.recipe import Recipe

IMAGES = {
    "cifar10": ((3, 32, 32), 10),
    "mnist": ((1, 28, 28), 10),
    "digits-detection": ((1, 64, 64), 10),
}


def content(name: str) -> dict[str, Any]:
    return tomllib.loads(builtin_recipes.find(name).read_text())


def test_each_is_of_a_network_and_of_data_that_are_known() -> None:
    assert {
        "bgu-cifar",
        "apot-cifar",
        "lsq",
        "pact-cifar",
        "yun-wong",
        "gcnii",
        "binary-connect",
        "digits-tasks",
    } == set(builtin_recipes.names())
    for name in builtin_recipes.names():
        reads = zoo.describe(content(name)["model"]).reads
        assert content(name)["data"] in (DATASETS if reads == "images" else GRAPHS).names()
        kind = GraphRecipe if reads == "graphs" else Recipe
        assert kind.from_toml(builtin_recipes.find(name)).model == content(name)["model"]


def test_each_says_where_it_comes_from() -> None:
    for name in builtin_recipes.names():
        assert builtin_recipes.find(name).read_text().startswith("# "), name


@pytest.mark.parametrize("name", [name for name in builtin_recipes.names() if name != "gcnii"])
def test_each_makes_a_network_and_its_optimiser(name: str) -> None:
    run = Recipe.from_toml(builtin_recipes.find(name))
    shape, classes = IMAGES[run.data]
    model = build_model(run, shape, classes)
    optimizer = optimizers.build(run, model)
    assert len(optimizer.param_groups) >= max(1, len(run.groups)), "each group has members"
    assert any(isinstance(layer, QuantLayer) for layer in model.modules()) == (
        run.scheme is not None
    )


def test_the_published_numbers() -> None:
    bgu, apot, yun = (
        Recipe.from_toml(builtin_recipes.find(name))
        for name in ("bgu-cifar", "apot-cifar", "yun-wong")
    )
    assert [bgu.bits(epoch) for epoch in (0, 79, 80, 119, 120)] == [16, 9, 8, 5, None]
    assert bgu == Recipe("stable-resnet56", "cifar10", bgu.scheme), "they are the defaults"
    assert {apot.bits(epoch) for epoch in range(300)} == {None}
    assert [apot.schedule.multiplier(epoch, 300) for epoch in (149, 150, 225)] == pytest.approx(
        [1, 0.1, 0.01]
    )
    assert (yun.optimizer.name, yun.optimizer.epsilon, yun.scheme) == ("rmsprop", 1.0, None)


def test_binary_connect_ends_at_its_last_rate() -> None:
    run = Recipe.from_toml(builtin_recipes.find("binary-connect"))
    assert run.lr * run.schedule.multiplier(250, run.epochs) == pytest.approx(3e-6, rel=2e-3)


def test_any_other_name_is_a_file() -> None:
    assert str(builtin_recipes.find("mine.toml")) == "mine.toml"
    assert str(builtin_recipes.find("folder/bgu-cifar")) == "folder/bgu-cifar"


def test_a_name_that_is_neither() -> None:
    with pytest.raises(UnknownName, match=r"no recipe is called 'bgu-cifa'[\s\S]*'bgu-cifar'"):
        builtin_recipes.find("bgu-cifa")
