"""Names as users give them to flags: one by one or with commas, and completed by their shell."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from edgeq.errors import UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

COMPLETING = "_EDGEQ_COMPLETE"
"""The variable by which a shell asks what can stand at a place."""
_MODELS = (".onnx", ".tflite", ".safetensors", ".toml")


def one_by_one(kind: str, given: Sequence[str], known: Collection[str]) -> list[str]:
    """The names, in the order given.

    What follows a comma and is no name belongs to the name before it where that has a kind of its
    own, as in ``ethos-u55:256,Ethos_U55_Deep_Embedded,Sram_Only``.

    Args:
        kind: what they are names of, for messages.
        given: what stood behind each flag.
        known: the names; ``NAME:KIND`` counts as ``NAME``.

    Raises:
        UnknownName: one is not known; offers the nearest.
        UsageError: nothing is named.
    """
    names: list[str] = []
    for text in given:
        pieces = [piece.strip() for piece in text.split(",") if piece.strip()]
        if not pieces:
            raise UsageError(
                f"a {kind} is asked for and not named",
                hint=f"name one of {', '.join(sorted(known))}",
            )
        for i, piece in enumerate(pieces):
            if i and _whole(piece) not in known and ":" in names[-1]:
                names[-1] += f",{piece}"
            else:
                names.append(piece)
    for name in names:
        if name not in known and _whole(name) not in known:
            raise UnknownName(kind, name, known)
    return list(dict.fromkeys(names))


def _whole(name: str) -> str:
    return name.partition(":")[0]


def targets(given: list[str] | None) -> list[str] | None:
    """The targets of ``--target``; None where none is named."""
    return one_by_one("target", given, _targets()) if given else None


def dialects(given: list[str] | None) -> list[str] | None:
    """The targets of ``--for``, and runtimes of which only the dialect is known.

    None where none is named.
    """
    return one_by_one("target", given, _dialects()) if given else None


def formats(given: list[str] | None) -> list[str] | None:
    """The formats of ``--to``; None where none is named."""
    return one_by_one("exporter", given, _formats()) if given else None


def tensors(given: list[str] | None) -> list[str] | None:
    """The tensors of ``--outputs``; None where none is named."""
    pieces = [piece.strip() for text in given or () for piece in text.split(",")]
    return [piece for piece in pieces if piece] or None


def complete(command: Any) -> None:
    """Let a shell complete targets, data sets, devices, formats, tasks, networks and files.

    It is called only where a shell asks, so that nothing else waits for the tables of names.

    Args:
        command: of click's, with all commands below it.
    """
    for parameter in command.params:
        known = _known(command.name, parameter)
        if known is not None:
            vars(parameter)["shell_complete"] = _completer(known)
        elif _takes_files(parameter) and not os.environ[COMPLETING].endswith("_bash"):
            vars(parameter)["shell_complete"] = _files  # bash has its own way, with folders
    if command.name == "targets":
        own, named = command.shell_complete, _completer(_targets)
        vars(command)["shell_complete"] = lambda context, incomplete: [
            *own(context, incomplete),
            *named(context, incomplete),
        ]
    for child in getattr(command, "commands", {}).values():
        complete(child)


def _known(command: str, parameter: Any) -> Callable[[], Collection[str]] | None:
    """What gives the names that can stand at a place; None where they are files or anything."""
    if parameter.param_type_name == "argument":
        return {
            "show": _targets,
            "setup": _targets,
            "data": _datasets,
            "devices": _devices,
            "train": _networks,
        }.get(command)
    tables = {
        "--target": _targets,
        "--against": _targets,
        "--for": _dialects,
        "--to": _formats,
        "--data": _datasets,
        "--verify": _datasets,
        "--device": _devices,
        "--task": _tasks,
    }
    return next((tables[name] for name in parameter.opts if name in tables), None)


def _takes_files(parameter: Any) -> bool:
    return parameter.param_type_name == "argument" or parameter.metavar in ("FILE", "PATH", "DIR")


def _files(_context: object, incomplete: str) -> list[SimpleNamespace]:
    """Folders, and the files that some command reads."""
    folder, slash, last = incomplete.rpartition("/")
    try:
        paths = sorted(Path(folder + slash or ".").iterdir())
    except OSError:
        return []
    return [
        _item(f"{folder}{slash}{path.name}{'/' if path.is_dir() else ''}")
        for path in paths
        if path.name.startswith(last) and (path.is_dir() or path.suffix in _MODELS)
    ]


def _item(value: str) -> SimpleNamespace:
    return SimpleNamespace(value=value, type="plain", help=None)


def _completer(known: Callable[[], Collection[str]]) -> Callable[..., list[SimpleNamespace]]:
    def items(_context: object, incomplete: str) -> list[SimpleNamespace]:
        before, comma, last = incomplete.rpartition(",")
        return [
            _item(f"{before}{comma}{name}") for name in sorted(known()) if name.startswith(last)
        ]

    return items


def _targets() -> Collection[str]:
    from edgeq.target import TARGETS

    return TARGETS.names()


def _dialects() -> Collection[str]:
    from edgeq.formats.dialect import DIALECTS

    return {*_targets(), *DIALECTS}


def _formats() -> Collection[str]:
    from edgeq.exporter import EXPORTERS

    return EXPORTERS.names()


def _datasets() -> Collection[str]:
    from edgeq.data import DATASETS, GRAPHS

    return {*DATASETS.names(), *GRAPHS.names()}


def _devices() -> Collection[str]:
    from edgeq.targets.devices import names

    return names()


def _tasks() -> Collection[str]:
    from edgeq.tasks import TASKS

    return TASKS.names()


def _networks() -> Collection[str]:
    from edgeq.models.zoo import names

    return names()


def counts(given: list[str] | None) -> list[str] | None:
    """Whole numbers of 1 or more; None where none is given.

    Raises:
        UsageError: one is none.
    """
    pieces = [piece.strip() for text in given or () for piece in text.split(",") if piece.strip()]
    for piece in pieces:
        if not piece.isdecimal() or not int(piece):
            raise UsageError(
                f"{piece!r} is no whole number of 1 or more", hint="write such as 1,4,16"
            )
    return list(dict.fromkeys(pieces)) or None
