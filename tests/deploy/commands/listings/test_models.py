"""``edgeq models --margins``: which steps of a trained network can expand errors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.support.models.tiny_training import source

from edgeq.deploy.cli import run
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import pytest


def trained(folder: Path, model: str) -> Path:
    recipe = {"model": model, "data": "tiny", "epochs": 1, "batch_size": 40, "lr": 0.1}
    scheme = {"weight_bits": 4, "act_bits": 4}
    train(Recipe.from_dict({**recipe, "scheme": scheme}), source(), folder / model, threads=1)
    return folder / model


def test_certified_steps_are_within_the_limit(
    tmp_path: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(tmp_path, "stable-resnet8-certified")
    found = answer("models", "--margins", folder)["margins"]
    assert [each["path"].split(".conv")[0] for each in found] == [
        "stages.0.0",
        "stages.1.0",
        "stages.2.0",
    ]
    assert all(each["certified"] and 0 < each["margin"] <= 1 for each in found)
    assert run(["models", "--margins", str(folder)]) == 0
    assert "0 of 3 steps can expand errors" in capsys.readouterr().out


def test_published_ones_promise_nothing(tmp_path: Path, answer: Callable[..., Any]) -> None:
    found = answer("models", "--margins", trained(tmp_path, "stable-resnet8"))["margins"]
    assert len(found) == 3
    assert not any(each["certified"] for each in found)


def test_a_network_without_steps_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = trained(tmp_path, "resnet8")
    assert run(["models", "--margins", str(folder)]) == 2
    assert "has no symmetric steps" in capsys.readouterr().err


def test_an_exported_file_is_told_from_a_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "net.onnx").write_bytes(b"\x08\x0a" + bytes(20))
    assert run(["models", "--margins", str(tmp_path / "net.onnx")]) == 2
    assert "is an ONNX file, which has no steps" in capsys.readouterr().err
