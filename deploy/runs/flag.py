"""The flag ``--run``, which every command that measures something has."""

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


def with_run(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flag ``--run``; the folder is refused early where it cannot be written."""
    signature = inspect.signature(command)
    flag = inspect.Parameter("run", inspect.Parameter.KEYWORD_ONLY, default=None, annotation=_RUN)
    others = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
    ]

    def wrapped(*, run: Path | None, **given: Any) -> None:
        if run is not None:
            from edgeq.deploy import console
            from edgeq.deploy.runs.folder import check_new

            check_new(run)
            console.keep_run_in(run)
        command(**given)

    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*others, flag])
    return wrapped
