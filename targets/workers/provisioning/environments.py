"""Virtual environments for runtimes that cannot, or need not, live in edgeq's own.

An environment is named by what is installed in it, exactly pinned: targets with equal requirements
share one, and other requirements never meet an old one.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import OutputError, TargetError
from edgeq.files import write_json
from edgeq.targets.workers.launchers import Interpreter
from edgeq.targets.workers.process import TOLD_LINES, Limits, Worker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

HOME = "EDGEQ_HOME"
_FULL = "No space left on device"
_SPACE = f"free some space, or name a folder on another disk with {HOME}"
RECORD = "edgeq-environment.json"


def home() -> Path:
    """Where edgeq keeps environments: ``EDGEQ_HOME``, else ``edgeq`` in the user's cache."""
    named = os.environ.get(HOME)
    if named:
        return _expanded(named).absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache and Path(cache).is_absolute() else _expanded("~/.cache")) / "edgeq"


def _expanded(path: str) -> Path:
    """A path with its ``~`` written out; nowhere, for a user who has no home."""
    found = os.path.expanduser(path)  # noqa: PTH111  which raises nothing where there is no home
    return Path(f"/nonexistent{found[1:]}" if found.startswith("~") else found)


def folder(requirements: Sequence[str]) -> Path:
    """Where the environment with these packages is, or would be."""
    pinned = "\n".join(
        [f"python {sys.version_info[0]}.{sys.version_info[1]}", *sorted(requirements)]
    )
    return (
        home()
        / "environments"
        / f"{names(requirements)[0]}-{hashlib.sha256(pinned.encode()).hexdigest()[:10]}"
    )


def names(requirements: Sequence[str]) -> list[str]:
    """The distributions that requirements are about."""
    return [re.split(r"[\s\[=<>!~;@]", requirement, maxsplit=1)[0] for requirement in requirements]


def python_of(requirements: Sequence[str]) -> Path | None:
    """The interpreter of a complete environment; None where there is none."""
    place = folder(requirements)
    return place / "bin" / "python" if (place / RECORD).is_file() else None


def versions_of(requirements: Sequence[str]) -> Mapping[str, str]:
    """What the runtime said of itself when the environment was made."""
    try:
        record = json.loads((folder(requirements) / RECORD).read_text("utf-8"))
        return {str(name): str(version) for name, version in record["versions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def make(
    requirements: Sequence[str],
    engine: str,
    *,
    force: bool = False,
    say: Callable[[str], None] = lambda _text: None,
) -> Path:
    """Make an environment, or leave a complete one as it is; half of one is never seen.

    Args:
        requirements: what to install, exactly pinned.
        engine: the worker engine that has to start in it.
        force: make it again.
        say: told what is being done.

    Returns:
        Its interpreter.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
        TargetError: pip failed, or the engine does not start with what it installed.
    """
    done = python_of(requirements)
    if done is not None and not force:
        say(f"{done.parent.parent} is there already; --force makes it again")
        return done
    place = folder(requirements)
    with whole(place) as making:
        _fill(making, requirements, engine, say)
    return place / "bin" / "python"


@contextmanager
def whole(place: Path) -> Iterator[Path]:
    """A folder to fill beside ``place``.

    At the end it takes that place; if an error ends the filling, it goes away.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
    """
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        _forget_killed(place)
        making = place.with_name(f".{place.name}.{os.getpid()}")
        try:
            yield making
            _put(making, place)
        finally:
            shutil.rmtree(making, ignore_errors=True)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        hint = _SPACE if full else f"name a folder that you may write with {HOME}"
        raise OutputError(f"{place} cannot be written: {error.strerror}", hint=hint) from error


def _fill(
    making: Path, requirements: Sequence[str], engine: str, say: Callable[[str], None]
) -> None:
    python = making / "bin" / "python"
    say(f"making an environment in {home()}")
    call([sys.executable, "-m", "venv", "--clear", str(making)], "python -m venv")
    say(f"installing {', '.join(requirements)}; this may take minutes")
    quiet = ["--quiet", "--disable-pip-version-check", "--no-input", "--no-cache-dir"]
    call([str(python), "-m", "pip", "install", *quiet, *requirements], "pip install")
    say("starting the runtime once")
    with Worker(Interpreter(python), engine, seconds=Limits().open_seconds) as worker:
        versions = worker.ask("versions", seconds=Limits().open_seconds).header.get("versions")
    record = {
        "requirements": list(requirements),
        "engine": engine,
        "python": sys.version,
        "versions": versions,
    }
    write_json(making / RECORD, record)


def call(command: Sequence[str], what: str) -> str:
    """Run a program that fills an environment; returns what it wrote.

    Args:
        command: the program and its arguments.
        what: how to call it in messages.

    Raises:
        OutputError: the disk is full.
        TargetError: it cannot be started, or failed.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if name not in ("PYTHONPATH", "PYTHONHOME")
    }
    try:
        ended = subprocess.run(
            command,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            env=environment,
            stdin=subprocess.DEVNULL,
        )
    except OSError as error:
        raise TargetError(
            f"{command[0]} cannot be started: {error.strerror}",
            hint="install it, or put it on the PATH",
        ) from error
    if ended.returncode == 0:
        return ended.stdout
    said = (ended.stderr.strip() or ended.stdout.strip()).splitlines()
    if any(_FULL in line for line in said):
        raise OutputError(f"{what} failed: {_FULL}", hint=_SPACE)
    complaints = [line for line in said if "error" in line.lower()] or said[-TOLD_LINES:]
    raise TargetError(
        f"{what} failed with exit code {ended.returncode}: {' | '.join(complaints[:TOLD_LINES])}",
        hint="check the network and that this Python and machine have such packages; then give "
        "the command again",
    )


def _put(making: Path, place: Path) -> None:
    """Bring a complete environment to its place; one that was there goes away."""
    old = making.with_name(f"{making.name}.old")
    if place.exists():
        place.rename(old)
    making.rename(place)
    shutil.rmtree(old, ignore_errors=True)


def _forget_killed(place: Path) -> None:
    """Remove what processes left behind that were killed while making this environment."""
    for left in place.parent.glob(f".{place.name}.*"):
        owner = left.name.removesuffix(".old").rpartition(".")[2]
        if not (owner.isdigit() and Path(f"/proc/{owner}").exists()):
            shutil.rmtree(left, ignore_errors=True)
