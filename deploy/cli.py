"""The command line, and the one place where an error becomes an exit code.

Nothing heavy is imported here or in the command modules, so that help answers at once.
"""

import errno
import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Annotated, Any, cast

import typer
import typer.core
import typer.main

import edgeq
from edgeq.deploy import console, names
from edgeq.deploy.commands import (
    audit,
    bounds,
    calibrate,
    compare,
    demo,
    diff,
    emulate,
    export,
    gate,
    lint,
    profile,
    report,
    survey,
    train,
    why,
)
from edgeq.deploy.commands.listings import data, models, operators, runs, targets
from edgeq.deploy.commands.many_runs import search, sweep
from edgeq.deploy.options import with_isolation
from edgeq.deploy.runs.flag import with_run
from edgeq.errors import EdgeqError, Interrupted, OutputError, UsageError
from edgeq.files import ended_in_order

if TYPE_CHECKING:
    from edgeq.plain import Json

# what typer raises for a wrong flag, command or value
_REFUSED = cast("type[Exception]", typer.BadParameter.__base__)


@dataclass(slots=True)
class RootFlags:
    """What the flags before the command ask for.

    Attributes:
        debug: whether errors come with their traceback.
    """

    debug: bool = False


_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_OF_THE_SYSTEM = _FULL | {
    errno.EACCES,
    errno.EIO,
    errno.EMFILE,
    errno.ENAMETOOLONG,
    errno.ENFILE,
    errno.EPERM,
    errno.EROFS,
}
"""What a system says of a place or of its limits: no bug of ours, wherever it is met."""


class _Stopped(Exception):
    """What says how a command was interrupted, past typer, which would keep only the exit code."""

    def __init__(self, interrupted: Interrupted) -> None:
        super().__init__(str(interrupted))
        self.interrupted = interrupted


class _Commands(typer.core.TyperGroup):
    def invoke(self, ctx: Any) -> object:  # of click, or of a copy that typer brings
        try:
            return super().invoke(ctx)
        except Interrupted as error:
            raise _Stopped(error) from error


app = typer.Typer(
    name="edgeq",
    cls=_Commands,
    help="Train quantised networks, export them without changing an integer, and prove that "
    "the device computes what was trained.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
_KEPT = {
    **dict.fromkeys((train, search, export, sweep), ()),
    **dict.fromkeys((profile, emulate, why, compare, survey, audit, lint, diff, bounds), ()),
    calibrate: ("--explain",),
}
"""The commands whose findings can be kept as a run or a page, and further names of ``--html``."""
_ISOLATED = {calibrate, search, export, profile, emulate, why, compare, survey, audit, bounds}
"""The commands that open files of other tools in processes of their own."""
for module in (
    demo,
    train,
    calibrate,
    search,
    export,
    profile,
    emulate,
    why,
    compare,
    survey,
    audit,
    lint,
    diff,
    bounds,
    gate,
    sweep,
    report,
    runs,
    targets,
    operators,
    models,
    data,
):
    name = module.__name__.rpartition(".")[2]
    if isinstance(getattr(module, "app", None), typer.Typer):
        app.add_typer(module.app, name=name)
    else:
        kept = module in _KEPT
        command = with_run(module.command, *_KEPT[module]) if kept else module.command
        app.command(name)(with_isolation(command) if module in _ISOLATED else command)


def _version(asked: bool) -> None:
    if asked:
        console.write(f"edgeq {edgeq.__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    _asked: Annotated[
        bool,
        typer.Option(
            "--version", callback=_version, is_eager=True, help="Print the version and leave."
        ),
    ] = False,
    debug: Annotated[
        bool,
        typer.Option(
            "--debug", help="Show the traceback of every error; EDGEQ_DEBUG=1 does the same."
        ),
    ] = False,
) -> None:
    """Train quantised networks and export them without changing an integer.

    And prove that the device computes what was trained.
    """
    if isinstance(context.obj, RootFlags):
        context.obj.debug = context.obj.debug or debug
    if context.invoked_subcommand is None:
        console.write_unfolded(context.get_help())


