"""The figures of runs side by side: every number of their documents, by its place in them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import UsageError
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.deploy.runs.folder import Run
    from edgeq.plain import Json

_NAMED_BY = (
    ("artefact", "target"),
    ("network", "target"),
    ("rule", "stage"),
    ("stage", "metric"),
    ("source", "stage"),
    ("file", "rule", "node"),
    ("name",),
    ("stage",),
    ("tensor",),
    ("layer",),
    ("operator",),
    ("file",),
)
"""What tells the records of a list apart, where they have it; else their place does."""
_NOISE = ("machine", "seconds", "depth")
"""What differs between any two runs, or is no figure."""
_SHOWN = 40


@dataclass(frozen=True, slots=True)
class Figure:
    """One number in several runs.

    Attributes:
        name: its place in the documents, such as ``comparison/stages/a.onnx @ ort-cpu/size_bytes``.
        values: in each run; None where it has none.
    """

    name: str
    values: tuple[float | None, ...]

    @property
    def differs(self) -> bool:
        """Whether the runs do not all have the same."""
        return len(set(self.values)) > 1


@dataclass(frozen=True, slots=True, repr=False)
class RunComparison(Tabular):
    """The figures of several runs.

    Attributes:
        runs: their folders.
        same_inputs: whether all read the same files.
        same_machine: whether all ran on the same processor.
        figures: those that some run has, in the order of the documents.
    """

    runs: tuple[str, ...]
    same_inputs: bool
    same_machine: bool
    figures: tuple[Figure, ...]

    @property
    def different(self) -> tuple[Figure, ...]:
        """The figures that are not the same in all runs."""
        return tuple(each for each in self.figures if each.differs)

    def table(self) -> Table:
        """The first figures that differ, a column for each run."""
        shown = self.different[:_SHOWN]
        title = f"{counted(len(self.different), 'figure', 'differ', of=len(self.figures))}"
        if len(shown) < len(self.different):
            title += f"; the first {_SHOWN} are"
        return Table(
            title,
            ("figure", *self.runs),
            [(each.name, *map(_told, each.values)) for each in shown],
        )


def compare_runs(runs: Sequence[Run]) -> RunComparison:
    """Hold the figures of runs against each other.

    Raises:
        UsageError: they are of different commands, whose figures have nothing to do with another.
        ArtefactError: a document is missing or broken.
    """
    commands = dict.fromkeys(run.manifest.command for run in runs)
    if len(commands) > 1:
        raise UsageError(
            f"the runs are of different commands: {', '.join(commands)}",
            hint="compare runs of one command; edgeq report shows others together on a page",
        )
    all_figures = [dict(figures_of(run.document())) for run in runs]
    names = dict.fromkeys(name for figures in all_figures for name in figures)
    inputs = [{(each.name, each.sha256) for each in run.manifest.inputs} for run in runs]
    return RunComparison(
        runs=tuple(str(run.folder) for run in runs),
        same_inputs=all(each == inputs[0] for each in inputs),
        same_machine=len({str(run.manifest.machine.get("cpu")) for run in runs}) == 1,
        figures=tuple(
            Figure(name, tuple(figures.get(name) for figures in all_figures)) for name in names
        ),
    )


def figures_of(value: Json, path: tuple[str, ...] = ()) -> Iterator[tuple[str, float]]:
    """Every number of a document, by its place in it."""
    if isinstance(value, bool | str) or value is None:
        return
    if isinstance(value, int | float):
        yield "/".join(path), value
        return
    if isinstance(value, dict):
        for name, item in value.items():
            if name not in _NOISE:
                yield from figures_of(item, (*path, name))
        return
    for number, item in enumerate(value):
        if isinstance(item, dict):
            yield from figures_of(item, (*path, _identity(item) or str(number)))


def _identity(item: Mapping[str, Json]) -> str:
    for names in _NAMED_BY:
        values = [item.get(name) for name in names]
        if all(isinstance(value, str) and value for value in values):
            return " @ ".join(str(value) for value in values)
    return ""


def _told(value: float | None) -> str:
    return "–" if value is None else f"{value:,.6g}" if isinstance(value, float) else f"{value:,}"
