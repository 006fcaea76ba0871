"""Recipes: as data, from TOML, with the published annealing.

And what is wrong with one is said by field.
"""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING, Any

import pytest

from edgeq.errors import ArtefactError, UsageError
from edgeq.training.recipes.optimization import Group, Optimizer, Schedule
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

TOML = """
model = "stable-resnet56"
data = "cifar10"
epochs = 20
lr = 0.05

[scheme]
weight_bits = 4
act_bits = 8
placement = "paper"
"""


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"model": "resnet8", "data": "digits", "scheme": Scheme(4, 4), **fields})


class TestAnnealing:
    def test_the_published_schedule(self) -> None:
        """16 bits, one fewer every 10 of 200 epochs: 8 from epoch 80, 4 from epoch 120."""
        run = recipe(epochs=200)
        for epoch in range(200):
            held = max(16 - epoch // 10, 4)
            assert run.bits(epoch) == (held if held > 4 else None)
        assert run.bits(0) == 16
        assert (run.bits(79), run.bits(80)) == (9, 8)
        assert (run.bits(119), run.bits(120)) == (5, None)

    @pytest.mark.parametrize("epochs", [1, 2, 3, 7, 19, 20, 50, 300])
    def test_any_length_comes_down_step_by_step_and_keeps_the_proportions(
        self, epochs: int
    ) -> None:
        held = [recipe(epochs=epochs).bits(epoch) for epoch in range(epochs)]
        widths = [4 if bits is None else bits for bits in held]
        assert widths == sorted(widths, reverse=True)
        assert widths == [*(max(16 - epoch * 20 // epochs, 4) for epoch in range(epochs - 1)), 4], (
            "the last is at the target"
        )

    def test_it_ends_when_the_narrowest_width_is_reached(self) -> None:
        run = recipe(epochs=200, scheme=Scheme(8, 6))
        assert (run.bits(99), run.bits(100)) == (7, None)

    def test_it_can_be_left_out(self) -> None:
        assert [recipe(epochs=5, anneal_from=4).bits(epoch) for epoch in range(5)] == [None] * 5

    def test_fp32_has_no_widths(self) -> None:
        assert recipe(scheme=None).bits(0) is None


class TestToml:
    def test_a_recipe_with_a_scheme(self, tmp_path: Path) -> None:
        (tmp_path / "run.toml").write_text(TOML)
        expected = Recipe(
            "stable-resnet56", "cifar10", Scheme(4, 8, placement="paper"), epochs=20, lr=0.05
        )
        assert Recipe.from_toml(tmp_path / "run.toml") == expected

    def test_without_a_scheme_it_is_fp32(self, tmp_path: Path) -> None:
        (tmp_path / "run.toml").write_text('model = "resnet8"\ndata = "digits"\n')
        assert Recipe.from_toml(tmp_path / "run.toml").scheme is None

    @pytest.mark.parametrize("content", [b"model = ", b"\xff\xfe", b"model = 'a'\nmodel = 'b'"])
    def test_what_is_no_toml(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "run.toml").write_bytes(content)
        with pytest.raises(ArtefactError, match="is no TOML file"):
            Recipe.from_toml(tmp_path / "run.toml")

    def test_missing_empty_and_enormous(self, tmp_path: Path) -> None:
        with pytest.raises(ArtefactError, match="there is no recipe"):
            Recipe.from_toml(tmp_path / "none.toml")
        (tmp_path / "empty.toml").touch()
        with pytest.raises(ArtefactError, match="zero bytes"):
            Recipe.from_toml(tmp_path / "empty.toml")
        (tmp_path / "large.toml").write_bytes(b"#" * (2**20 + 1))
        with pytest.raises(ArtefactError, match="more than"):
            Recipe.from_toml(tmp_path / "large.toml")


FULL = """
model = "resnet20"
data = "cifar10"
loss = "squared-hinge"
augmentation = "affine"
init_from = "before/best.safetensors"
ema = 0.999

[optimizer]
name = "adam"
betas = [0.9, 0.99]

[schedule]
name = "step"
at = [0.5, 0.75]

[[groups]]
of = "act-bounds"
lr = 0.1

[[groups]]
of = "*weight"
weight_decay = 0
"""


def test_tables_and_arrays_of_toml(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(FULL)
    run = Recipe.from_toml(tmp_path / "run.toml")
    assert run.optimizer == Optimizer("adam", betas=(0.9, 0.99))
    assert run.schedule == Schedule("step", at=(0.5, 0.75))
    assert run.groups == (Group("act-bounds", lr=0.1), Group("*weight", weight_decay=0))
    assert (run.loss, run.augmentation, run.init_from, run.ema) == (
        "squared-hinge",
        "affine",
        "before/best.safetensors",
        0.999,
    )
    assert Recipe.from_dict(json.loads(json.dumps(run.to_dict()))) == run


def test_what_cannot_go_together() -> None:
    with pytest.raises(UsageError, match="lets nobody"):
        recipe(consistency=0.1, compiled=True)
    with pytest.raises(UsageError, match="Adam has none"):
        recipe(optimizer=Optimizer("adam"), momentum=0.5)
    with pytest.raises(UsageError, match="FP32 training has none"):
        recipe(scheme=None, bound_penalty=1e-4)


class TestFields:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("epochs", 0),
            ("epochs", 1.5),
            ("epochs", "3"),
            ("epochs", True),
            ("batch_size", 1),
            ("batch_size", 2.0),
            ("seed", -1),
            ("anneal_from", 1),
            ("anneal_from", 25),
            ("lr", 0),
            ("lr", -0.1),
            ("lr", float("nan")),
            ("lr", float("inf")),
            ("lr", "fast"),
            ("momentum", 1.0),
            ("momentum", -0.1),
            ("weight_decay", -1e-4),
            ("weight_decay", float("nan")),
            ("model", 3),
            ("data", None),
            ("scheme", "4W/4A"),
            ("scheme", 4),
            ("scheme", {"weight_bits": 9}),
            ("scheme", {"weight_bits": 4.5}),
            ("scheme", {"act_bits": 1}),
            ("scheme", {"boundary_bits": "8"}),
            ("scheme", {"placement": "everywhere"}),
            ("scheme", {"bits": 4}),
            ("scheme", {"normalize_weights": "no"}),
            ("lr", True),
            ("learning_rate", 0.1),
            ("precision", "fp16"),
            ("compiled", 1),
            ("optimizer", "adam"),
            ("optimizer", {"name": "lamb"}),
            ("optimizer", {"rho": 0.9}),
            ("schedule", {"at": [0.5]}),
            ("groups", {"of": "norms"}),
            ("groups", [3]),
            ("groups", [{"lr": 0.1}]),
            ("loss", "l2"),
            ("augmentation", "mixup"),
            ("init_from", 3),
            ("teacher", True),
            ("ema", 1.0),
            ("ema", -0.1),
            ("distillation", 1.5),
            ("temperature", 0),
            ("consistency", -1),
            ("bound_penalty", "strong"),
            ("bound_penalty", 1e-4),
            ("consistency", 0.5),
        ],
    )
    def test_what_cannot_be_is_refused_by_name(self, field: str, value: object) -> None:
        with pytest.raises(UsageError) as caught:
            Recipe.from_dict({"model": "resnet8", "data": "digits", field: value})
        named = next(iter(value)) if isinstance(value, dict) else field
        named = {"of": "groups", "name": "optimizer"}.get(named, named)
        assert named in str(caught.value)
        assert caught.value.hint

    def test_a_missing_field(self) -> None:
        with pytest.raises(UsageError, match="model"):
            Recipe.from_dict({"data": "digits"})

    def test_json_and_back(self) -> None:
        for run in (
            recipe(lr=0.1, seed=3),
            recipe(scheme=None),
            recipe(scheme=Scheme(2, 8, 6, "paper", normalize_weights=False)),
        ):
            assert Recipe.from_dict(json.loads(json.dumps(run.to_dict()))) == run

    def test_it_cannot_change(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            recipe().epochs = 3  # type: ignore[misc]

    def test_names(self) -> None:
        assert recipe().name == "resnet8 4W/4A"
        assert recipe(scheme=None).name == "resnet8 FP32"
