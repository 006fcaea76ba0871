"""A calibration as a file: what is written is read back, and what cannot be is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from edgeq.calibration.config import CalibrationConfig
from edgeq.deploy.pipeline.calibration_recipe import CalibrationRecipe
from edgeq.errors import ArtefactError, UsageError
from edgeq.network.layer_rules import LayerRule

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = CalibrationRecipe(
    CalibrationConfig(
        "percentile:percent=99.9",
        "mse",
        4,
        8,
        per_channel=False,
        layers=(LayerRule("stem*", weight_bits=8), LayerRule("Ä\\b", act_bits=16)),
        methods=("equalize", "adaround:steps=20"),
    ),
    64,
)


def test_a_recipe_that_is_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(RECIPE.to_toml(), encoding="utf-8")
    assert CalibrationRecipe.read(path) == RECIPE
    few = CalibrationRecipe.said(None, weight_bits=4)
    path.write_text(few.to_toml(), encoding="utf-8")
    assert CalibrationRecipe.read(path) == few
    path.write_text('observer = "mse"\n')
    assert CalibrationRecipe.read(path).config == CalibrationConfig("mse")


def test_flags_take_precedence() -> None:
    content = json.loads(json.dumps(RECIPE.to_dict()))
    said = {"observer": "minmax", "weight_bits": None, "per_channel": True}
    changed = CalibrationRecipe.from_dict(content, **said)
    assert changed.config.observer == "minmax"
    assert changed.config.weight_bits == 4
    assert changed.config.per_channel
    assert changed.samples == 64
    assert CalibrationRecipe.from_dict(content, samples=7).samples == 7


def test_the_width_of_weights_chooses_where_nothing_else_is_said(tmp_path: Path) -> None:
    few = CalibrationConfig("mse", "mse", 4, methods=("gptq", "bias-correction"))
    few = replace(few, method_samples=128, depthwise_bits=8)
    assert CalibrationConfig(weight_bits=4) == few
    path = tmp_path / "recipe.toml"
    path.write_text("weight_bits = 4\n")
    for found in (CalibrationRecipe.read(path), CalibrationRecipe.said(None, weight_bits=4)):
        assert found.config == few
        assert "--method gptq --method bias-correction" in found.few_bits()
        flags = found.by_width_flags()
        assert flags[:2] == ("--weight-method", "mse"), "to be said beside an observer"
        assert "edgeq export --weight-storage int4 stores two a byte" in found.few_bits()
    for said in ({"observer": "minmax"}, {"methods": ()}, {"weight_method": "symmetric"}):
        found = CalibrationRecipe.said(path, **said)
        assert found.config == CalibrationConfig("minmax", "symmetric", 4, methods=())
        assert found.config.method_samples == 512
        assert not found.few_bits()
        assert found.by_width_flags() == ()
        assert found.config.depthwise_bits is None
    assert "int4" not in CalibrationRecipe.said(None, weight_bits=5).few_bits()
    assert CalibrationRecipe.said(path, depthwise_bits=4).config == replace(few, depthwise_bits=4)
    assert CalibrationConfig().methods == ()
    assert not CalibrationRecipe.said(path, weight_bits=8).few_bits()


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"observers": "mse"}, "no field observers"),
        ({"observer": 3}, "observer is 3"),
        ({"observer": "mean"}, "no observer is called 'mean'"),
        ({"per_channel": "yes"}, "per_channel is 'yes'"),
        ({"samples": 0}, "samples is 0"),
        ({"weight_bits": 1}, "weight_bits is 1"),
        ({"depthwise_bits": 9}, "depthwise_bits is 9"),
        ({"methods": "gptq"}, "methods is 'gptq'"),
        ({"methods": [3]}, "methods is 3"),
        ({"layers": [{"weight_bits": 4}]}, "does not say which"),
        ({"method_samples": 1.5}, "method_samples is 1.5"),
    ],
)
def test_what_is_no_recipe_is_refused(content: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        CalibrationRecipe.from_dict(content)


def test_a_file_without_a_recipe_is_refused(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("observer =")
    with pytest.raises(ArtefactError, match="is no TOML file"):
        CalibrationRecipe.read(tmp_path / "recipe.toml")
    with pytest.raises(ArtefactError):
        CalibrationRecipe.read(tmp_path / "none.onnx")


def test_the_scheme_that_a_search_writes_is_a_recipe(tmp_path: Path) -> None:
    path = tmp_path / "searched.toml"
    path.write_text('[scheme]\nweight_bits = 8\n\n[[scheme.layers]]\nmatch = "fc"\nact_bits = 4\n')
    found = CalibrationRecipe.read(path)
    assert found.config.layers == (LayerRule("fc", act_bits=4),)
    with pytest.raises(UsageError, match="scheme is 4"):
        CalibrationRecipe.from_dict({"scheme": 4})
