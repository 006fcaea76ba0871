"""What a sweep file asks for: its parameters, what a cell does, and how cells are told."""

from __future__ import annotations

import itertools
import re
import string
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from edgeq.deploy.sweep.asked import Ordering, Plot, read_ordering, read_plot
from edgeq.deploy.sweep.experiments import EXPERIMENTS
from edgeq.errors import UnknownName, UsageError
from edgeq.factories import is_reference
from edgeq.network.checks import check_count, check_number, check_text, read_toml

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

Parameters = dict[str, "str | int | float | bool"]
HERE = "here"
"""What stands for the folder of the sweep file in a step."""
_NAME = re.compile(r"[A-Za-z_]\w*")
_NEEDED = {
    "grid": "each parameter with its values, such as seed = [0, 1, 2]",
    "cell": 'what is done for each of them, such as steps = ["train resnet8 --seed {seed} -o run"]',
}
"""The tables that a sweep cannot do without, and what stands in them."""
_TABLES = (
    "title", "grid", "repeat", "cell", "figures", "report", "stop", "search", "published",
    "ordering", "plot",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Needs:
    """What a cell takes of a machine while it runs.

    Attributes:
        cpus: cores, each with one thread.
        gpus: a share of one, or several.
        memory_gib: GiB of memory.
        resources: what else, by name, such as one board that only one cell can use at a time.
    """

    cpus: int = 1
    gpus: float = 0.0
    memory_gib: float = 1.0
    resources: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Work:
    """What is done in each cell: a function, an experiment, or command lines of edgeq.

    Attributes:
        function: ``module:function``; it takes the parameters by name and gives figures by name.
        experiment: a name of :data:`edgeq.deploy.sweep.experiments.EXPERIMENTS`, called likewise.
        steps: command lines without ``edgeq``, with ``{parameter}`` where its value goes; they run
            in the cell's own folder.
        figures: for steps: figure to ``FILE#/json/pointer``, or to a file for its size in bytes.
        version: stands for edgeq's code in the addresses of cells, so that a later edgeq goes on
            with them; empty for a hash of the code itself.
    """

    function: str = ""
    experiment: str = ""
    steps: tuple[str, ...] = ()
    figures: Mapping[str, str] = field(default_factory=dict)
    version: str = ""


@dataclass(frozen=True, slots=True)
class EarlyStop:
    """Which configurations get no more repeats.

    Those whose mean, after some repeats, is behind the best one's by more than a margin.

    Attributes:
        figure: that decides.
        after: repeats that each configuration gets.
        behind: the margin, in the figure's unit.
    """

    figure: str
    behind: float
    after: int = 1


@dataclass(frozen=True, slots=True)
class Search:
    """Which cells are tried instead of all.

    Attributes:
        figure: that decides; its mean over repeats.
        trials: configurations at most.
        limits: figure to the most that it may be.
        seed: of what is asked next.
        batch: configurations asked for at once; what is tried depends on it, not on the engine.
    """

    figure: str
    trials: int = 50
    limits: Mapping[str, float] = field(default_factory=dict)
    seed: int = 0
    batch: int = 4


@dataclass(frozen=True, slots=True)
class Published:
    """A figure that somebody else published for some of the configurations.

    Attributes:
        source: the work and its table.
        where: parameters that a configuration must have.
        figures: as published.
    """

    source: str
    where: Mapping[str, Any]
    figures: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Sweep:
    """A sweep file.

    Attributes:
        title: of its table.
        grid: parameter to its values, in the order of the file.
        repeat: the parameter over which means are taken, such as the seed; empty for none.
        work: what a cell does.
        needs: what a cell takes of a machine.
        maximize: figures that are the better the greater.
        minimize: figures that are the better the smaller.
        here: the folder of the file.
        early_stop: which configurations get no more repeats; None for none.
        search: which cells are tried; None for all.
        published: figures to stand beside ours.
        orderings: claims that are tested over the cells.
        plots: what is drawn of them.
    """

    title: str
    grid: Mapping[str, tuple[Any, ...]]
    repeat: str
    work: Work
    needs: Needs
    maximize: tuple[str, ...]
    minimize: tuple[str, ...]
    here: Path
    early_stop: EarlyStop | None = None
    search: Search | None = None
    published: tuple[Published, ...] = ()
    orderings: tuple[Ordering, ...] = ()
    plots: tuple[Plot, ...] = ()

    @property
    def repeats(self) -> tuple[Any, ...]:
        """The values of the parameter over which means are taken; one of nothing for none."""
        return self.grid[self.repeat] if self.repeat else (None,)

    def configurations(self) -> Iterator[Parameters]:
        """Every combination of the parameters but for ``repeat``, the last one moving fastest."""
        names = [name for name in self.grid if name != self.repeat]
        for values in itertools.product(*(self.grid[name] for name in names)):
            yield dict(zip(names, values, strict=True))

    def repeated(self, configuration: Parameters, value: object) -> Parameters:
        """A configuration with one value of ``repeat``."""
        return {**configuration, self.repeat: value} if self.repeat else configuration  # type: ignore[dict-item]


def read_sweep(path: Path) -> Sweep:
    """A sweep file.

    Raises:
        ArtefactError: it is missing or no TOML.
        UsageError: a table or a key is unknown, missing or of another type.
    """
    content = read_toml(path, "sweep file")
    _known("a sweep", content, _TABLES)
    for name, lines in _NEEDED.items():
        if name not in content:
            raise UsageError(
                f"{path} has no table [{name}]", hint=f"add the line [{name}], and below it {lines}"
            )
    grid = _grid(content.get("grid"))
    repeat = content.get("repeat", "seed" if "seed" in grid else "")
    check_text("repeat", repeat)
    if repeat and repeat not in grid:
        raise UnknownName("parameter of [grid]", repeat, grid)
    cell = _table("[cell]", content.get("cell"))
    work = _work(cell, _table("[figures]", content.get("figures", {})), grid)
    report = _table("[report]", content.get("report", {}))
    _known("[report]", report, ("maximize", "minimize"))
    title = content.get("title", path.stem)
    check_text("title", title)
    sweep = Sweep(
        title=title,
        grid=grid,
        repeat=repeat,
        work=work,
        needs=_needs(cell),
        maximize=_names("maximize", report.get("maximize", [])),
        minimize=_names("minimize", report.get("minimize", [])),
        here=path.resolve().parent,
        early_stop=_record(EarlyStop, "[stop]", content.get("stop")),
        search=_record(Search, "[search]", content.get("search")),
        published=tuple(_published(each, grid) for each in _list(content, "published")),
        orderings=tuple(read_ordering(each, grid) for each in _list(content, "ordering")),
        plots=tuple(read_plot(each, grid) for each in _list(content, "plot")),
    )
    _check_directions(sweep)
    return sweep


def _table(what: str, content: object) -> dict[str, Any]:
    if not isinstance(content, dict):
        name = what.strip("[]")
        raise UsageError(
            f"{name} is {content!r}, which is no table",
            hint=f"write a line [{name}], and its settings below it",
        )
    return content


def _list(content: Mapping[str, Any], name: str) -> list[Any]:
    found = content.get(name, [])
    if not isinstance(found, list):
        raise UsageError(f"{name} is no list of tables", hint=f"begin each with [[{name}]]")
    return found


def _known(what: str, content: Mapping[str, Any], names: tuple[str, ...]) -> None:
    for name in content:
        if name not in names:
            raise UnknownName(f"key of {what}", name, names)


def _names(what: str, value: object) -> tuple[str, ...]:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise UsageError(f"{what} is {value!r}", hint='write a list of figures: ["accuracy"]')
    return tuple(value)


def _grid(content: object) -> dict[str, tuple[Any, ...]]:
    grid: dict[str, tuple[Any, ...]] = {}
    for name, values in _table("[grid]", content).items():
        listed = values if isinstance(values, list) else [values]
        if not _NAME.fullmatch(name) or name == HERE:
            raise UsageError(
                f"{name!r} cannot be a parameter", hint="use letters, digits and underscores"
            )
        if not listed or any(not isinstance(each, str | int | float) for each in listed):
            raise UsageError(
                f"the values of {name} are {values!r}",
                hint=f"write a list of texts or numbers: {name} = [0, 1, 2]",
            )
        if len(set(map(repr, listed))) < len(listed):
            raise UsageError(f"a value of {name} stands twice", hint="write each value once")
        grid[name] = tuple(listed)
    if not grid:
        raise UsageError("[grid] has no parameter", hint="write one: seed = [0, 1, 2]")
    return grid


def _work(
    cell: Mapping[str, Any], figures: Mapping[str, Any], grid: Mapping[str, tuple[Any, ...]]
) -> Work:
    needs = tuple(each.name for each in fields(Needs))
    _known("[cell]", cell, ("function", "experiment", "steps", "version", *needs))
    function, steps = cell.get("function", ""), cell.get("steps", [])
    experiment, version = cell.get("experiment", ""), cell.get("version", "")
    if len([each for each in (function, experiment, steps) if each]) != 1:
        raise UsageError(
            "[cell] has to say what a cell does, in one way",
            hint='write experiment = "residual", function = "module:function", or '
            'steps = ["train {network} ...", ...]',
        )
    if not isinstance(version, str):
        raise UsageError(f"version is {version!r}", hint='write a text: version = "1"')
    if experiment and experiment not in EXPERIMENTS:
        raise UnknownName("experiment", str(experiment), EXPERIMENTS)
    if function and (not isinstance(function, str) or not is_reference(function)):
        raise UsageError(f"function is {function!r}", hint='write "module:function"')
    if not steps:
        if figures:
            raise UsageError(
                "[figures] says where steps leave their figures; a function gives its own",
                hint="leave [figures] out",
            )
        return Work(function=function, experiment=experiment, version=version)
    for step in _names("steps", steps):
        for _, name, _, _ in string.Formatter().parse(step):
            if name is not None and name not in (*grid, HERE):
                raise UnknownName(f"parameter in the step {step!r}", name, (*grid, HERE))
    for name, place in figures.items():
        check_text(f"figure {name}", place)
    if not figures:
        raise UsageError(
            "the sweep does not say where its steps leave their figures",
            hint='add [figures], with lines such as bytes = "out/net.tflite" or '
            'accuracy = "compare/result.json#/stages/0/accuracy"',
        )
    return Work(steps=tuple(steps), figures=dict(figures), version=version)


def _needs(cell: Mapping[str, Any]) -> Needs:
    needs = Needs(**{each.name: cell[each.name] for each in fields(Needs) if each.name in cell})
    check_count("cpus", needs.cpus, 1)
    check_number("gpus", needs.gpus, 0)
    check_number("memory_gib", needs.memory_gib, 0)
    for name, amount in _table("resources", needs.resources).items():
        check_number(f"the resource {name}", amount, 0)
    return needs


def _record(kind: Any, what: str, content: object) -> Any:
    """A record of one of the optional tables; None where it is not there."""
    if content is None:
        return None
    table = _table(what, content)
    known = {each.name: each for each in fields(kind)}
    _known(what, table, tuple(known))
    if "figure" not in table or (kind is EarlyStop and "behind" not in table):
        missing = "figure" if "figure" not in table else "behind"
        raise UsageError(f"{what} lacks {missing}", hint=f"add a line {missing} = ... to it")
    check_text("figure", table["figure"])
    for name in ("trials", "batch", "after"):
        if name in table:
            check_count(name, table[name], 1)
    if "seed" in table:
        check_count("seed", table["seed"], 0)
    if "behind" in table:
        check_number("behind", table["behind"], 0)
    for name, limit in _table("limits", table.get("limits", {})).items():
        check_number(f"the limit of {name}", limit)
    return kind(**table)


def _published(content: object, grid: Mapping[str, tuple[Any, ...]]) -> Published:
    table = dict(_table("[[published]]", content))
    source = table.pop("source", "")
    check_text("source", source)
    where = {name: table.pop(name) for name in list(table) if name in grid}
    for name in [name for name, value in table.items() if isinstance(value, list)]:
        table |= {f"{name}/{place}": each for place, each in enumerate(table.pop(name), start=1)}
    for name, value in table.items():
        check_number(f"published {name}", value)
    if not source or not table:
        raise UsageError(
            "[[published]] has no source, or no figure",
            hint='write source = "the work, its table", parameters, and figures',
        )
    return Published(source, where, table)


def _check_directions(sweep: Sweep) -> None:
    """A search and an early stop need to know which way is better."""
    for what, each in (("[search]", sweep.search), ("[stop]", sweep.early_stop)):
        if each is not None and each.figure not in (*sweep.maximize, *sweep.minimize):
            raise UsageError(
                f"{what} decides by {each.figure}, and nothing says whether more of it is better",
                hint=f'add maximize = ["{each.figure}"] or minimize = ["{each.figure}"] to '
                "[report]",
            )
    if sweep.early_stop is not None and not sweep.repeat:
        raise UsageError("[stop] needs repeats", hint="add seed = [0, 1, 2] to [grid]")
