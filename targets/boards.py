"""The user's own places to run: boards, containers and environments, described in a TOML file.

The file is ``edgeq-targets.toml`` in the working directory or in the user's configuration folder, or the one that
``EDGEQ_TARGETS`` names. Each table is a target of that name. A table with the name of an installed target that runs in a
worker may change its limits and nothing else.
"""

from __future__ import annotations

import os
import tomllib
from dataclasses import MISSING, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.errors import UnknownName, UsageError
from edgeq.registry import Registry
from edgeq.targets.workers.launchers import Container, Here, Interpreter, Qemu, Ssh
from edgeq.targets.workers.process import Limits
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgeq.target import Capabilities, Target
    from edgeq.targets.workers.launchers import Launcher

VARIABLE = "EDGEQ_TARGETS"
FILE = "edgeq-targets.toml"
MAX_BYTES = 2**20
RESERVED = ("setup", "show")  # what stands behind `edgeq targets` already
LAUNCHERS: Mapping[str, type[Any] | None] = {
    "here": Here,
    "interpreter": Interpreter,
    "environment": None,  # one that `edgeq targets setup` makes
    "qemu": Qemu,
    "container": Container,
    "ssh": Ssh,
}
_LIMITS = ("open_seconds", "run_seconds", "memory_mb")
_OWN = ("launcher", "engine", "options", "summary", "requirements", *_LIMITS)
_MEND = "docs/reference/targets.md lists what may stand there"


def files() -> list[Path]:
    """The files that are read, the one that wins last.

    Raises:
        UsageError: the one that the environment names is not there.
    """
    named = os.environ.get(VARIABLE)
    if named:
        if not Path(named).is_file():
            raise UsageError(f"{VARIABLE} names {named}, and no file is there", mend="correct or unset it")
        return [Path(named)]
    config = os.environ.get("XDG_CONFIG_HOME")
    places = (Path(config) if config else Path.home() / ".config") / "edgeq", Path.cwd()
    return [place / FILE for place in places if (place / FILE).is_file()]


class Boards:
    """The targets of those files."""

    def names(self) -> list[str]:
        """Their names, without those that only change an installed target."""
        installed = Registry["Target"]("target").names()
        return [name for name in self._tables() if name not in installed]

    def load(self, name: str) -> Target:
        """One of them.

        Raises:
            UsageError: its table is wrong.
        """
        return self._tables()[name].target()

    def adjust(self, name: str, target: Target) -> Target:
        """An installed target with the limits that its table gives.

        Raises:
            UsageError: its table is wrong, or the target runs in no worker.
        """
        table = self._tables().get(name)
        if table is None:
            return target
        if not isinstance(target, WorkerTarget):
            raise table.wrong("is an installed target that runs in no worker", "choose another name")
        table.refuse_others(_LIMITS)
        return replace(target, limits=table.limits(target.limits))

    def _tables(self) -> dict[str, _Table]:
        return {name: _Table(path, name, content) for path in files() for name, content in _parsed(path).items()}


source = Boards()


def _parsed(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path} has more than {MAX_BYTES} bytes", mend="is it the right file?")
        return tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", mend="check its permissions") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{path} is no TOML: {error}", mend="correct it there") from error


