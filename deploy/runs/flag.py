"""The flags ``--run`` and ``--html``, which every command that measures something has."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

_RUN = Annotated[
    Path | None,
    typer.Option(
        "--run",
        metavar="DIR",
        help="Keep what is found in this new folder, for `edgeq runs`: a manifest and the JSON "
        "document.",
    ),
]
_PAGE = "Write what is found as a page, one file that needs no network; an earlier one is replaced."


def _check_apart(run: Path, *written: Path | None) -> None:
    """Return where nothing else is to be written as the run's folder, or into it."""
    from edgeq.errors import UsageError

    for path in written:
        if path is not None and run.resolve() in (path.resolve(), *path.resolve().parents):
            raise UsageError(
                f"{run} is to be a new folder for the run, and {path} is to be written there too",
                hint="name another folder with --run",
            )


def with_run(command: Callable[..., None], *also: str) -> Callable[..., None]:
    """Give a command the flags; what cannot be written is refused before any work.

    Args:
        command: the function behind it.
        also: further names of ``--html``.
    """
    signature = inspect.signature(command)
    html_flag = Annotated[Path | None, typer.Option("--html", *also, metavar="FILE", help=_PAGE)]
    flags = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=kind)
        for name, kind in (("run", _RUN), ("html", html_flag))
    ]
    others = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
    ]

    def wrapped(*, run: Path | None, html: Path | None, **given: Any) -> None:
        if run is not None:
            from edgeq.deploy import console
            from edgeq.deploy.runs.folder import check_new

            check_new(run)
            _check_apart(run, given.get("output"), html)
            console.keep_run_in(run)
        if html is not None:
            from edgeq.deploy import console
            from edgeq.deploy.runs.page import check_page

            check_page(html)
            console.write_page_to(html)
        command(**given)

    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*others, *flags])
    return wrapped
