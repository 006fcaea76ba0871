"""The command line, and the one place where an error becomes an exit code.

Nothing heavy is imported here or in the command modules, so that help answers at once.
"""

import os
import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, cast

import typer
import typer.main

import edgeq
from edgeq.deploy import console
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
    search,
    survey,
    train,
    why,
)
from edgeq.deploy.commands.listings import data, models, operators, targets
from edgeq.errors import EdgeqError, Interrupted

# what typer raises for a wrong flag, command or value
_REFUSED = cast("type[Exception]", typer.BadParameter.__base__)


@dataclass(slots=True)
class RootFlags:
    """What the flags before the command ask for.

    Attributes:
        debug: whether errors come with their traceback.
    """

    debug: bool = False


app = typer.Typer(
    name="edgeq",
    help="Train quantised networks, export them without changing an integer, and prove that "
    "the device computes what was trained.",
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
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
    targets,
    operators,
    models,
    data,
):
    name = module.__name__.rpartition(".")[2]
    if isinstance(getattr(module, "app", None), typer.Typer):
        app.add_typer(module.app, name=name)
    else:
        app.command(name)(module.command)


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
        console.write(context.get_help())


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    Nothing but a request to leave the interpreter escapes.
    """
    state = RootFlags(debug=bool(os.environ.get("EDGEQ_DEBUG")))
    try:
        code = typer.main.get_command(app).main(
            list(arguments), prog_name="edgeq", standalone_mode=False, obj=state
        )
    except (KeyboardInterrupt, typer.Abort):
        code = Interrupted.exit_code
    except EdgeqError as error:
        _trace(state)
        console.note(f"edgeq: {error}")
        return error.exit_code
    except _REFUSED as error:
        _trace(state)
        console.note(_refusal(error))
        return 2
    except Exception as error:  # noqa: BLE001  whatever escapes is a bug of ours, and a user deserves better than a traceback
        _trace(state)
        console.note(_bug(error))
        return EdgeqError.exit_code
    if code == Interrupted.exit_code:
        console.note(f"edgeq: {Interrupted()}")
    return code if isinstance(code, int) else 0


def main() -> None:
    """What ``edgeq`` runs once it is imported."""
    code = run(sys.argv[1:])
    # all is done and said; runtimes that are taken down have nothing to add
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    sys.exit(code)


def _trace(state: RootFlags) -> None:
    if state.debug:
        console.note(traceback.format_exc().rstrip())


def _refusal(error: Exception) -> str:
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "edgeq"
    what = getattr(error, "format_message", error.__str__)()
    return f"edgeq: {what}\n  hint: see {command} --help"


def _bug(error: Exception) -> str:
    what = f"edgeq: this is a bug of edgeq's: {type(error).__name__}: {error}"
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="edgeq-bug-", suffix=".txt", delete=False, encoding="utf-8"
        ) as file:
            file.write(
                f"edgeq {edgeq.__version__}, Python "
                f"{sys.version}\n{' '.join(sys.argv)}\n\n{traceback.format_exc()}"
            )
    except OSError:
        return f"{what}\n  hint: please report it with what --debug shows"
    return f"{what}\n  hint: please report it with {file.name}, which holds the traceback"
