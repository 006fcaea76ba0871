"""What experiment trackers are told, on stand-ins with their interfaces.

One that is not installed is said to be missing.
"""

from __future__ import annotations

import sys
from contextlib import nullcontext
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from edgeq.deploy.pipeline.tracking import tracked
from edgeq.errors import MissingDependency, UnknownName
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import Epoch

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe("resnet8", "digits", Scheme(4, 8))
EPOCHS = [Epoch(0, 2.5, 0.25, 0.3, 5), Epoch(1, 1.5, 0.5, 0.6, None)]


def test_nobody_is_told(tmp_path: Path) -> None:
    with tracked(None, RECIPE, tmp_path) as report:
        report(EPOCHS[0])
    assert list(tmp_path.iterdir()) == []


def test_mlflow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []
    mlflow: Any = ModuleType("mlflow")
    mlflow.start_run = lambda run_name: nullcontext(told.append(run_name))  # type: ignore[func-returns-value]
    mlflow.log_params = told.append
    mlflow.log_metrics = lambda figures, step: told.append((step, figures))
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    with tracked("mlflow", RECIPE, tmp_path / "run") as report:
        for epoch in EPOCHS:
            report(epoch)
    name, parameters, first, second = told
    assert name == "resnet8 4W/8A run"
    assert (
        parameters.items()
        >= {"model": "resnet8", "lr": 0.1, "scheme.weight_bits": 4, "optimizer.name": "sgd"}.items()
    )
    assert first == (0, {"loss": 2.5, "accuracy": 0.25, "validation": 0.3, "bits": 5})
    assert second == (1, {"loss": 1.5, "accuracy": 0.5, "validation": 0.6})


def test_tensorboard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[Any] = []

    class SummaryWriter:
        def __init__(self, folder: Path) -> None:
            told.append(folder)

        def add_text(self, tag: str, text: str) -> None:
            told.append(text)

        def add_scalar(self, tag: str, value: float, step: int) -> None:
            told.append((tag, value, step))

        def close(self) -> None:
            told.append("closed")

    module: Any = ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)

    def stopped() -> None:
        with tracked("tensorboard", RECIPE, tmp_path) as report:
            report(EPOCHS[0])
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    assert told[0] == tmp_path / "tensorboard"
    assert "scheme.weight_bits = 4" in told[1]
    assert told[2:] == [
        ("loss", 2.5, 0),
        ("accuracy", 0.25, 0),
        ("validation", 0.3, 0),
        ("bits", 5, 0),
        "closed",
    ]


@pytest.mark.parametrize(
    ("name", "module"), [("mlflow", "mlflow"), ("tensorboard", "torch.utils.tensorboard")]
)
def test_one_that_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, module: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with (
        pytest.raises(
            MissingDependency, match=f"needs the package '{name}'.*\n  hint: pip install {name}"
        ),
        tracked(name, RECIPE, tmp_path),
    ):
        pytest.fail("nothing is to be trained")


def test_one_that_nobody_knows(tmp_path: Path) -> None:
    with (
        pytest.raises(UnknownName, match="no log is called 'wandb'"),
        tracked("wandb", RECIPE, tmp_path),
    ):
        pytest.fail("nothing is to be trained")
