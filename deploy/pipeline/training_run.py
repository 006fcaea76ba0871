"""One training run as ``edgeq train`` does it.

With a bar or a line an epoch, a log if asked for, and the result told once.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING

from edgeq.deploy import console

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.deploy.preprocessing import AskedPreprocessing
    from edgeq.results import Score
    from edgeq.training.graph.recipe import GraphRecipe
    from edgeq.training.graph.records import GraphResult
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.loop import Progress, TrainingResult


def run_images(
    recipe: Recipe,
    data_dir: Path | None,
    output: Path,
    preprocess: AskedPreprocessing | None = None,
    *,
    log: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
    cpu: bool = False,
) -> TrainingResult:
    """Train on images; see :func:`edgeq.training.run.loop.train`.

    They are fed as a person says, as the checkpoints note that the run begins from or goes on
    with, or as the data have it.
    """
    from edgeq.deploy.inputs import training_data
    from edgeq.deploy.pipeline.tracking import tracked
    from edgeq.training.run.loop import train
    from edgeq.training.run.run_folder import LAST

    with tracked(log if console.first_process() else None, recipe, output) as report_epoch:
        tell(f"reading {recipe.data}")
        source = training_data(recipe, data_dir, preprocess, output / LAST if resume else None)
        with _progress(recipe.name, _figure_of(source)) as report:
            result = train(
                recipe,
                source,
                output,
                resume=resume,
                overwrite=overwrite,
                threads=threads,
                cpu=cpu,
                report=report,
                report_epoch=report_epoch,
            )
    if result.score is None:
        _tell_guessing(result, len(source.classes))
    return result


def run_graph(
    recipe: GraphRecipe,
    data_dir: Path | None,
    output: Path,
    *,
    start: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    threads: int | None = None,
) -> GraphResult:
    """Train on a graph; see :func:`edgeq.training.graph.loop.train_graph`."""
    from edgeq.data import load_graph
    from edgeq.training.graph.loop import train_graph

    tell(f"reading {recipe.data}")
    graph = load_graph(recipe.data, data_dir)
    with _progress(recipe.name) as report:
        result = train_graph(
            recipe,
            graph,
            output,
            start=start,
            resume=resume,
            overwrite=overwrite,
            threads=threads,
            report=report,
        )
    _tell_guessing(result, len(graph.classes))
    return result


def _figure_of(source: DataSource) -> Callable[[float], str]:
    """How a validation figure on some data is written: an accuracy or a score."""
    from edgeq.tasks import TASKS

    if TASKS.load(source.task).labels == "values":
        return lambda value: f"{value:.4g}"
    return lambda value: f"{100 * value:.2f} %"


def _tell_guessing(result: TrainingResult | GraphResult, classes: int) -> None:
    """Say so where the network answers no better than by guessing."""
    from edgeq.deploy.guessing import like_guessing, next_training
    from edgeq.metrics.accuracy import share_right

    what = like_guessing(share_right(result.test_correct, result.test_total), classes)
    if what:
        tell(
            f"edgeq: {result.recipe.name}: {what}. "
            f"{next_training(quantized=result.recipe.scheme is not None)}"
        )


def tell(doing: str) -> None:
    """Say what is done now, once for all processes of a launcher."""
    if console.first_process():
        console.note(doing)


@contextmanager
def _progress(
    name: str, figure: Callable[[float], str] = lambda value: f"{100 * value:.2f} %"
) -> Iterator[Callable[[Progress], None]]:
    """What it yields moves a bar after each step.

    Where none is drawn, it says one line an epoch.

    Args:
        name: of the run.
        figure: how a validation figure is written.
    """
    with (
        console.progress(name)
        if console.first_process()
        else nullcontext(lambda _done, _total: None) as advance
    ):
        quiet = console.animated(sys.stderr)

        def report(at: Progress) -> None:
            advance(at.epoch * at.steps + at.step, at.epochs * at.steps)
            if at.step == at.steps and not quiet:
                right = "" if at.accuracy is None else f", training {100 * at.accuracy:.2f} %"
                before = (
                    ""
                    if at.validation is None
                    else f", validation before it {figure(at.validation)}"
                )
                console.note(
                    f"epoch {at.epoch + 1} of {at.epochs}: loss {at.loss:.4f}{right}{before}"
                )

        yield report


def show(result: TrainingResult | GraphResult, *, as_json: bool) -> None:
    """Tell what came of a run."""
    from edgeq.metrics.accuracy import wilson

    scored = getattr(result, "score", None)
    if scored is not None:
        _show_score(result, scored, as_json=as_json)
        return
    low, high = wilson(result.test_correct, result.test_total)
    correct, total = result.test_correct, result.test_total
    test = {"correct": correct, "total": total, "low": low, "high": high}
    _write_json(result, test, printed=as_json)
    if as_json:
        return
    share = correct / total
    console.write(
        f"{result.recipe.name}: test accuracy {100 * share:.2f} % (95 % interval "
        f"{100 * low:.2f} – {100 * high:.2f}), "
        f"best epoch {result.best_epoch + 1} with {100 * result.validation:.2f} % on "
        f"validation, {result.seconds:.0f} s; in {result.folder}"
    )


def _show_score(result: TrainingResult | GraphResult, scored: Score, *, as_json: bool) -> None:
    from edgeq.deploy.report.values import score

    _write_json(result, scored, printed=as_json)
    if as_json:
        return
    worst = scored.worst()
    at_worst = f", worst {worst[0]} {score(scored, worst[1])}" if worst else ""
    console.write(
        f"{result.recipe.name}: test {scored.name} {score(scored)}{at_worst}; best epoch "
        f"{result.best_epoch + 1} with {score(scored, result.validation)} on validation, "
        f"{result.seconds:.0f} s; in {result.folder}"
    )


def _write_json(result: TrainingResult | GraphResult, test: object, *, printed: bool) -> None:
    console.write_json(
        "train",
        {
            "folder": str(result.folder),
            "recipe": result.recipe,
            "best_epoch": result.best_epoch,
            "validation": result.validation,
            "test": test,
            "seconds": result.seconds,
            "history": result.history,
        },
        printed=printed,
    )