_put_together = cache(typer.main.get_command)  # tens of milliseconds, once in a process


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Nothing but a request to leave the interpreter escapes.
    """
    state = RootFlags(debug=bool(os.environ.get("EDGEQ_DEBUG")))
    started = datetime.now(UTC)
    with console.answering(arguments) as answer:
        error = _attempt(arguments, state, answer)
        try:
            _conclude(answer, error, arguments, started)
        except EdgeqError as late:
            error = error or late
            console.note(f"edgeq: {late}")
    return error.exit_code if error is not None else 0


def _attempt(
    arguments: Sequence[str], state: RootFlags, answer: console.Answer
) -> EdgeqError | Interrupted | None:
    """Run a command line; what went wrong is told, and given back."""
    try:
        if names.COMPLETING in os.environ:
            command = typer.main.get_command(app)  # one of its own, which the names change
            names.complete(command)
        else:
            command = _put_together(app)
        with console.warnings_told():
            code = command.main(
                list(arguments), prog_name="edgeq", standalone_mode=False, obj=state
            )
    except (Exception, KeyboardInterrupt) as raised:  # noqa: BLE001  whatever escapes is a bug of ours, and a user deserves better than a traceback
        error = _as_error(raised)
        if state.debug and not isinstance(error, Interrupted):
            console.note(traceback.format_exc().rstrip(), fold=False)
    else:
        if code != Interrupted.exit_code:
            return None
        error = Interrupted()
    console.note(f"edgeq: {answer.told or error}")
    return error


def _as_error(raised: BaseException) -> EdgeqError | Interrupted:
    if isinstance(raised, _Stopped):
        return raised.interrupted
    if isinstance(raised, EdgeqError | Interrupted):
        return raised
    if isinstance(raised, KeyboardInterrupt | typer.Abort):
        return Interrupted()
    if isinstance(raised, OSError) and raised.errno in _OF_THE_SYSTEM:
        return _of_the_system(raised)
    return _refusal(raised) if isinstance(raised, _REFUSED) else _bug(raised)


def _conclude(
    answer: console.Answer,
    error: EdgeqError | Interrupted | None,
    arguments: Sequence[str],
    started: datetime,
) -> None:
    """Print the one document, or the next command; keep the run where a folder was named."""
    document, as_json = answer.document, answer.printed or "--json" in arguments
    if document is None and error is not None and as_json:
        document = console.document_of("error", {})
    if document is not None:
        document |= {"next": answer.next_command, "error": _record(error)}
        if answer.folder is not None and answer.document is not None:
            from edgeq.deploy.runs.folder import keep_run

            taken = (datetime.now(UTC) - started).total_seconds()
            keep_run(answer.folder, document, arguments, error, started, taken, answer.files)
            console.note(f"kept in {answer.folder}")
        if answer.page is not None and answer.document is not None:
            from edgeq.deploy.runs.page import write_answer

            write_answer(answer.page, document, arguments, answer.files, started)
            console.note(f"the page is {answer.page}")
        if as_json:
            console.write_document(document)
    if answer.next_command and not as_json:
        console.write(f"next: {answer.next_command}")


def _record(error: EdgeqError | Interrupted | None) -> "dict[str, Json] | None":
    """An error as a program reads it."""
    if error is None:
        return None
    return {
        "kind": type(error).__name__,
        "message": error.what,
        "hint": error.hint,
        "exit_code": error.exit_code,
    }


def main() -> None:
    """What ``edgeq`` runs once it is imported.

    A request to end (SIGTERM) is met as Ctrl-C is: in words, with what is kept.
    """
    with ended_in_order():
        code = run(sys.argv[1:])
    # all is done and said; runtimes that are taken down have nothing to add
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _refusal(error: BaseException) -> UsageError:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edgeq"
    what = getattr(error, "format_message", error.__str__)()
    return UsageError(what, hint=f"see {command} --help")


def _of_the_system(error: OSError) -> OutputError:
    where = "" if error.filename is None else f"{os.fsdecode(error.filename)}: "
    hint = "check the permissions there, or choose another place"
    if error.errno in _FULL:
        hint = "make room there: TMPDIR names the folder of temporary files"
    elif error.errno == errno.ENAMETOOLONG:
        hint = "choose a shorter name"
    return OutputError(f"{where}{error.strerror}", hint=hint)


def _bug(error: BaseException) -> EdgeqError:
    what = f"this is a bug of edgeq's: {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="edgeq-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(
                f"edgeq {edgeq.__version__}, Python "
                f"{sys.version}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
            )
    except OSError:
        return EdgeqError(what, hint="please report it with what --debug shows")
    return EdgeqError(what, hint=f"please report it with {file.name}, which holds the traceback")
