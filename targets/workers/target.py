"""A target whose runtime lives in a worker.

Data about it, and how its worker is found and opened.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from typing import TYPE_CHECKING

from edgeq.errors import TargetError, UsageError
from edgeq.target import Availability
from edgeq.targets.common.probe import require_format
from edgeq.targets.workers.launchers import Here, Interpreter
from edgeq.targets.workers.process import Limits, Worker
from edgeq.targets.workers.provisioning import environments

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeq.target import Capabilities
    from edgeq.targets.workers.bare import BareRuntime
    from edgeq.targets.workers.boundary import Sendable
    from edgeq.targets.workers.launchers import Launcher
    from edgeq.targets.workers.session import WorkerSession


@dataclass(frozen=True, slots=True)
class WorkerTarget:
    """A runtime in a process of its own.

    Attributes:
        name: the word that users type.
        capabilities: what it can run.
        engine: the file of :mod:`edgeq.targets.workers.engines`.
        requirements: what ``edgeq targets setup`` installs, exactly pinned; empty where it cannot.
        modules: what has to be importable for this interpreter to do as well; empty where it never
            does.
        options: of the engine.
        launcher: the one place to run; None for an environment that was set up, else this
            interpreter.
        limits: time and memory.
    """

    name: str
    capabilities: Capabilities
    engine: str
    requirements: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    options: Mapping[str, object] = field(default_factory=dict)
    launcher: Launcher | None = None
    limits: Limits = field(default_factory=Limits)

    def probe(self) -> Availability:
        """Whether there is a place to run; a place far away is asked, once a process."""
        if self.launcher is not None:
            return _asked(self.launcher, self.engine, self.limits.open_seconds)
        found = self._found()
        if isinstance(found, TargetError):
            return Availability(usable=False, why_not=found.what, hint=found.hint)
        return Availability(usable=True, versions=self._versions(found))

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> WorkerSession:
        """Load an artefact in a new worker; see :meth:`edgeq.target.Target.open`."""
        from edgeq.targets.workers.boundary import read

        require_format(artefact, self.capabilities)
        return self.start(
            read(artefact, qoperator=self.capabilities.qoperator),
            threads=threads,
            intermediates=intermediates,
        )

    def start(
        self, model: Sendable, *, threads: int = 1, intermediates: bool = False
    ) -> WorkerSession:
        """Load what was read of an artefact in a new worker.

        Raises:
            ArtefactError: the model cannot be fed by edgeq.
            TargetError: there is no place to run, or the runtime refuses the model.
        """
        from edgeq.targets.workers.session import WorkerSession

        worker = Worker(self.place(), self.engine, seconds=self.limits.open_seconds)
        options = {
            **self.options,
            "threads": threads,
            "intermediates": intermediates and self.capabilities.intermediates,
        }
        try:
            return WorkerSession(
                worker, model, options, self.limits, readable=self.capabilities.intermediates
            )
        except BaseException:
            worker.close()
            raise

    def alone(self, artefact: Path, *, threads: int = 1, batch: int = 1) -> BareRuntime:
        """Load an artefact in a new worker; see :meth:`edgeq.target.Startable.alone`."""
        from edgeq.targets.workers.boundary import read

        require_format(artefact, self.capabilities)
        content = read(artefact, qoperator=self.capabilities.qoperator).content
        return self.start_alone(content, threads=threads, batch=batch)

    def start_alone(self, content: bytes, *, threads: int = 1, batch: int = 1) -> BareRuntime:
        """Load the content of a model in a new worker.

        Raises:
            ArtefactError: the runtime cannot load it.
            TargetError: there is no place to run, or the runtime refuses the model or the batch.
        """
        from edgeq.targets.workers.bare import BareRuntime

        worker = Worker(self.place(), self.engine, seconds=self.limits.open_seconds)
        options = {**self.options, "threads": threads, "intermediates": False, "batch": batch}
        try:
            return BareRuntime(worker, content, options, self.limits)
        except BaseException:
            worker.close()
            raise

    def setup(
        self, *, force: bool = False, say: Callable[[str], None] = lambda _text: None
    ) -> Path:
        """Make its environment; see :func:`edgeq.targets.workers.provisioning.environments.make`.

        Raises:
            UsageError: it needs none.
        """
        if self.launcher is not None or not self.requirements:
            raise UsageError(
                f"the target {self.name!r} has no environment to set up",
                hint=f"see edgeq targets {self.name}",
            )
        return environments.make(self.requirements, self.engine, force=force, say=say)

    def place(self) -> Launcher:
        """Where its workers are started.

        Raises:
            TargetError: nowhere; with how to make a place.
        """
        found = self.launcher or self._found()
        if isinstance(found, TargetError):
            raise found
        return found

    def _found(self) -> Launcher | TargetError:
        python = environments.python_of(self.requirements) if self.requirements else None
        if python is not None:
            return Interpreter(python)
        if self.modules and all(_importable(module) for module in self.modules):
            return Here()
        needed = " and ".join(environments.names(self.requirements) or self.modules)
        return TargetError(
            f"there is no environment with {needed} yet",
            hint=f"edgeq targets setup {self.name}",
        )

    def _versions(self, place: Launcher) -> Mapping[str, str]:
        told = environments.versions_of(self.requirements) if isinstance(place, Interpreter) else {}
        return (
            told
            or _installed(environments.names(self.requirements))
            or dict.fromkeys(self.modules, "unknown")
        )


@lru_cache
def _asked(launcher: Launcher, engine: str, seconds: float) -> Availability:
    try:
        with Worker(launcher, engine, seconds=seconds) as worker:
            told = worker.ask("versions", seconds=seconds).header.get("versions")
    except TargetError as error:
        return Availability(usable=False, why_not=error.what, hint=error.hint)
    versions = (
        {str(name): str(number) for name, number in told.items()} if isinstance(told, dict) else {}
    )
    return Availability(usable=True, versions=versions)


def _importable(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except (ImportError, ValueError):
        return False


def _installed(distributions: Sequence[str]) -> dict[str, str]:
    found: dict[str, str] = {}
    for name in distributions:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
