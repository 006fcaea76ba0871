"""Cells as tasks of a Ray cluster: https://docs.ray.io/en/latest/ray-core/tasks.html.

A task computes its cell in a folder of its own machine and sends the files back, so that nothing
need be shared between machines but edgeq and, where cells call one, somebody's own module.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgeq.deploy.sweep.work import Ended, attempt
from edgeq.errors import MissingDependency, TargetError, first_line
from edgeq.files import temporary_folder

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgeq.deploy.sweep.plan import Needs
    from edgeq.deploy.sweep.store import Store
    from edgeq.deploy.sweep.work import Task

RETRIES = 2
"""How often a task is tried again whose worker or machine was lost."""
_AHEAD = 64  # tasks handed to the cluster at a time, so that a driver holds few results


class RayEngine:
    """Tasks on a Ray cluster.

    Args:
        address: of the cluster, such as ``10.0.0.1:6379`` or ``auto``; empty for one that is
            started on this machine and ended again.

    Raises:
        MissingDependency: Ray is not installed.
        TargetError: the cluster cannot be reached.
    """

    def __init__(self, address: str = "") -> None:
        try:
            ray: Any = import_module("ray")  # which need not be there for the types to be checked
        except ImportError as error:
            raise MissingDependency("engine", "ray", "ray", ["ray"]) from error
        self._ray = ray
        try:
            ray.init(
                address=address or "local",  # None would look for one that was left behind
                include_dashboard=False,
                log_to_driver=False,
                logging_level="ERROR",
                ignore_reinit_error=True,
            )
        except Exception as error:  # Ray raises many kinds
            raise TargetError(
                f"there is no Ray cluster at {address or 'this machine'}: {first_line(error)}",
                hint="start one with `ray start --head`, and name its address",
            ) from error

    def run(self, tasks: Sequence[Task], store: Store) -> Iterator[Ended]:
        """Compute cells, and tell of each as it ends."""
        remote = self._ray.remote(max_retries=RETRIES, **_asked(tasks[0].needs))(_work)
        waiting, running = list(reversed(tasks)), dict[Any, "Task"]()
        while waiting or running:
            while waiting and len(running) < _AHEAD:
                task = waiting.pop()
                running[remote.remote(task)] = task
            (ended,), _ = self._ray.wait(list(running), num_returns=1)
            task = running.pop(ended)
            yield Ended(task.cell, self._kept(task, ended, store))

    def _kept(self, task: Task, ended: Any, store: Store) -> str:
        """Write what a task sent; gives what went wrong."""
        try:
            error, log, files = self._ray.get(ended)
        except self._ray.exceptions.RayError as lost:
            return f"its worker was lost {RETRIES + 1} times: {first_line(lost)}"
        if error:
            return f"{error} (all of it: {store.keep_log(task.cell.address, log)})"
        with store.writing(task.cell) as unfinished:
            for name, content in files.items():
                path = unfinished.folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            unfinished.whole = True
        return ""


def _asked(needs: Needs) -> dict[str, Any]:
    asked: dict[str, Any] = {
        "num_cpus": needs.cpus,
        "memory": int(needs.memory_gib * 2**30),
        "runtime_env": {"env_vars": {"OMP_NUM_THREADS": str(needs.cpus)}},
    }
    if needs.gpus:
        asked["num_gpus"] = needs.gpus
    if needs.resources:
        asked["resources"] = dict(needs.resources)
    return asked


def _work(task: Task) -> tuple[str, str, dict[str, bytes]]:
    """In the cluster: compute a cell. Gives what went wrong, the log of it, and the files."""
    with temporary_folder() as folder:
        error, log = attempt(task, folder)
        if error:
            return error, log, {}
        files = {
            str(path.relative_to(folder)): path.read_bytes()
            for path in sorted(folder.rglob("*"))
            if path.is_file()
        }
        return "", "", files
