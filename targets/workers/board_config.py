"""One table of the user's file of boards, made into a target.

Every wrong key or value is named with its place.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import MISSING, fields, replace
from typing import TYPE_CHECKING, Any

from edgeq.errors import UnknownName, UsageError
from edgeq.registry import Registry
from edgeq.targets.workers.launchers import Container, Here, Interpreter, Qemu, Ssh
from edgeq.targets.workers.process import Limits
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from pathlib import Path

    from edgeq.target import Capabilities, Target
    from edgeq.targets.workers.launchers import Launcher

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
_FILES = ("config",)  # options of engines that are files of this machine
_HINT = "docs/reference/targets.md lists what may stand there"


class BoardTable:
    """One table.

    Args:
        path: the file.
        name: the table's, and so the target's.
        content: what TOML made of it.

    Raises:
        UsageError: it is no table, or has a name that cannot be.
    """

    def __init__(self, path: Path, name: str, content: Any) -> None:
        self.path, self.name, self.content = path, name, content
        if not isinstance(content, dict):
            raise self.wrong("is no table", f"write [{name}] in a line of its own")
        if name in RESERVED:
            raise self.wrong("is a word of the command line", "choose another name")
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
            raise self.wrong(
                "has a name that cannot be typed",
                "use letters, digits, dots, hyphens and underscores",
            )

    def adjusted(self, target: Target) -> WorkerTarget:
        """An installed target with the limits given here.

        Raises:
            UsageError: something else is given too, or the target runs in no worker.
        """
        if not isinstance(target, WorkerTarget):
            raise self.wrong("is an installed target that runs in no worker", "choose another name")
        self._refuse_others(_LIMITS)
        return replace(target, limits=self._limits(target.limits))

    def wrong(self, what: str, hint: str = _HINT) -> UsageError:
        """The error that names this table."""
        return UsageError(f"{self.path}: {self.name} {what}", hint=hint)

    def _refuse_others(self, known: tuple[str, ...]) -> None:
        unknown_keys = sorted(set(self.content) - set(known))
        if unknown_keys:
            raise self.wrong(
                f"has the key {unknown_keys[0]!r}, which is not known here",
                f"known: {', '.join(known)}",
            )

    def target(self) -> WorkerTarget:
        """The target that is described here.

        Raises:
            UsageError: a key is missing, unknown, or has a value that cannot be.
        """
        kind = self._get("launcher", str)
        if kind not in LAUNCHERS:
            raise self.wrong(f"has the launcher {kind!r}", f"choose one of {', '.join(LAUNCHERS)}")
        launcher = LAUNCHERS[kind]
        self._refuse_others(
            (*_OWN, *((field.name for field in fields(launcher)) if launcher is not None else ()))
        )
        place: Launcher | None = self._launcher(launcher) if launcher is not None else None
        base = self._base()
        can = (
            base.capabilities if kind != "qemu" else replace(base.capabilities, latency="simulated")
        )
        what = (
            self._get("summary", str, "")
            or f"{base.capabilities.summary}, {place.place if place else 'its own environment'}"
        )
        return replace(
            base,
            name=self.name,
            capabilities=replace(can, summary=what, on_request=True),
            requirements=self._requirements(base, needed=launcher is None),
            modules=(),
            launcher=place,
            limits=self._limits(base.limits),
        )

    def _limits(self, default: Limits) -> Limits:
        memory = self._get("memory_mb", int, 0)
        times = {
            name: float(self._get(name, (int, float), getattr(default, name)))
            for name in _LIMITS[:2]
        }
        if memory < 0 or min(times.values()) <= 0:
            raise self.wrong("has a limit below zero", "give seconds and megabytes above zero")
        return Limits(**times, memory_bytes=memory * 2**20 or default.memory_bytes)

    def _base(self) -> WorkerTarget:
        """The target whose engine runs there, with its options."""
        engine, options = self._get("engine", str), self._get("options", dict, {})
        if engine in _ENGINES:
            self._refuse_options(options, _CHOICES[engine])
            self._refuse_values(options, _CHOICES[engine])
            return WorkerTarget(self.name, _ENGINES[engine](options), engine, options=options)
        installed = Registry["Target"]("target")
        known = {name: installed.load(name) for name in installed.names() if name == engine}
        target = known.get(engine)
        if not isinstance(target, WorkerTarget):
            raise UnknownName(
                f"engine for {self.name} ({self.path})",
                engine,
                [*_ENGINES, "or an installed target that runs in a worker"],
            )
        self._refuse_options(options, target.options)
        paths = {key: str(self._beside(str(options[key]))) for key in _FILES if key in options}
        return replace(target, options={**target.options, **options, **paths})

    def _refuse_options(self, options: Mapping[str, Any], known: Iterable[str]) -> None:
        unknown_keys = sorted(set(options) - set(known))
        if unknown_keys:
            hint = (
                f"known: {', '.join(known)}"
                if known
                else "leave it out; this engine has no options"
            )
            raise self.wrong(
                f"has the option {unknown_keys[0]!r}, which its engine does not know", hint
            )

    def _refuse_values(
        self, options: Mapping[str, Any], choices: Mapping[str, tuple[object, ...]]
    ) -> None:
        for key, value in options.items():
            if value not in choices[key]:
                # as TOML writes strings and booleans, too
                known = ", ".join(json.dumps(choice) for choice in choices[key])
                what = (
                    f"has the option {key} = {json.dumps(value, default=str)}, which its "
                    "engine does not know"
                )
                raise self.wrong(what, f"choose one of {known}")

    def _requirements(self, base: WorkerTarget, *, needed: bool) -> tuple[str, ...]:
        given = tuple(self._get("requirements", list, list(base.requirements)))
        if not all(isinstance(each, str) and "==" in each for each in given):
            raise self.wrong(
                "has requirements that are not exact", 'write each as "package==version"'
            )
        if needed and not given:
            raise self.wrong(
                "has no requirements",
                'list what its environment needs: requirements = ["package==version"]',
            )
        return given if needed else ()

    def _launcher(self, kind: type[Any]) -> Launcher:
        given = {}
        for field in fields(kind):
            if field.name in self.content:
                given[field.name] = self._converted(field.name, str(field.type))
            elif field.default is MISSING:
                raise self.wrong(
                    f"lacks the key {field.name!r}", f"a launcher of this kind needs it; {_HINT}"
                )
        launcher: Launcher = kind(**given)
        return launcher

    def _converted(self, key: str, kind: str) -> Any:
        if kind.startswith("Path"):
            return self._beside(self._get(key, str))
        if kind.startswith("tuple"):
            return tuple(str(each) for each in self._get(key, list))
        return self._get(key, int if kind.startswith("int") else str)

    def _beside(self, path: str) -> Path:
        return self.path.absolute().parent / os.path.expanduser(path)  # noqa: PTH111  nothing raised

    def _get(self, key: str, kind: Any, default: Any = MISSING) -> Any:
        value = self.content.get(key, default)
        if value is MISSING:
            raise self.wrong(f"lacks the key {key!r}")
        if not isinstance(value, kind) or isinstance(value, bool):
            wanted = " or ".join(
                each.__name__ for each in (kind if isinstance(kind, tuple) else (kind,))
            )
            raise self.wrong(f"has {key} = {value!r}, which is no {wanted}")
        return value


def _tflite(options: Mapping[str, Any]) -> Capabilities:
    return _installed(_KERNELS[options.get("kernels", "xnnpack")])


def _ort(options: Mapping[str, Any]) -> Capabilities:
    installed = _installed("ort-cpu" if options.get("optimize", True) else "ort-cpu-ref")
    return replace(installed, intermediates=False)


def _installed(name: str) -> Capabilities:
    """What the target of this machine can run, whose engine is the same."""
    installed = Registry["Target"]("target").load(name)
    return replace(installed.capabilities, reference=False, link=None)


_KERNELS = {"xnnpack": "tflite", "builtin": "tflite-builtin", "reference": "tflite-ref"}
_ENGINES: Mapping[str, Callable[[Mapping[str, Any]], Capabilities]] = {
    "tflite": _tflite,
    "ort": _ort,
}
_CHOICES: Mapping[str, Mapping[str, tuple[object, ...]]] = {  # engine → option → its values
    "tflite": {
        "kernels": tuple(_KERNELS),
        "module": (
            "ai_edge_litert.interpreter",
            "tflite_runtime.interpreter",
            "tensorflow.lite.python.interpreter",
        ),
    },
    "ort": {"optimize": (True, False)},
}
