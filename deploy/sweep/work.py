"""What is done in a cell, wherever it runs."""

from __future__ import annotations

import io
import json
import math
import os
import shlex
import sys
import time
import traceback
from contextlib import chdir, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeq.deploy.sweep.cells import code_hash
from edgeq.deploy.sweep.experiments import experiment
from edgeq.deploy.sweep.store import write_record
from edgeq.errors import EdgeqError, UsageError, first_line

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.deploy.sweep.cells import Cell
    from edgeq.deploy.sweep.plan import Needs, Work

LOG = "log.txt"
_TAIL = 400  # characters of a log that an error shows


@dataclass(frozen=True, slots=True)
class Task:
    """All that another process needs to compute a cell.

    Attributes:
        cell: the cell.
        work: of the sweep.
        needs: of the sweep.
        modules: the folder in which modules of somebody's own are looked for.
    """

    cell: Cell
    work: Work
    needs: Needs
    modules: str


@dataclass(frozen=True, slots=True)
class Ended:
    """A cell that has run.

    Attributes:
        cell: the cell.
        error: what went wrong; empty where nothing did.
    """

    cell: Cell
    error: str = ""


def compute(task: Task, folder: Path) -> None:
    """Do the work of a cell in a folder, and write its record there.

    Raises:
        EdgeqError: a step fails, the function does, or a figure is not there or not finite.
    """
    if task.modules not in sys.path:
        sys.path.insert(0, task.modules)
    began = time.monotonic()
    figures = _stepped(task, folder) if task.work.steps else _called(task, folder)
    for name, value in figures.items():
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise UsageError(f"the figure {name} is {value!r}", hint="figures are numbers")
        if not math.isfinite(value):
            raise UsageError(
                f"the figure {name} is {value}", hint="leave out a figure that a cell has not"
            )
    write_record(folder, task.cell, figures, time.monotonic() - began, code_hash(None))


def _called(task: Task, folder: Path) -> Mapping[str, Any]:
    from edgeq.factories import call, permit

    name = task.work.function
    with chdir(folder):
        if task.work.experiment:
            return experiment(task.work.experiment)(**task.cell.parameters)
        permit(name)
        found = call(name, flag="--code", **task.cell.parameters)
    if not isinstance(found, dict):
        raise UsageError(
            f"{name} gives {found!r:.80}, no dictionary",
            hint="return a dictionary of figures by name",
        )
    return {str(name): _plain(value) for name, value in found.items()}


def _plain(value: Any) -> Any:
    """A number of numpy's or torch's as Python's."""
    return value.item() if hasattr(value, "item") else value


def _stepped(task: Task, folder: Path) -> dict[str, Any]:
    # by name, as a shell would: the command line stands above all that it runs
    run_command = import_module("edgeq.deploy.cli").run
    log = io.StringIO()
    with chdir(folder), redirect_stdout(log), redirect_stderr(log):
        before = os.environ.get("CI")
        os.environ["CI"] = "true"  # lines instead of bars
        try:
            for step in task.cell.steps:
                log.write(f"$ edgeq {step}\n")
                code = run_command(shlex.split(step))
                Path(LOG).write_text(log.getvalue(), encoding="utf-8")
                if code:
                    raise UsageError(
                        f"`edgeq {step}` ends with {code}: ...{log.getvalue()[-_TAIL:].strip()}",
                        hint="run it by hand to see all that it says",
                    )
        finally:
            os.environ.pop("CI") if before is None else os.environ.update(CI=before)
        return {name: _read(place) for name, place in task.work.figures.items()}


def _read(place: str) -> Any:
    """A figure from ``FILE#/json/pointer`` (RFC 6901), or the size of a file in bytes."""
    name, found, pointer = place.partition("#")
    path = Path(name)
    if not path.is_file():
        what = f"{name} is a folder" if path.is_dir() else f"no step has written {name}"
        raise UsageError(what, hint="check [figures] and the steps of the sweep")
    if not found:
        return path.stat().st_size
    value: Any = json.loads(path.read_bytes())
    for word in pointer.split("/")[1:]:
        key = word.replace("~1", "/").replace("~0", "~")
        try:
            value = value[int(key)] if isinstance(value, list) else value[key]
        except (KeyError, IndexError, ValueError, TypeError) as error:
            names = ", ".join(value) if isinstance(value, dict) else f"{type(value).__name__}"
            raise UsageError(
                f"{name} has nothing at {pointer}", hint=f"at {key!r} there is {names}"
            ) from error
    return value


def attempt(task: Task, folder: Path) -> tuple[str, str]:
    """Compute a cell in a folder.

    Returns:
        What went wrong, and the log of it; both empty where nothing did.
    """
    try:
        compute(task, folder)
    except EdgeqError as error:
        log = folder / LOG
        said = (
            log.read_text(encoding="utf-8")
            if log.exists()
            else "".join(traceback.format_exception(error))
        )
        return " ".join(error.what.split()), said
    except Exception as error:  # noqa: BLE001  # whatever a command raises is told, and ends one cell only
        said = "".join(traceback.format_exception(error))
        return f"{type(error).__name__}: {first_line(error)}", said
    return "", ""
