"""The manifest of a run folder: what was run, on what, when, where, and what came of it."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.files import read_bytes, sha256_of
from edgeq.formats.artefact import files_behind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgeq.plain import Json

SCHEMA = "edgeq.run/1"
FILE = "manifest.json"
RESULT = "result.json"
"""The document of the command, as ``--json`` prints it."""
_MAX_BYTES = 1 << 24
_OUTCOMES = {
    0: "ok",
    1: "failed",
    2: "refused",
    3: "inconclusive",
    4: "not run",
    130: "interrupted",
    143: "interrupted",
}


_KINDS: dict[str, type | tuple[type, ...]] = {
    "arguments": tuple,
    "seconds": (int, float),
    "exit_code": int,
    "machine": dict,
    "inputs": tuple,
    "files": tuple,
}
"""The type of each field of a manifest that is no text."""


@dataclass(frozen=True, slots=True)
class RunFile:
    """A file that a run read or wrote.

    Attributes:
        name: its path as it was named, or inside the run folder.
        sha256: of its content.
        size_bytes: of its content.
    """

    name: str
    sha256: str
    size_bytes: int

    @classmethod
    def of(cls, name: str, content: bytes) -> RunFile:
        """A file that is about to be written."""
        return cls(name, hashlib.sha256(content).hexdigest(), len(content))


@dataclass(frozen=True, slots=True)
class Manifest:
    """What a run was.

    Attributes:
        command: the name of the command.
        arguments: all words of the command line behind ``edgeq``.
        started: when, in ISO 8601.
        seconds: how long it took.
        exit_code: of the command.
        error: what was wrong; empty where nothing was.
        revision: the git revision of the folder it ran in; empty outside of one.
        edgeq_version: ours.
        machine: that it ran on; see :class:`edgeq.machine.Machine`.
        inputs: the files that the command line names.
        files: what the folder holds beside the manifest.
    """

    command: str
    arguments: tuple[str, ...]
    started: str
    seconds: float
    exit_code: int
    error: str
    revision: str
    edgeq_version: str
    machine: Mapping[str, Json]
    inputs: tuple[RunFile, ...]
    files: tuple[RunFile, ...]

    @property
    def outcome(self) -> str:
        """What the exit code says, in words."""
        return _OUTCOMES.get(self.exit_code, "broken")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a run folder.

    Raises:
        ArtefactError: there is none, or it is not what it has to be.
    """
    path = folder / FILE
    content = read_bytes(path, "manifest of a run", limit=_MAX_BYTES)
    broken = ArtefactError(
        f"{path} is no manifest of a run", hint="--run DIR of edgeq compare and others writes one"
    )
    try:
        document = json.loads(content)
        if document.pop("schema") != SCHEMA:
            raise broken
        inputs, files = _files(document.pop("inputs")), _files(document.pop("files"))
        arguments = tuple(map(str, document.pop("arguments")))
        made = Manifest(arguments=arguments, inputs=inputs, files=files, **document)
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise broken from error
    for field in fields(made):
        value, kind = getattr(made, field.name), _KINDS.get(field.name, str)
        if not isinstance(value, kind) or isinstance(value, bool):
            raise broken
    return made


def _files(given: Iterable[Mapping[str, object]]) -> tuple[RunFile, ...]:
    return tuple(
        RunFile(str(each["name"]), str(each["sha256"]), int(str(each["size_bytes"])))
        for each in given
    )


def inputs_of(arguments: Iterable[str]) -> tuple[RunFile, ...]:
    """The files that a command line names, each once; folders are not looked into."""
    names = dict.fromkeys(
        part
        for argument in arguments
        for part in (argument, argument.partition("=")[2])
        if part and not part.startswith("-")
    )
    return tuple(
        RunFile(str(file), sha256_of(file), file.stat().st_size)
        for name in names
        if _is_file(name)
        for file in files_behind(Path(name))
    )


def _is_file(name: str) -> bool:
    try:
        return Path(name).is_file()
    except (OSError, ValueError):  # longer than a name may be, or with a zero in it
        return False


def git_revision() -> str:
    """The revision that is checked out here; empty where git knows of none."""
    git = shutil.which("git")
    if git is None:
        return ""
    done = subprocess.run(
        [git, "rev-parse", "HEAD"], capture_output=True, encoding="utf-8", check=False, timeout=10
    )
    return done.stdout.strip() if done.returncode == 0 else ""
