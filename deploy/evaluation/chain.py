"""The chain of artefacts and targets, from the trained network to the device.

Its order is data: each target declares its place, and the causes of drift up to it.
"""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from edgeq.diffing.replay import ReplayTarget
from edgeq.errors import EdgeqError, TargetError, UsageError
from edgeq.formats.artefact import detect, resolve
from edgeq.target import TARGETS, Availability

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.diffing.replay import ReplaySession
    from edgeq.formats.artefact import Format
    from edgeq.target import ChainLink, Target


class Pair(NamedTuple):
    """An artefact and the name of a target to run it on."""

    artefact: Path
    target: str


QUANTISATION, CONVERSION, ANOTHER = "quantisation", "conversion", "another artefact"
CAUSES = (
    QUANTISATION,
    "lowering",
    "graph optimisation",
    "emulation",
    CONVERSION,
    "kernel rounding",
)
"""What can lie between two stages, in the order in which a hop names it."""
_FORMATS: tuple[Format, ...] = ("checkpoint", "onnx", "tflite")


def files_of(paths: Sequence[Path]) -> list[Path]:
    """The artefacts that a user means, in the order given.

    A training folder stands for its checkpoint; what is named twice, in whatever way, counts once.

    Raises:
        ArtefactError: nothing is there, or a folder holds no checkpoint.
    """
    files: dict[Path, Path] = {}
    for path in map(resolve, paths):
        files.setdefault(path.resolve(), path)
    return list(files.values())


def chain(artefacts: Sequence[Path], targets: Sequence[str] | None = None) -> tuple[Pair, ...]:
    """Every artefact on every target that opens it, from the trained network to the device.

    Args:
        artefacts: files and training folders, each once; those of one format keep the order given.
        targets: their names; None for all that are usable here. Those that the chain does not know
            come last.

    Raises:
        ArtefactError: a file is missing, broken or foreign.
        UsageError: no artefact at all; an artefact that no target given opens, or a target given
            that opens none.
        UnknownName: a target is not registered.
        TargetError: every target given, or every target of a format, is not usable here. One among
            others that are is left in: what runs the stages tells of it, and of the others their
            results.
    """
    formats: dict[Path, Format] = {path: detect(path) for path in files_of(artefacts)}
    if not formats:
        raise UsageError(
            "no artefact is named", hint="name a checkpoint, an ONNX file or a TFLite file"
        )
    table = (
        asked_for(targets)
        if targets
        else {name: Requested(target, None) for name, target in usable_targets().items()}
    )
    pairs = [
        Pair(path, name)
        for path in formats
        for name in table
        if formats[path] in table[name].formats
    ]
    _check_cover(pairs, formats, targets or ())
    order = {path: number for number, path in enumerate(formats)}
    return tuple(
        sorted(
            pairs,
            key=lambda pair: (
                _FORMATS.index(formats[pair.artefact]),
                order[pair.artefact],
                _rank(table[pair.target].target),
                pair.target,
            ),
        )
    )


def cause(source: Pair, stage: Pair) -> str:
    """What lies between two stages, for people."""
    found = []
    same_format = detect(source.artefact) == detect(stage.artefact)
    if source.artefact != stage.artefact and same_format:
        found.append(ANOTHER)
    if source.target != stage.target:
        found += _between(source, stage)
    elif not same_format:
        found.append(CONVERSION)
    return " + ".join(dict.fromkeys(found)) or "nothing"


def usable_targets(*, on_request: bool = False) -> dict[str, Target]:
    """Every registered target that works here, by name.

    Those that have to be asked for only if ``on_request``.
    """
    found: dict[str, Target] = {}
    for name in TARGETS.names():
        try:
            target = load_target(name)
        except TargetError:
            continue
        if (on_request or not target.capabilities.on_request) and availability(target).usable:
            found[name] = target
    return found


class Requested(NamedTuple):
    """A target that was named.

    Attributes:
        target: the target; None where it cannot be loaded here.
        problem: why it is not usable here; None where it is.
    """

    target: Target | None
    problem: TargetError | None

    @property
    def formats(self) -> frozenset[Format]:
        """What it opens.

        Anything, of one that cannot be loaded, so that whoever tries tells of it.
        """
        return frozenset(_FORMATS) if self.target is None else self.target.capabilities.formats


def load_target(name: str) -> Target:
    """A registered target.

    Raises:
        UnknownName: there is none such.
        UsageError: the user's own description of it is wrong.
        TargetError: a package that it needs is not installed, or it fails as it is imported.
    """
    try:
        return TARGETS.load(name)
    except EdgeqError:
        raise
    except Exception as error:  # a target may be anybody's
        raise TargetError(
            f"the target {name!r} cannot be loaded: {type(error).__name__}: {error}",
            hint="update or uninstall the package that it comes from",
        ) from error


