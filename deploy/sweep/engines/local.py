"""Cells in processes of this machine, within its cores and its memory."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING

from edgeq.deploy.pipeline.parallel_training import (
    end_with_parent,
    not_heard,
    threads_of_processes,
)
from edgeq.deploy.sweep.engines.inputs import check_data
from edgeq.deploy.sweep.store import Store
from edgeq.deploy.sweep.work import Ended, attempt
from edgeq.errors import TargetError
from edgeq.machine import memory_bytes, usable_cores

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Sequence
    from pathlib import Path

    from edgeq.deploy.sweep.plan import Needs
    from edgeq.deploy.sweep.work import Task

ATTEMPTS = 3
"""Processes that a cell may cost before it is given up."""
_AHEAD = 4  # cells handed to each process beforehand: enough to keep it busy, few enough to hold


def processes_for(needs: Needs, jobs: int | None) -> int:
    """How many cells fit beside each other into the cores and the memory that there are."""
    fitting = max(usable_cores() // needs.cpus, 1)
    if needs.memory_gib:
        held = memory_bytes()
        if held is not None:
            fitting = min(fitting, max(int(held / 2**30 / needs.memory_gib), 1))
    for amount in needs.resources.values():
        fitting = min(fitting, max(int(1 / amount), 1)) if amount else fitting
    return min(fitting, jobs or fitting)


class LocalEngine:
    """Processes on this machine; one that dies is replaced, and its cell tried again.

    Args:
        jobs: processes at most; None for as many as fit.
    """

    def __init__(self, jobs: int | None = None) -> None:
        self._jobs = jobs

    def run(self, tasks: Sequence[Task], store: Store) -> Iterator[Ended]:
        """Compute cells, and tell of each as it ends.

        Raises:
            TargetError: no process can be started.
            UsageError: data that cells name cannot be read here.
        """
        check_data(tasks)
        left, lost = list(tasks), dict.fromkeys((task.cell.address for task in tasks), 0)
        in_vain = 0
        while left:
            before = len(left), sum(lost.values())
            left = yield from self._until_one_dies(left, store, lost)
            in_vain = in_vain + 1 if (len(left), sum(lost.values())) == before else 0
            if in_vain == ATTEMPTS:
                raise TargetError(
                    f"the processes for cells ended {ATTEMPTS} times before they began one",
                    hint="what they wrote is above; can this user start Python, is there memory?",
                )

    def _until_one_dies(
        self, tasks: Sequence[Task], store: Store, lost: dict[str, int]
    ) -> Generator[Ended, None, list[Task]]:
        """Gives the cells that are left, where a process died."""
        count = processes_for(tasks[0].needs, self._jobs)
        context = multiprocessing.get_context("spawn")
        others = set(multiprocessing.active_children())
        waiting, running = list(reversed(tasks)), dict[Future[str], "Task"]()
        with threads_of_processes(tasks[0].needs.cpus):
            pool = ProcessPoolExecutor(count, context, end_with_parent)
            try:
                while waiting or running:
                    while waiting and len(running) < count * _AHEAD:
                        task = waiting.pop()
                        with not_heard():
                            running[pool.submit(_work, task, store.root)] = task
                    ended, _ = wait(running, return_when=FIRST_COMPLETED)
                    for future in ended:
                        yield Ended(running[future].cell, future.result())
                        del running[future]
            except BrokenProcessPool:
                pool.shutdown(cancel_futures=True)  # all of its processes are gone, then
                again = self._blamed(list(running.values()), store, lost)
                gone = [task for task in running.values() if task not in again]
                for task in gone:
                    yield Ended(task.cell, "its process died, three times: is there memory enough?")
                return [*again, *reversed(waiting)]
            except BaseException:
                # killed, as training takes any other signal for a wish and ends its epoch
                for process in set(multiprocessing.active_children()) - others:
                    process.kill()
                    process.join()
                for task in running.values():
                    store.discard_unfinished(task.cell.address)
                raise
            finally:
                pool.shutdown(cancel_futures=True)
        return []

    @staticmethod
    def _blamed(running: list[Task], store: Store, lost: dict[str, int]) -> list[Task]:
        """Those to be tried again: all but what has cost too many processes."""
        begun = [task for task in running if store.discard_unfinished(task.cell.address)]
        for task in begun:
            lost[task.cell.address] += 1
        return [task for task in running if lost[task.cell.address] < ATTEMPTS]


def _work(task: Task, root: Path) -> str:
    """In the process: compute a cell into the store. Gives what went wrong."""
    store = Store(root)
    with store.writing(task.cell) as unfinished:
        error, log = attempt(task, unfinished.folder)
        unfinished.whole = not error
    return f"{error} (all of it: {store.keep_log(task.cell.address, log)})" if error else ""
