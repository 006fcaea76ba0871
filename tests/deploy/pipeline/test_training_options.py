"""Flags of ``edgeq train`` and the recipe they come to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, get_args

import pytest

from edgeq.deploy.commands.train import TrainOptions
from edgeq.deploy.pipeline.training_options import recipe_of
from edgeq.errors import UsageError
from edgeq.training.recipes import builtin_recipes
from edgeq.training.recipes.optimization import Optimizer, Schedule
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def of(
    path: Path | None = None, model: str | None = None, data: str | None = None, **flags: Any
) -> Recipe:
    return recipe_of(path, model, data, flags, lambda scheme: scheme)


def test_without_a_file_it_is_the_default() -> None:
    assert of(None, "resnet8") == Recipe("resnet8", "digits", Scheme(weight_bits=4))


def test_every_flag_goes_before_the_file() -> None:
    yun = Recipe.from_toml(builtin_recipes.find("yun-wong"))
    found = of(
        builtin_recipes.find("yun-wong"),
        "resnet8",
        "digits",
        epochs=3,
        lr=None,
        ema=0.9,
        augmentation="none",
        teacher="t",
        compiled=False,
    )
    assert (found.model, found.data, found.epochs, found.lr, found.ema) == (
        "resnet8",
        "digits",
        3,
        yun.lr,
        0.9,
    )
    assert (found.optimizer, found.schedule) == (yun.optimizer, yun.schedule)


def test_another_optimiser_has_its_own_constants_and_the_same_keeps_the_files() -> None:
    path = builtin_recipes.find("yun-wong")
    assert of(path, optimizer="rmsprop", schedule="exponential").optimizer.epsilon == 1.0
    other = of(path, optimizer="sgd", schedule="cosine")
    assert (other.optimizer, other.schedule) == (Optimizer(), Schedule())


@pytest.mark.parametrize(
    "flags",
    [
        {"optimizer": "lamb"},
        {"schedule": "step"},
        {"schedule": "no"},
        {"loss": "l2"},
        {"precision": "fp16"},
        {"ema": 1.0},
        {"consistency": -1.0},
    ],
)
def test_what_cannot_be_is_refused(flags: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        of(None, "resnet8", **flags)


def test_no_network() -> None:
    with pytest.raises(UsageError, match="no model is named"):
        of(data="digits")


def test_a_recipe_by_name_with_flags(answer: Callable[..., Any], tmp_path: Path) -> None:
    run = ["train", "resnet8", "--recipe", "apot-cifar", "--data", "digits"]
    small = [
        "--epochs",
        1,
        "--batch-size",
        512,
        "--threads",
        1,
        "--ema",
        0.5,
        "-o",
        tmp_path / "run",
    ]
    recipe = answer(*run, *small)["recipe"]
    assert (recipe["model"], recipe["data"], recipe["epochs"], recipe["ema"]) == (
        "resnet8",
        "digits",
        1,
        0.5,
    )
    assert recipe["schedule"] == {"name": "step", "factor": 0.1, "at": [0.5, 0.75]}
    assert [group["of"] for group in recipe["groups"]] == ["act-bounds", "weight-bounds"]


def test_help_lists_the_recipes() -> None:
    (option,) = get_args(TrainOptions.__annotations__["recipe"])[1:]
    assert all(name in option.help for name in builtin_recipes.names())


def test_what_cannot_be_combined_on_the_command_line(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    assert "no recipe is called" in refusal(
        "train", "resnet8", "--recipe", "apot", "-o", tmp_path / "run"
    )
    assert "there is no checkpoint" in refusal(
        "train", "resnet8", "--teacher", tmp_path / "none", "-o", tmp_path / "run"
    )
    assert "mean nothing for a graph" in refusal(
        "train", "pde-gcn-64", "--data", "cora", "--cpu", "-o", tmp_path / "run"
    )


def test_it_tells_what_it_does_before_the_first_epoch(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    told = refusal("train", "resnet8", "--teacher", tmp_path / "none", "-o", tmp_path / "run")
    assert (
        told.index("loading torch")
        < told.index("reading digits")
        < told.index("there is no checkpoint")
    )


def test_a_scheme_alone_is_a_recipe_for_a_network_that_is_named(tmp_path: Path) -> None:
    path = tmp_path / "searched.toml"
    path.write_text('[scheme]\nweight_bits = 8\n\n[[scheme.layers]]\nmatch = "fc"\nact_bits = 4\n')
    found = of(path, "resnet8")
    assert (found.model, found.data) == ("resnet8", "digits")
    assert found.scheme is not None
    assert [rule.match for rule in found.scheme.layers] == ["fc"]
    with pytest.raises(UsageError, match="model"):
        of(path)
