"""Several small trainings at once, one a core: a network of this size keeps no second thread busy.

Each run has a process and a thread of its own, so its result is the same however many run beside it.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from typing import TYPE_CHECKING, Any

from edgeq.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, MutableMapping, Sequence
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.training.loop import Progress, TrainingResult
    from edgeq.training.recipe import Recipe

POLL_SECONDS = 0.2
_STOP: list[Event] = []  # in a worker: the one event that asks all of them to stop


def train_all(
    runs: Mapping[Path, Recipe], source: DataSource, *, overwrite: bool, progress: Callable[[int, int], None]
) -> dict[Path, TrainingResult]:
    """Train networks side by side, as many as there are cores.

    Args:
        runs: folder to recipe.
        source: the data of all of them.
        overwrite: start each run anew; else those that were stopped go on.
        progress: called with the share done, in steps, and the steps of all runs.

    Returns:
        Folder to result, in the order of ``runs``.

    Raises:
        Interrupted: Ctrl-C; every run has saved where it stands.
        EdgeqError: whatever the first run that failed raised.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    with context.Manager() as manager:
        steps = manager.dict()
        workers = min(len(runs), len(os.sched_getaffinity(0)))
        with ProcessPoolExecutor(workers, context, _enter, (stop,)) as pool:
            futures = {path: pool.submit(_train, recipe, source, path, overwrite, steps) for path, recipe in runs.items()}
            try:
                _watch(list(futures.values()), steps, sum(recipe.epochs for recipe in runs.values()), progress)
            except KeyboardInterrupt:
                stop.set()
                pool.shutdown(cancel_futures=True)
                raise Interrupted("training was stopped; all runs are saved", mend="the same command goes on from there") from None
            except BaseException:
                stop.set()
                raise
            return {path: future.result() for path, future in futures.items()}


def _watch(futures: Sequence[Future[Any]], steps: Mapping[str, float], total: int, progress: Callable[[int, int], None]) -> None:
    """Report until all are done; the first failure ends the wait."""
    waiting = set(futures)
    while waiting:
        done, waiting = wait(waiting, POLL_SECONDS, FIRST_EXCEPTION)
        for future in done:
            future.result()
        progress(round(100 * sum(steps.values())), 100 * total)


def _enter(stop: Event) -> None:
    _STOP.append(stop)


def _train(recipe: Recipe, source: DataSource, folder: Path, overwrite: bool, steps: MutableMapping[str, float]) -> TrainingResult:
    """In the worker: one run, its epochs done noted in ``steps``."""
    from edgeq.training.loop import train

    def report(at: Progress) -> None:
        steps[str(folder)] = at.epoch + at.step / at.steps
        if _STOP[0].is_set():
            signal.raise_signal(signal.SIGINT)  # which the training meets by saving

    return train(recipe, source, folder, resume=not overwrite, overwrite=overwrite, threads=1, report=report)
