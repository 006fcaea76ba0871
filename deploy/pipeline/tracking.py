"""Epochs told to an experiment tracker while a run goes on.

The trackers are the user's own, and edgeq needs none.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeq.errors import MissingDependency, UnknownName

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.loop import Epoch

    EpochReport = Callable[[Epoch], None]


@contextmanager
def tracked(log: str | None, recipe: Recipe, folder: Path) -> Iterator[EpochReport]:
    """While it holds, what it yields tells an epoch to a tracker; None for one that tells nobody.

    TensorBoard's files lie in ``folder/tensorboard``. MLflow writes where its own settings say,
    such as ``MLFLOW_TRACKING_URI``.

    Args:
        log: ``tensorboard`` or ``mlflow``.
        recipe: the run, whose fields are its parameters.
        folder: of the run.

    Raises:
        UnknownName: there is no such tracker.
        MissingDependency: its package is not installed.
    """
    if log is None:
        yield lambda _: None
        return
    if log not in _TRACKERS:
        raise UnknownName("log", log, _TRACKERS)
    try:
        started = _TRACKERS[log](recipe, folder)
    except ImportError as error:
        raise MissingDependency("the log", log, log) from error
    with started as report:
        yield report


def _tensorboard(recipe: Recipe, folder: Path) -> AbstractContextManager[EpochReport]:
    from torch.utils.tensorboard import SummaryWriter

    @contextmanager
    def writing() -> Iterator[EpochReport]:
        writer: Any = SummaryWriter(folder / "tensorboard")
        writer.add_text(
            "recipe",
            "\n".join(f"    {name} = {value}" for name, value in _parameters(recipe).items()),
        )

        def report(epoch: Epoch) -> None:
            for name, value in _figures(epoch).items():
                writer.add_scalar(name, value, epoch.epoch)

        try:
            yield report
        finally:
            writer.close()

    return writing()


def _mlflow(recipe: Recipe, folder: Path) -> AbstractContextManager[EpochReport]:
    mlflow: Any = import_module("mlflow")

    @contextmanager
    def running() -> Iterator[EpochReport]:
        with mlflow.start_run(run_name=f"{recipe.name} {folder.name}"):
            mlflow.log_params(_parameters(recipe))
            yield lambda epoch: mlflow.log_metrics(_figures(epoch), step=epoch.epoch)

    return running()


_TRACKERS: dict[str, Callable[[Recipe, Path], AbstractContextManager[EpochReport]]] = {
    "tensorboard": _tensorboard,
    "mlflow": _mlflow,
}


def _figures(epoch: Epoch) -> dict[str, float]:
    figures = {
        "loss": epoch.loss,
        "accuracy": epoch.accuracy,
        "validation": epoch.validation,
        "bits": epoch.bits,
    }
    return {name: figure for name, figure in figures.items() if figure is not None}


def _parameters(recipe: Recipe) -> dict[str, Any]:
    """The fields of a recipe in one level, those of its tables under ``table.field``."""
    flat: dict[str, Any] = {}
    for name, value in asdict(recipe).items():
        flat |= (
            {f"{name}.{key}": inner for key, inner in value.items()}
            if isinstance(value, dict)
            else {name: value}
        )
    return {name: value for name, value in flat.items() if value is not None}
