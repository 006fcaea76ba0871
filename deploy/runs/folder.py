"""Run folders: refused early, and written whole once a command has answered."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import edgeq
from edgeq.deploy.runs.manifest import (
    FILE,
    RESULT,
    SCHEMA,
    Manifest,
    RunFile,
    git_revision,
    inputs_of,
    read_manifest,
)
from edgeq.errors import ArtefactError, OutputError, UsageError
from edgeq.files import check_folder, read_bytes, write_folder
from edgeq.machine import fingerprint
from edgeq.plain import record

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from edgeq.errors import EdgeqError, Interrupted
    from edgeq.plain import Json

_MAX_BYTES = 1 << 30
_DEEPEST = 3  # folders below a root in which runs are looked for


@dataclass(frozen=True, slots=True, repr=False)
class Run:
    """A run folder that was read.

    Attributes:
        folder: where it is.
        manifest: what was run.
    """

    folder: Path
    manifest: Manifest

    def __repr__(self) -> str:
        return f"Run({str(self.folder)!r}, {self.manifest.command!r}, {self.manifest.started!r})"

    @classmethod
    def read(cls, folder: Path) -> Run:
        """A run folder.

        Raises:
            ArtefactError: it is none, or its manifest is broken.
        """
        return cls(folder, read_manifest(folder))

    def document(self) -> dict[str, Json]:
        """The document of the command.

        Raises:
            ArtefactError: it is missing or broken.
        """
        path = self.folder / RESULT
        try:
            document = json.loads(read_bytes(path, "result of a run", limit=_MAX_BYTES))
        except ValueError as error:
            raise ArtefactError(f"{path} is no JSON", hint="run the command again") from error
        if not isinstance(document, dict):
            raise ArtefactError(f"{path} holds no document", hint="run the command again")
        return document


def check_new(folder: Path) -> None:
    """Refuse early, before long work, a folder that a run cannot be kept in.

    Raises:
        OutputError: it exists, or cannot be written.
    """
    if folder.exists():
        raise OutputError(
            f"{folder} exists already, and a run is kept in a folder of its own",
            hint="name another with --run; edgeq runs lists those that are there",
        )
    check_folder(folder)


def keep_run(
    folder: Path,
    document: Mapping[str, Json],
    arguments: Sequence[str],
    error: EdgeqError | Interrupted | None,
    started: datetime,
    seconds: float,
    files: Mapping[str, bytes],
) -> None:
    """Write a run folder.

    Args:
        folder: that :func:`check_new` let pass.
        document: of the command.
        arguments: its command line, without ``edgeq``.
        error: what it ended with.
        started: when.
        seconds: how long it took.
        files: what else belongs to the run, by name.

    Raises:
        OutputError: it cannot be written.
    """
    result = _as_json(document)
    held = {RESULT: result, **files}
    manifest = Manifest(
        command=str(document["schema"]).removeprefix("edgeq.").partition("/")[0],
        arguments=tuple(arguments),
        started=started.isoformat(timespec="seconds"),
        seconds=round(seconds, 3),
        exit_code=error.exit_code if error is not None else 0,
        error=error.what if error is not None else "",
        revision=git_revision(),
        edgeq_version=edgeq.__version__,
        machine=record(fingerprint()),
        inputs=inputs_of(arguments),
        files=tuple(RunFile.of(name, content) for name, content in held.items()),
    )
    told = _as_json({"schema": SCHEMA, **record(manifest)})
    write_folder(folder, {FILE: told, **held})


def _as_json(content: Mapping[str, Json]) -> bytes:
    """In UTF-8, with JSON's own escapes for names of files that are not."""
    text = json.dumps(content, indent=2, ensure_ascii=False)
    return f"{text}\n".encode(errors="backslashreplace")


def find_runs(roots: Sequence[Path]) -> list[Run]:
    """The runs in folders and below them, the oldest first.

    Raises:
        UsageError: a folder is not there.
        ArtefactError: a folder that is named holds a broken manifest.
    """
    found: dict[Path, Run] = {}
    for root in roots:
        if not root.is_dir():
            raise UsageError(
                f"there is no folder {root}", hint="--run DIR of edgeq compare and others keeps one"
            )
        for depth in range(_DEEPEST + 1):
            for path in sorted(root.glob("/".join(["*"] * depth + [FILE]))):
                if depth == 0 or _is_ours(path.parent):
                    found[path.parent.resolve()] = Run.read(path.parent)
    return sorted(found.values(), key=lambda run: (run.manifest.started, str(run.folder)))


def _is_ours(folder: Path) -> bool:
    """Whether a folder below is a run; other tools have manifests, too."""
    try:
        read_manifest(folder)
    except ArtefactError:
        return False
    return True


def remove(run: Run) -> None:
    """Remove a run folder with what its manifest names, and nothing else.

    Raises:
        OutputError: it holds something else, or cannot be removed; then nothing is.
    """
    own = {FILE, *(each.name for each in run.manifest.files)}
    foreign = sorted(
        path.name for path in run.folder.iterdir() if path.name not in own or path.is_dir()
    )
    if foreign:
        raise OutputError(
            f"{run.folder} holds {foreign[0]!r}, which the run did not write",
            hint="move it away, or remove the folder by hand",
        )
    try:
        for path in list(run.folder.iterdir()):
            path.unlink()
        run.folder.rmdir()
    except OSError as error:
        raise OutputError(
            f"{run.folder} cannot be removed: {error.strerror}", hint="check its permissions"
        ) from error