def availability(target: Target) -> Availability:
    """Whether a target works here; one whose own probe fails does not."""
    try:
        return target.probe()
    except Exception as error:  # noqa: BLE001  a target may be anybody's
        return Availability(
            usable=False,
            why_not=f"its probe fails: {type(error).__name__}: {error}",
            hint="report it to its makers",
        )


def asked_for(names: Sequence[str]) -> dict[str, Requested]:
    """The named targets, each once; what is not usable here is told with it.

    Raises:
        UnknownName: one is not registered.
        TargetError: not one of them is usable here.
    """
    found = {name: _asked_for(name) for name in names}
    problems = [asked.problem for asked in found.values() if asked.problem is not None]
    if problems and len(problems) == len(found):
        raise problems[0]
    return found


def _asked_for(name: str) -> Requested:
    target = None
    try:
        target = load_target(name)
        require_targets([name])
    except TargetError as error:
        return Requested(target, error)
    return Requested(target, None)


def reference_of(kind: Format) -> Target:
    """The target that other kernels of a format are judged by.

    Raises:
        TargetError: none is installed.
    """
    return load_target(reference_name(kind))


def reference_name(kind: Format) -> str:
    """The name of :func:`reference_of`.

    A target that cannot be loaded, such as a board whose description is faulty, is none.

    Raises:
        TargetError: none is installed.
    """
    for name in TARGETS.names():
        with suppress(EdgeqError):
            target = load_target(name)
            if target.capabilities.reference and kind in target.capabilities.formats:
                return name
    raise TargetError(f"no reference target opens {kind} files", hint="see edgeq targets")


def judging_stage(artefact: Path) -> Pair:
    """What answers for a file: the reference of its format, of a checkpoint what opens it first.

    Raises:
        TargetError: none is installed.
        ArtefactError: the file is missing or broken.
    """
    kind = detect(artefact)
    if kind == "checkpoint":
        return chain([artefact])[0]
    return Pair(artefact, reference_name(kind))


def open_replay(artefact: Path) -> tuple[ReplaySession | None, EdgeqError | None]:
    """A file opened so that operators can be given numbers, by the target that is most exact.

    Returns:
        The session, None where no target opens the file so; and why the first of them did not.
    """
    kind, targets, why_not = detect(artefact), list[ReplayTarget](), None
    for name in TARGETS.names():
        with suppress(EdgeqError):
            target = load_target(name)
            if isinstance(target, ReplayTarget) and kind in target.capabilities.formats:
                place = 0 if target.capabilities.replays else len(targets)
                targets.insert(place, target)
    for each in targets:
        try:
            return each.open_replay(artefact, threads=1), why_not
        except EdgeqError as error:
            why_not = why_not or error
    return None, why_not or TargetError(f"no target replays {kind} files", hint="see edgeq targets")


def require_targets(names: Sequence[str]) -> dict[str, Target]:
    """The named targets.

    Raises:
        UnknownName: one is not registered.
        TargetError: one is not usable here.
    """
    found = {name: load_target(name) for name in names}
    for name, target in found.items():
        state = availability(target)
        if not state.usable:
            raise TargetError(
                f"the target {name!r} is not usable here: {state.why_not}", hint=state.hint
            )
    return found


def _check_cover(
    pairs: Sequence[Pair], formats: dict[Path, Format], targets: Sequence[str]
) -> None:
    for path, kind in formats.items():
        if any(pair.artefact == path for pair in pairs):
            continue
        if targets:
            raise UsageError(
                f"none of the targets {', '.join(targets)} opens {path} (format: {kind})",
                hint="see edgeq targets",
            )
        raise TargetError(
            f"no target that is usable here opens {path} (format: {kind})",
            hint="edgeq targets says how to fix each",
        )
    for name in targets:
        if not any(pair.target == name for pair in pairs):
            raise UsageError(
                f"the target {name!r} opens none of the artefacts",
                hint="see edgeq targets for the formats that it opens",
            )


def _between(source: Pair, stage: Pair) -> list[str]:
    """What one of two stages has gone through and the other has not.

    Where that is nothing that has a name, the last thing that both did.
    """
    ends = [_gone_through(source), _gone_through(stage)]
    if ends[0] is None or ends[1] is None:
        return ["another target"]
    apart = set(ends[0]) ^ set(ends[1])
    return sorted(apart, key=_place) or sorted(ends[1], key=_place)[-1:]


def _gone_through(pair: Pair) -> tuple[str, ...] | None:
    link = _link(pair.target)
    if link is None:
        return None
    return (*link.causes, *([CONVERSION] if detect(pair.artefact) == "tflite" else []))


def _place(cause: str) -> int:
    return CAUSES.index(cause) if cause in CAUSES else len(CAUSES)


def _link(target: str) -> ChainLink | None:
    try:
        return load_target(target).capabilities.link
    except TargetError:
        return None


def _rank(target: Target | None) -> float:
    link = None if target is None else target.capabilities.link
    return math.inf if link is None else link.place
