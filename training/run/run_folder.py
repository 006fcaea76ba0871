"""The folder of a training run.

The files in it, how a run begins in it, with what it may go on, and what it leaves.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from edgeq.errors import OutputError, UsageError
from edgeq.files import write_json

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.training.recipes.any_recipe import AnyRecipe
    from edgeq.training.run.records import RunResult

LAST, BEST, RUN = "last.safetensors", "best.safetensors", "run.json"
SAVE_SECONDS = 60.0  # a killed run loses at most this much


def begin(folder: Path, *, overwrite: bool) -> None:
    """Make room for a new run.

    Raises:
        OutputError: ``folder`` holds another run and ``overwrite`` is false.
    """
    last, best = folder / LAST, folder / BEST
    if (last.exists() or best.exists()) and not overwrite:
        raise OutputError(
            f"{folder} holds a run already",
            hint="add --resume to go on, --overwrite to start anew, or choose another -o",
        )
    best.unlink(missing_ok=True)


def check_recipe(path: Path, saved: AnyRecipe, asked: AnyRecipe) -> None:
    """Refuse to go on with another recipe than a run was begun with.

    Raises:
        UsageError: names the first field that differs.
    """
    before, now = saved.to_dict(), asked.to_dict()
    odd = next((name for name in now if before[name] != now[name]), None)
    if odd is not None:
        raise UsageError(
            f"{path} was trained with another {odd}: {before[odd]!r}, not {now[odd]!r}",
            hint="resume with the same flags, or choose another -o",
        )


def write_summary(result: RunResult) -> None:
    """Write what came of a run into its folder; how long it took is of no use where it was resumed.

    Raises:
        OutputError: it cannot be written.
    """
    fields = asdict(result)
    del fields["folder"], fields["seconds"]
    write_json(result.folder / RUN, fields, overwrite=True)