class _Table:
    """One table of a file."""

    def __init__(self, path: Path, name: str, content: Any) -> None:
        self.path, self.name, self.content = path, name, content
        if not isinstance(content, dict):
            raise self.wrong("is no table", f"write [{name}] in a line of its own")
        if name in RESERVED:
            raise self.wrong("is a word of the command line", "choose another name")

    def wrong(self, what: str, mend: str = _MEND) -> UsageError:
        return UsageError(f"{self.path}: {self.name} {what}", mend=mend)

    def refuse_others(self, known: tuple[str, ...]) -> None:
        strangers = sorted(set(self.content) - set(known))
        if strangers:
            raise self.wrong(f"has the key {strangers[0]!r}, which is not known here", f"known: {', '.join(known)}")

    def target(self) -> WorkerTarget:
        kind = self._get("launcher", str)
        if kind not in LAUNCHERS:
            raise self.wrong(f"has the launcher {kind!r}", f"choose one of {', '.join(LAUNCHERS)}")
        launcher = LAUNCHERS[kind]
        self.refuse_others((*_OWN, *((field.name for field in fields(launcher)) if launcher is not None else ())))
        place: Launcher | None = self._launcher(launcher) if launcher is not None else None
        base = self._base()
        what = self._get("summary", str, "") or f"{base.capabilities.summary}, {place.place if place else 'its own environment'}"
        return replace(
            base,
            name=self.name,
            capabilities=replace(base.capabilities, summary=what, on_request=True),
            requirements=self._requirements(base, needed=launcher is None),
            modules=(),
            launcher=place,
            limits=self.limits(base.limits),
        )

    def limits(self, default: Limits) -> Limits:
        memory = self._get("memory_mb", int, 0)
        times = {name: float(self._get(name, (int, float), getattr(default, name))) for name in _LIMITS[:2]}
        if memory < 0 or min(times.values()) <= 0:
            raise self.wrong("has a limit below zero", "give seconds and megabytes above zero")
        return Limits(**times, memory_bytes=memory * 2**20 or default.memory_bytes)

    def _base(self) -> WorkerTarget:
        """The target whose engine runs there, with its options."""
        engine, options = self._get("engine", str), self._get("options", dict, {})
        if engine in _ENGINES:
            try:
                return WorkerTarget(self.name, _ENGINES[engine](options), engine, options=options)
            except KeyError as error:
                raise self.wrong(f"has the option {error}, which its engine does not know") from error
        installed = Registry["Target"]("target")
        known = {name: installed.load(name) for name in installed.names() if name == engine}
        target = known.get(engine)
        if not isinstance(target, WorkerTarget):
            raise UnknownName(f"engine for {self.name} ({self.path})", engine, [*_ENGINES, "or an installed target that runs in a worker"])
        return replace(target, options={**target.options, **options})

    def _requirements(self, base: WorkerTarget, *, needed: bool) -> tuple[str, ...]:
        given = tuple(self._get("requirements", list, list(base.requirements)))
        if not all(isinstance(each, str) and "==" in each for each in given):
            raise self.wrong("has requirements that are not exact", 'write each as "package==version"')
        if needed and not given:
            raise self.wrong("has no requirements", 'list what its environment needs: requirements = ["package==version"]')
        return given if needed else ()

    def _launcher(self, kind: type[Any]) -> Launcher:
        given = {}
        for field in fields(kind):
            if field.name in self.content:
                given[field.name] = self._converted(field.name, str(field.type))
            elif field.default is MISSING:
                raise self.wrong(f"lacks the key {field.name!r}", f"a launcher of this kind needs it; {_MEND}")
        launcher: Launcher = kind(**given)
        return launcher

    def _converted(self, key: str, kind: str) -> Any:
        if kind.startswith("Path"):
            return self.path.absolute().parent / Path(self._get(key, str)).expanduser()
        if kind.startswith("tuple"):
            return tuple(str(each) for each in self._get(key, list))
        return self._get(key, int if kind.startswith("int") else str)

    def _get(self, key: str, kind: Any, default: Any = MISSING) -> Any:
        value = self.content.get(key, default)
        if value is MISSING:
            raise self.wrong(f"lacks the key {key!r}")
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = " or ".join(each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,)))
            raise self.wrong(f"has {key} = {value!r}, which is no {wanted}")
        return value


def _tflite(options: Mapping[str, Any]) -> Capabilities:
    from edgeq.targets import tflite

    kernels = {"xnnpack": tflite.xnnpack, "builtin": tflite.builtin, "reference": tflite.reference}
    return kernels[options.get("kernels", "xnnpack")].capabilities


def _ort(options: Mapping[str, Any]) -> Capabilities:
    from edgeq.targets import ort

    base = ort.cpu if options.get("optimize", True) else ort.cpu_reference
    return replace(base.capabilities, intermediates=False)


_ENGINES: Mapping[str, Callable[[Mapping[str, Any]], Capabilities]] = {"tflite": _tflite, "ort": _ort}
