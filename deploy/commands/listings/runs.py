"""``edgeq runs``: the runs that were kept with ``--run``: list, compare and prune them."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from edgeq.deploy.options import AsJson

if TYPE_CHECKING:
    from edgeq.deploy.runs.folder import Run

ROOT = Path("runs")
_Folders = Annotated[
    list[Path] | None,
    typer.Argument(help="Run folders, or folders that hold some (runs).", show_default=False),
]


class FoldersToo(typer.core.TyperGroup):
    """Lets ``edgeq runs DIR`` stand for ``edgeq runs list DIR``."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command that the arguments begin with."""
        return super().resolve_command(ctx, args if args[0] in self.commands else ["list", *args])


app = typer.Typer(cls=FoldersToo, help="List, compare and prune the runs kept with --run.")


@app.callback(invoke_without_command=True)
def command(context: typer.Context, as_json: AsJson = False) -> None:
    """List the runs below the folder `runs`.

    `edgeq compare`, `gate`, `profile` and the others keep what they find in a folder with `--run
    DIR`: a manifest with the command, the files that it read with their hashes, the machine and the
    outcome, beside the document that `--json` prints.
    """
    context.obj = as_json
    if context.invoked_subcommand is None:
        list_runs(context, None, as_json)


@app.command("list")
def list_runs(context: typer.Context, folders: _Folders = None, as_json: AsJson = False) -> None:
    """List runs, the oldest first. `list` may be left out."""
    from edgeq.deploy import console
    from edgeq.deploy.runs.folder import find_runs

    found = find_runs(folders or [ROOT])
    content = {"runs": [{"folder": run.folder, "manifest": run.manifest} for run in found]}
    if as_json or context.obj:
        console.write_json("runs", content)
        return
    console.write_json("runs", content, printed=False)
    columns = ("run", "command", "started", "outcome", "seconds", "revision")
    console.write_table("Runs", columns, [_cells(run) for run in found], numbers=("seconds",))
    pair = _two_of_one_command(found)
    if pair:
        console.next_step("edgeq", "runs", "compare", *pair)
    elif found:
        console.next_step("edgeq", "report", *(folders or [ROOT]))
    else:
        console.next_step("edgeq compare FILE --data NAME --run runs/NAME keeps another")


def _two_of_one_command(runs: "list[Run]") -> list[Path]:
    """The newest run that has an earlier one to be compared with, after that one."""
    for place in reversed(range(len(runs))):
        mine = [run for run in runs[:place] if run.manifest.command == runs[place].manifest.command]
        if mine:
            return [mine[-1].folder, runs[place].folder]
    return []


def _cells(run: "Run") -> tuple[str, ...]:
    told = run.manifest
    return (
        str(run.folder),
        told.command,
        told.started,
        told.outcome,
        f"{told.seconds:,.1f}",
        told.revision[:12],
    )


@app.command()
def compare(
    context: typer.Context,
    folders: Annotated[
        list[Path], typer.Argument(help="Two or more run folders.", show_default=False)
    ],
    as_json: AsJson = False,
) -> None:
    """Show which figures differ between runs.

    Every number of their documents is compared by its place; runs of different commands are
    refused. It says whether they read the same files and ran on the same processor; times of two
    machines are not comparable.
    """
    from edgeq.deploy import console
    from edgeq.deploy.runs.figures import compare_runs
    from edgeq.deploy.runs.folder import Run
    from edgeq.errors import UsageError

    if len(folders) < 2:
        raise UsageError("one run is compared with nothing", hint="name two or more run folders")
    found = compare_runs([Run.read(folder) for folder in folders])
    if as_json or context.obj:
        console.write_json("runs", {"comparison": found, "different": found.different})
        return
    table = found.table()
    if table.rows:
        console.write_table(table.title, table.columns, table.rows, numbers=table.columns[1:])
    else:
        console.write(f"{table.title}: all are the same")
    if not found.same_inputs:
        console.note("the runs did not read the same files")
    if not found.same_machine:
        console.note("the runs were on different processors: their times are not comparable")
    console.next_step("edgeq", "runs", folders[0].parent)


@app.command()
def prune(
    context: typer.Context,
    folders: _Folders = None,
    keep: Annotated[
        int | None,
        typer.Option("--keep", metavar="N", min=0, help="Keep the newest N of each command."),
    ] = None,
    older_than: Annotated[
        float | None,
        typer.Option("--older-than", metavar="DAYS", min=0, help="Remove older ones only."),
    ] = None,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove them; else they are only listed.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove old runs.

    A folder is removed with the files that its manifest names; one that holds anything else stays,
    and is named.
    """
    from edgeq.deploy import console
    from edgeq.deploy.runs.folder import find_runs, remove
    from edgeq.errors import UsageError

    if keep is None and older_than is None:
        raise UsageError(
            "nothing says which runs may go", hint="give --keep N or --older-than DAYS"
        )
    old = _prunable(find_runs(folders or [ROOT]), keep, older_than)
    if delete:
        for run in old:
            remove(run)
    if as_json or context.obj:
        console.write_json("runs", {"pruned": [run.folder for run in old], "deleted": delete})
        return
    for run in old:
        console.write(f"{'removed' if delete else 'would go'}: {run.folder}")
    if not old:
        console.write("no run may go")
    if old and not delete:
        console.next_again("--delete")
    else:
        console.next_step("edgeq", "runs", *(folders or []))


def _prunable(runs: "list[Run]", keep: int | None, older_than: float | None) -> "list[Run]":
    """Those that neither rule holds back, the oldest first."""
    kept: set[Path] = set()
    for name in {run.manifest.command for run in runs}:
        same = [run.folder for run in runs if run.manifest.command == name]
        kept |= set(same[len(same) - min(keep or 0, len(same)) :])
    if older_than is not None:
        since = datetime.now(UTC) - timedelta(days=older_than)
        kept |= {run.folder for run in runs if _when(run) > since}
    return [run for run in runs if run.folder not in kept]


def _when(run: "Run") -> datetime:
    from edgeq.errors import ArtefactError

    try:
        return datetime.fromisoformat(run.manifest.started).astimezone(UTC)
    except ValueError as error:
        raise ArtefactError(
            f"{run.folder} says that it started at {run.manifest.started!r}, which is no time",
            hint="remove the folder by hand",
        ) from error
