"""``edgeq sweep``: many runs as a grid or a search, each computed once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import AsJson
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.deploy.sweep.plan import Sweep
    from edgeq.deploy.sweep.run import SweepResult
    from edgeq.deploy.sweep.runner import Engine

_SHOWN = 5  # failures that are told one by one


def command(
    *,
    source: Annotated[
        Path,
        typer.Argument(metavar="SWEEP.toml", help="What to run; see the guide's page on sweeps."),
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="DIR",
            help="The folder of the cells (the name of the file, under `sweeps`).",
            show_default=False,
        ),
    ] = None,
    engine: Annotated[
        str,
        typer.Option("--engine", metavar="local|ray", help="What computes the cells."),
    ] = "local",
    address: Annotated[
        str,
        typer.Option(
            "--address",
            metavar="HOST:PORT",
            help="The Ray cluster; `auto` for the one of this machine (a new one).",
        ),
    ] = "",
    jobs: Annotated[
        int | None,
        typer.Option(
            "--jobs",
            metavar="N",
            min=1,
            help="Compute at most so many cells at a time (what cores and memory allow).",
            show_default=False,
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard", metavar="I/N", help="Compute only the I-th of N parts, as 3/16 is."
        ),
    ] = None,
    merge: Annotated[
        list[Path] | None,
        typer.Option("--merge", metavar="DIR", help="First take over the cells of this folder."),
    ] = None,
    code: Annotated[
        list[str] | None,
        typer.Option(
            "--code",
            metavar="MODULE:FUNCTION",
            help="Code of your own that the sweep calls, and you trust.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Run what a sweep file asks for: a grid of networks, schemes, seeds and targets, or a search.

    Each cell is a folder under an address made of all that its figures depend on: the code, the
    work, the parameters and the files that it names. A cell that is there is not computed again,
    so the same command goes on after a stop, and the grid may grow. The exit status is 1 if a cell
    failed.
    """
    from edgeq.deploy import console
    from edgeq.deploy.pipeline.shards import Shard
    from edgeq.deploy.sweep.plan import read_sweep
    from edgeq.deploy.sweep.run import run_sweep
    from edgeq.errors import GateFailed, Interrupted

    sweep = read_sweep(source)
    folder = output or Path("sweeps") / source.stem
    chosen = _engine(engine, address, jobs)
    with console.progress("cells") as advance:
        try:
            found = run_sweep(
                sweep,
                folder,
                chosen,
                code=tuple(code or ()),
                shard=None if shard is None else Shard.parse(shard),
                merged=tuple(merge or ()),
                progress=advance,
            )
        except Interrupted:
            raise
        except KeyboardInterrupt:
            raise Interrupted(
                f"stopped; the cells that are done are kept in {folder}",
                hint="the same command goes on from there",
            ) from None
    content = {"folder": folder, "title": sweep.title, "result": found}
    console.write_json("sweep", content, printed=as_json)
    if not as_json:
        _show(sweep, found, folder)
    if not found.failures:
        console.next_again(before="add parameters or seeds to the file, then")
    if found.failures:
        listed = [f"\n  {_named(parameters)}: {error}" for parameters, error in found.failures]
        more = len(listed) - _SHOWN
        raise GateFailed(
            f"{counted(len(listed), 'cell', of=found.cells)} failed:{''.join(listed[:_SHOWN])}"
            + (f"\n  and {more} more" if more > 0 else ""),
            hint="put it right and run the same command again: what is there stays",
        )


def _engine(name: str, address: str, jobs: int | None) -> "Engine":
    from edgeq.errors import UsageError

    if name == "ray":
        from edgeq.deploy.sweep.engines.ray_tasks import RayEngine

        return RayEngine(address)
    if name != "local":
        raise UsageError(f"there is no engine {name!r}", hint="choose local or ray")
    from edgeq.deploy.sweep.engines.local import LocalEngine

    if address:
        raise UsageError("--address names a Ray cluster", hint="add --engine ray")
    return LocalEngine(jobs)


def _show(sweep: "Sweep", found: "SweepResult", folder: Path) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.sweep.orderings import sentence_of
    from edgeq.deploy.sweep.report import REPORT
    from edgeq.deploy.sweep.run import TABLE
    from edgeq.deploy.sweep.summary import table_of

    if found.rows:
        columns, rows, numbers = table_of(sweep, found.rows)
        console.write_table(sweep.title, columns, rows, numbers=numbers)
    for source in dict.fromkeys(each.source for each in sweep.published):
        console.write(f"published: {source}")
    for decision in found.decisions:
        console.write(sentence_of(decision))
    for parameters in found.stopped:
        console.write(f"no more repeats of {_named(parameters)}: too far behind the best")
    if sweep.search is not None:
        console.write(
            "nothing that was tried is within the limits"
            if found.chosen is None
            else f"best within the limits: {_named(found.chosen.parameters)}"
        )
    console.write(
        f"{counted(found.cells - found.missing, 'cell', 'are', of=found.cells)} in {folder}, "
        f"{found.computed} of them new; table: {folder / TABLE}, page: {folder / REPORT}"
    )


def _named(parameters: "Mapping[str, object]") -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())
