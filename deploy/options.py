"""Flags that several commands share, so that they are spelt and explained alike everywhere."""

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from edgeq.deploy import names


def _limit(text: str) -> int:
    """A number of samples, as :func:`edgeq.data.splitting.read_limit` reads it."""
    from edgeq.data.splitting import read_limit

    try:
        return read_limit(text)
    except ValueError as error:
        raise typer.BadParameter(
            f"{text!r} is neither a number of samples, such as 200, nor first:200"
        ) from error


Artefacts = Annotated[
    list[Path],
    typer.Argument(
        help="Training folders, checkpoints (.safetensors), ONNX files or TFLite files.",
        show_default=False,
    ),
]
FloatNetwork = Annotated[
    Path | None,
    typer.Argument(
        help="A float ONNX file, or a checkpoint or training folder of FP32 training; none with "
        "--model.",
        show_default=False,
    ),
]
Data = Annotated[
    str,
    typer.Option(
        "--data",
        metavar="NAME",
        help="Data set: a name of `edgeq data`; a folder of images, sound or arrays; a CSV or JSON "
        "table; COCO's JSON; .npy or .npz; or your own MODULE:FUNCTION.",
    ),
]
OptionalData = Annotated[
    str | None,
    typer.Option(
        "--data",
        metavar="NAME",
        help="Data set: a name of `edgeq data`; a folder of images, sound or arrays; a CSV or JSON "
        "table; COCO's JSON; .npy or .npz; or your own MODULE:FUNCTION.",
    ),
]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir", metavar="DIR", help="Folder of data sets; else the one that EDGEQ_DATA names."
    ),
]
Split = Annotated[
    str, typer.Option("--split", metavar="train|validation|test", help="Which part of the data.")
]
Limit = Annotated[
    int | None,
    typer.Option(
        "--limit",
        metavar="N",
        parser=_limit,
        help="Use N samples only, spread evenly over the data; first:N for the first N.",
    ),
]
Few = Annotated[
    int,
    typer.Option(
        "--limit",
        metavar="N",
        parser=_limit,
        help="How many samples are used, spread evenly over the data; first:N for the first N.",
    ),
]
Task = Annotated[
    str | None,
    typer.Option(
        "--task",
        metavar="NAME",
        help="Judge the answers by this task: a name of `edgeq compare --tasks`, or your own "
        "MODULE:FUNCTION; else by the data's.",
    ),
]
TaskOptions = Annotated[
    list[str] | None,
    typer.Option(
        "--task-option",
        metavar="KEY=VALUE",
        help="An option of the task, such as decoder=yolov8; repeat for more.",
    ),
]
Targets = Annotated[
    list[str] | None,
    typer.Option(
        "--target",
        "-t",
        metavar="NAME",
        callback=names.targets,
        help="Run there; repeat, or use commas. All targets that are usable here where none is "
        "named.",
    ),
]
Threads = Annotated[
    int, typer.Option("--threads", metavar="N", min=1, help="The most threads a runtime may use.")
]
Output = Annotated[
    Path, typer.Option("--output", "-o", metavar="PATH", help="Where the results go.")
]
OptionalOutput = Annotated[
    Path | None, typer.Option("--output", "-o", metavar="PATH", help="Where the results go.")
]
CutOutputs = Annotated[
    list[str] | None,
    typer.Option(
        "--outputs",
        metavar="NAME",
        callback=names.tensors,
        help="Cut the model at these of its tensors, such as those before TopK or NMS; repeat, or "
        "use commas.",
    ),
]
PerChannel = Annotated[
    bool | None,
    typer.Option(
        "--per-channel/--per-tensor",
        help="A weight scale for each output channel (the default), or one for each layer.",
        show_default=False,
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace what is there already.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document instead of tables.")]
UserModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        metavar="MODULE:FUNCTION",
        help="Your own network: a function that returns it, imported from the current folder "
        "or an installed package.",
    ),
]

OptionsT = TypeVar("OptionsT")


def with_options(
    kind: type[OptionsT],
) -> Callable[[Callable[[OptionsT], None]], Callable[..., None]]:
    """Make a command of a function that takes all its flags in one dataclass.

    Args:
        kind: a dataclass; each field is a flag, annotated and with its default as Typer wants them.
    """

    def decorate(function: Callable[[OptionsT], None]) -> Callable[..., None]:
        def command(**given: object) -> None:
            function(kind(**given))

        command.__doc__ = function.__doc__
        vars(command)["__signature__"] = inspect.signature(kind)
        return command

    return decorate


_IN_PROCESS = Annotated[
    bool,
    typer.Option(
        "--in-process",
        help="Open files of other tools in edgeq's own process: sooner, but one that crashes its "
        "runtime ends the command; EDGEQ_IN_PROCESS=1 does the same.",
    ),
]


def with_isolation(command: Callable[..., None]) -> Callable[..., None]:
    """Let a command open files of other tools in processes of their own.

    And give it the flag ``--in-process`` against that.
    """
    signature = inspect.signature(command)
    flag = inspect.Parameter(
        "in_process", inspect.Parameter.KEYWORD_ONLY, default=False, annotation=_IN_PROCESS
    )
    others = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for parameter in signature.parameters.values()
    ]

    def wrapped(*, in_process: bool, **given: Any) -> None:
        from edgeq.targets.isolation import apart

        with apart(in_process=in_process):
            command(**given)

    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*others, flag])
    return wrapped
