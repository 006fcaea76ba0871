"""How samples are fed: as a person says, as the artefact notes, or as the data have it.

What is said and what is noted must not contradict each other.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.errors import ArtefactError, UnknownName, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgeq.data import DataSource
    from edgeq.data.preprocessing import Preprocessing

NAMES = ("dataset", "imagenet", "raw")
MAX_BYTES = 1 << 16
_PANEL = "Preprocessing"
_MAY_BE_ADDED = ("resize", "interpolation", "center_crop", "letterbox", "fill", "layout", "audio")
"""What an artefact that does not note it leaves open: it may come from data of one size."""


def _flag(name: str, metavar: str, text: str) -> Any:
    option = typer.Option(name, metavar=metavar, help=text, rich_help_panel=_PANEL)
    return Annotated[str | None, option]


_FLAGS = {
    "preprocess": _flag(
        "--preprocess",
        "NAME|FILE.toml",
        "Feed samples as the `dataset`'s own, with `imagenet`'s mean and deviation, `raw`, or as a "
        "TOML file says; else as the artefact notes.",
    ),
    "resize": _flag("--resize", "N|HxW", "Resize images: the shorter side, or height x width."),
    "interpolation": _flag("--interpolation", "NAME", "How: nearest, bilinear, bicubic or area."),
    "center_crop": _flag("--center-crop", "N|HxW", "Keep the middle of each image."),
    "letterbox": _flag(
        "--letterbox", "N|HxW", "Fit each image into a frame, in its proportions, on grey."
    ),
    "scale": _flag("--scale", "NUMBER", "Multiply by this, such as 1/255."),
    "mean": _flag("--mean", "A,B,C", "Then subtract this from each channel."),
    "std": _flag("--std", "A,B,C", "Then divide each channel by this."),
    "channels": _flag(
        "--channels", "rgb|bgr|grey|grey-to-rgb", "The channels that the network sees."
    ),
    "layout": _flag("--layout", "nchw|nhwc", "Where the channels stand."),
    "dtype": _flag("--dtype", "NAME", "The type that is fed, such as float32 or uint8."),
    "audio": _flag(
        "--audio",
        "KIND[:KEY=VALUE...]",
        "What is made of sound: raw, or log-mel:rate=16000:window=480:hop=320:mels=40.",
    ),
}


FLAGS = frozenset(f"--{name.replace('_', '-')}" for name in _FLAGS)
"""The names of all flags of preprocessing."""


@dataclass(frozen=True, slots=True)
class AskedPreprocessing:
    """What a person says of it, as typed; None for what is not said.

    Attributes:
        preprocess: a name of :data:`NAMES`, or a TOML file.
        settings: field of a :class:`edgeq.data.Preprocessing` to its value or text.
    """

    preprocess: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)

    def said(self) -> dict[str, Any]:
        """The settings as a :class:`edgeq.data.Preprocessing` reads them.

        Raises:
            UsageError: a number is none.
        """
        return {
            name: _parsed(name, value) if isinstance(value, str) else value
            for name, value in self.settings.items()
        }

    def words(self) -> list[str]:
        """The flags of a command line that say the same.

        A setting that has no flag is left out: the level of what is around an image in a frame.
        """
        told = [] if self.preprocess is None else ["--preprocess", self.preprocess]
        for name, value in self.settings.items():
            if name in _FLAGS:
                told += [f"--{name.replace('_', '-')}", _written(name, value)]
        return told


NOTHING_ASKED = AskedPreprocessing()
ALL_VALUES: Mapping[str, Any] = {"scale": "1", "mean": [], "std": []}
"""What a whole preprocessing says of numbers even where it leaves them as they are."""


def with_preprocessing(command: Callable[..., None]) -> Callable[..., None]:
    """Give a command the flags of preprocessing in the place of its argument ``preprocess``."""
    signature = inspect.signature(command)
    keyword = inspect.Parameter.KEYWORD_ONLY
    flags = [
        inspect.Parameter(name, keyword, default=None, annotation=kind)
        for name, kind in _FLAGS.items()
    ]
    others = [
        parameter.replace(kind=keyword)
        for parameter in signature.parameters.values()
        if parameter.name != "preprocess"
    ]

    def wrapped(**given: Any) -> None:
        told = {name: given.pop(name, None) for name in _FLAGS}
        settings = {name: text for name, text in told.items() if text is not None}
        asked = AskedPreprocessing(settings.pop("preprocess", None), settings)
        command(**given, preprocess=asked)

    wrapped.__doc__, wrapped.__name__ = command.__doc__, command.__name__
    vars(wrapped)["__signature__"] = signature.replace(parameters=[*others, *flags])
    return wrapped


def named(source: DataSource) -> dict[str, Preprocessing]:
    """What ``--preprocess`` knows by name."""
    from edgeq.data.preprocessing import Preprocessing
    from edgeq.data.statistics import IMAGENET

    own = source.preprocessing
    return {
        "dataset": own,
        "imagenet": own.with_values(Preprocessing.normalized(*IMAGENET)),
        "raw": own.with_values(Preprocessing()),
    }


def resolved(
    source: DataSource, asked: AskedPreprocessing, artefacts: Sequence[Path]
) -> Preprocessing:
    """How samples are fed.

    Args:
        source: the data.
        asked: what a person says.
        artefacts: the files that are fed, which may note it.

    Raises:
        UsageError: what is said cannot be, or contradicts what an artefact notes; or two artefacts
            note different things.
        ArtefactError: the TOML file is missing or broken.
        UnknownName: there is no such preprocessing.
    """
    from edgeq.data.preprocessing import Preprocessing

    noted, where = _noted(artefacts)
    base = source.preprocessing if noted is None else noted
    said: dict[str, Any] = {}
    if asked.preprocess is not None:
        path = Path(asked.preprocess)
        if path.suffix == ".toml":
            told = read_toml(path)
            whole = Preprocessing.from_dict(told)
            said = {name: getattr(whole, name) for name in told}
            base = whole if noted is None else base
        elif asked.preprocess in NAMES:
            values = named(source)[asked.preprocess]
            said = {name: getattr(values, name) for name in ("scale", "mean", "std")}
        else:
            raise UnknownName("preprocessing", asked.preprocess, NAMES)
    flags = asked.said()
    parsed = Preprocessing.from_dict(flags)
    said |= {name: getattr(parsed, name) for name in flags}
    if noted is not None:
        _check(said, noted, where)
    return replace(base, **said)


def read_toml(path: Path) -> dict[str, Any]:
    """The settings of a TOML file, by the names of a :class:`Preprocessing`.

    Raises:
        ArtefactError: missing, or no TOML.
    """
    from edgeq.files import parse_toml, read_bytes

    try:
        return parse_toml(read_bytes(path, "preprocessing", limit=MAX_BYTES))
    except ValueError as error:
        raise ArtefactError(
            f"{path} is no TOML: {error}", hint='write lines such as scale = "1/255"'
        ) from error


def noted_by(artefact: Path) -> Preprocessing | None:
    """What a file or checkpoint notes; None where it notes nothing.

    Raises:
        ArtefactError: it notes what cannot be.
    """
    from edgeq.data.preprocessing import Preprocessing
    from edgeq.formats.artefact import detect, resolve
    from edgeq.formats.preprocessing_note import noted_in

    told: Any
    if artefact.exists() and detect(path := resolve(artefact)) == "checkpoint":
        from edgeq.training.checkpoint import read_header

        about = read_header(path)
        told = about.get("preprocessing") if isinstance(about, dict) else None
    else:
        told = noted_in(artefact)
    if not isinstance(told, dict):
        return None
    try:
        return Preprocessing.from_dict(told)
    except UsageError as error:
        raise ArtefactError(
            f"{artefact} notes a preprocessing that this edgeq does not know: {error.what}",
            hint="use the version of edgeq that wrote it",
        ) from error


def _noted(artefacts: Sequence[Path]) -> tuple[Preprocessing | None, Path | None]:
    found: tuple[Preprocessing | None, Path | None] = (None, None)
    for artefact in artefacts:
        noted = noted_by(artefact)
        if noted is None:
            continue
        if found[0] is not None and not found[0].matches(noted):
            raise UsageError(
                f"{found[1]} is fed with {found[0].described()}, and {artefact} with "
                f"{noted.described()}",
                hint="use files of one preprocessing",
            )
        found = noted, artefact
    return found


def _check(said: dict[str, Any], noted: Preprocessing, where: Path | None) -> None:
    """Refuse what contradicts the note."""
    from edgeq.data.preprocessing import Preprocessing

    plain = Preprocessing()
    open_ones = {
        name
        for name in said
        if name in _MAY_BE_ADDED and getattr(noted, name) == getattr(plain, name)
    }
    against = {name: value for name, value in said.items() if name not in open_ones}
    if not replace(noted, **against).matches(noted):
        raise UsageError(
            f"{where} notes that it is fed with {noted.described()}, and what is asked for is "
            f"{replace(plain, **against).described()}",
            hint="leave the preprocessing out; or, where the note is wrong, write the file again "
            "with the right one",
        )


def _written(name: str, value: Any) -> str:
    """A setting as a flag has it; a table of a file of rules has lists and tables."""
    if isinstance(value, list | tuple):
        return ("," if name in ("mean", "std") else "x").join(map(str, value))
    if isinstance(value, dict):
        settings = (f"{key}={each}" for key, each in value.items() if key != "kind")
        return ":".join([str(value.get("kind", "")), *settings])
    return str(value)


def _parsed(name: str, text: str) -> Any:
    try:
        if name in ("resize", "center_crop", "letterbox"):
            return [int(side) for side in text.lower().split("x")]
        if name in ("mean", "std"):
            from edgeq.data.preprocessing import number

            return [float(number(each)) for each in text.split(",")]
    except (ValueError, ZeroDivisionError) as error:
        raise UsageError(
            f"--{name.replace('_', '-')} {text} is no number",
            hint="write 96 or 96x96, and 0.5,0.5,0.5 for channels",
        ) from error
    if name == "audio":
        kind, *settings = text.split(":")
        pairs = (setting.partition("=") for setting in settings)
        return {"kind": kind, **{key: value for key, _, value in pairs}}
    return text
