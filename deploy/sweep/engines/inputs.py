"""What cells need of this machine, looked for once before any of them runs."""

from __future__ import annotations

import shlex
from itertools import pairwise
from typing import TYPE_CHECKING

from edgeq.data.catalogue import DATASETS, GRAPHS
from edgeq.deploy.sweep.experiments import EXPERIMENTS
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgeq.deploy.sweep.work import Task

_FLAG = "--data"


def check_data(tasks: Iterable[Task]) -> None:
    """See that the data sets that cells name can be read here; none is opened.

    Raises:
        UsageError: one cannot.
    """
    for name in dict.fromkeys(name for task in tasks for name in _named(task)):
        registry = next((each for each in (DATASETS, GRAPHS) if name in each.names()), None)
        found = registry.load(name).info(None) if registry is not None else None
        if found is not None and not found.available:
            raise UsageError(
                f"cells of the sweep need {name}, which cannot be read here: {found.why_not}",
                hint="edgeq data lists what can; cells computed elsewhere come with --merge FOLDER",
            )


def _named(task: Task) -> Iterator[str]:
    """The data sets of a cell, where they have a name."""
    if task.work.experiment in EXPERIMENTS:
        yield str(task.cell.parameters.get("data", ""))
    for step in task.cell.steps:
        words = shlex.split(step)
        yield from (after for word, after in pairwise(words) if word == _FLAG)
        yield from (word[len(_FLAG) + 1 :] for word in words if word.startswith(f"{_FLAG}="))
