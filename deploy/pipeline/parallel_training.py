"""Work on several small networks at once, one a core.

A network of this size keeps no second thread busy.

Each run has a process and a thread of its own, so its result is the same however many run beside
it. A terminal sends Ctrl-C to all processes at once; those of a fleet never hear it, and the one
that started them asks them to stop: whatever they are at, importing as well, nothing is half done
and nothing is said twice.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from concurrent.futures import FIRST_EXCEPTION, Future, ProcessPoolExecutor, wait
from contextlib import ExitStack, contextmanager
from multiprocessing import connection
from multiprocessing.managers import SyncManager
from typing import TYPE_CHECKING, Any, TypeVar

from edgeq.errors import EdgeqError, Interrupted
from edgeq.machine import usable_cores

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping, Sequence
    from multiprocessing.synchronize import Event
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.deploy.console import Advance
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.run.loop import Progress, TrainingResult

T = TypeVar("T")

POLL_SECONDS = 0.2
THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
_STOP: list[Event] = []  # in a worker: the one event that asks all of them to stop


class WorkerPool:
    """Processes that wait for work, as :func:`worker_pool` starts them."""

    def __init__(self, pool: ProcessPoolExecutor, steps: MutableMapping[str, float]) -> None:
        self._pool, self._steps = pool, steps

    def train(
        self,
        runs: Mapping[Path, Recipe],
        source: DataSource,
        *,
        overwrite: bool,
        progress: Advance = lambda _done, _total: None,
        done: Callable[[Path, TrainingResult], None] = lambda _path, _result: None,
    ) -> dict[Path, TrainingResult]:
        """Train networks side by side. A run of the same recipe goes on from where it stands.

        Args:
            runs: folder to recipe.
            source: the data of all of them.
            overwrite: start a run of another recipe anew.
            progress: called with the share done, in hundredths of epochs, and the share of all
                runs.
            done: called with each run that is done.

        Returns:
            Folder to result, in the order of ``runs``.

        Raises:
            EdgeqError: whatever the first run that failed raised.
        """
        self._steps.clear()
        work = [(recipe, source, path, overwrite, self._steps) for path, recipe in runs.items()]
        futures = dict(zip(self._submit(_train, work), runs, strict=True))
        total = sum(recipe.epochs for recipe in runs.values())
        self._watch(
            list(futures),
            lambda: progress(round(100 * sum(self._steps.values())), 100 * total),
            lambda future: done(futures[future], future.result()),
        )
        return {path: future.result() for future, path in futures.items()}

    def each(
        self, function: Callable[..., T], work: Sequence[tuple[Any, ...]], progress: Advance
    ) -> list[T]:
        """What a function of a module returns for each tuple of arguments, in their order.

        Args:
            function: what to do.
            work: its arguments.
            progress: called with how many are done, and how many there are.
        """
        futures = self._submit(function, work)
        self._watch(
            futures,
            lambda: progress(sum(future.done() for future in futures), len(futures)),
            lambda _future: None,
        )
        return [future.result() for future in futures]

    def _watch(
        self,
        futures: Sequence[Future[Any]],
        report: Callable[[], None],
        done: Callable[[Future[Any]], None],
    ) -> None:
        """Report until all are done; the first failure ends the wait."""
        waiting = set(futures)
        while waiting:
            ended, waiting = wait(waiting, POLL_SECONDS, FIRST_EXCEPTION)
            for future in ended:
                future.result()
                done(future)
            report()

    def _submit(
        self, function: Callable[..., T], work: Iterable[tuple[Any, ...]]
    ) -> list[Future[T]]:
        with not_heard():  # processes are started as work comes in
            return [self._pool.submit(_stoppable, function, arguments) for arguments in work]


@contextmanager
def worker_pool(most: int) -> Iterator[WorkerPool]:
    """Start processes, as many as there are cores but at most so many, and end them.

    Where the work is left by an exception, theirs is ended too.

    Raises:
        Interrupted: Ctrl-C; every training has saved where it stands.
    """
    context = multiprocessing.get_context("spawn")
    stop = context.Event()
    workers = min(most, usable_cores())
    with ExitStack() as stack:
        stack.enter_context(threads_of_processes(1))
        manager = SyncManager(ctx=context)
        with not_heard():
            manager.start(end_with_parent)
        stack.enter_context(manager)
        others = set(multiprocessing.active_children())
        pool = stack.enter_context(ProcessPoolExecutor(workers, context, _enter, (stop,)))
        try:
            yield WorkerPool(pool, manager.dict())
        except BaseException as error:
            stop.set()
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()  # which a training meets by saving
            pool.shutdown(cancel_futures=True)
            if isinstance(error, KeyboardInterrupt) and not isinstance(error, Interrupted):
                raise Interrupted(
                    "stopped; what was trained is saved", hint="the same command goes on from there"
                ) from None
            raise


@contextmanager
def not_heard() -> Iterator[None]:
    """Ctrl-C waits until the end of this; processes that are started in it never hear one."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows, where all that share a console hear it
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def threads_of_processes(count: int) -> Iterator[None]:
    """Processes that start in it have so many threads each.

    NumPy's library of algebra counts its threads as it is loaded; one that waits for a core slows a
    dot product down many times over.
    """
    before = {name: os.environ.get(name) for name in THREADS}
    os.environ.update(dict.fromkeys(THREADS, str(count)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def finished(folder: Path, recipe: Recipe) -> bool:
    """Whether a folder holds a whole run of this very recipe."""
    progress = _progress(folder, recipe)
    return progress is not None and progress.get("epoch") == recipe.epochs


def _progress(folder: Path, recipe: Recipe) -> Mapping[str, Any] | None:
    """How far a run of this very recipe is; None where there is none."""
    from edgeq.training.checkpoint import read
    from edgeq.training.run.run_folder import LAST
    from edgeq.training.run.warm_start import settled

    try:
        saved, asked = read(folder / LAST), settled(recipe)
    except EdgeqError:
        return None
    return saved.progress if saved.recipe == asked else None


def end_with_parent() -> None:
    """In a process: let it end as soon as the one that started it is gone, however that ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=_leave_with, args=(parent.sentinel,), daemon=True).start()


def _leave_with(sentinel: int) -> None:
    connection.wait([sentinel])
    os._exit(1)


def _enter(stop: Event) -> None:
    import torch

    end_with_parent()
    torch.set_num_threads(1)
    _STOP.append(stop)


def _stoppable(function: Callable[..., T], arguments: tuple[Any, ...]) -> T:
    """In the worker: a piece of work, which a request to stop ends as Ctrl-C would.

    None is begun after one.
    """
    if _STOP[0].is_set():
        raise KeyboardInterrupt
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        return function(*arguments)
    finally:
        signal.signal(signal.SIGTERM, before)


def _train(
    recipe: Recipe,
    source: DataSource,
    folder: Path,
    overwrite: bool,
    steps: MutableMapping[str, float],
) -> TrainingResult:
    """In the worker: one run, its epochs done noted in ``steps``."""
    from edgeq.training.run.loop import train

    def report(at: Progress) -> None:
        steps[str(folder)] = at.epoch + at.step / at.steps

    goes_on = not overwrite or _progress(folder, recipe) is not None
    result = train(
        recipe, source, folder, resume=goes_on, overwrite=overwrite, threads=1, report=report
    )
    steps[str(folder)] = recipe.epochs
    return result
