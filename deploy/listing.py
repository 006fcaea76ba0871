"""What there is: targets and whether they work here, and what can be done for those that do not."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from edgeq.deploy.evaluation.chain import availability, load_target
from edgeq.errors import TargetError, UsageError
from edgeq.target import TARGETS, Varied

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

PROBES_AT_ONCE = 8  # those of boards mostly wait


@runtime_checkable
class Preparable(Protocol):
    """A target that can make the environment it needs."""

    def setup(self, *, force: bool = False, say: Callable[[str], None] = ...) -> Path:
        """Make it, and tell where it is."""
        ...


@runtime_checkable
class Faulty(Protocol):
    """A target that knows of faults in what it runs on."""

    def faults(self) -> Sequence[str]:
        """A sentence for each one found here."""
        ...


@runtime_checkable
class Described(Protocol):
    """A target that has more to tell than every target has."""

    def details(self) -> Sequence[tuple[str, str]]:
        """What, and its value, in words."""
        ...


@dataclass(frozen=True, slots=True)
class TargetRow:
    """The capabilities of a target, and whether it works here; see :mod:`edgeq.target`."""

    name: str
    usable: bool
    summary: str = ""
    why_not: str = ""
    hint: str = ""
    formats: tuple[str, ...] = ()
    storage_dtypes: tuple[str, ...] = ()
    per_channel: bool = False
    intermediates: bool = False
    latency: str = ""
    on_request: bool = False
    versions: Mapping[str, str] = field(default_factory=dict)
    faults: tuple[str, ...] = ()
    details: tuple[tuple[str, str], ...] = ()
    saturating_pairs: str = "never"
    uint8_weight_cost: float | None = None


def list_targets(name: str | None = None) -> list[TargetRow]:
    """Every registered target with the kinds it comes in, or the named one.

    Raises:
        UnknownName: no target has this name.
        UsageError: the user's own description of a target is wrong.
    """
    with ThreadPoolExecutor(PROBES_AT_ONCE) as pool:
        names = (
            [name]
            if name is not None
            else [kind for whole in pool.map(_kinds, TARGETS.names()) for kind in whole]
        )
        return list(pool.map(_row, names))


def set_up(name: str, *, force: bool, say: Callable[[str], None]) -> Path:
    """Make the environment of a target; returns where it is.

    Raises:
        UnknownName: no target has this name.
        UsageError: it has no environment of its own.
        OutputError: the disk is full, or the place cannot be written.
        TargetError: it cannot be made.
    """
    target = TARGETS.load(name)
    if not isinstance(target, Preparable):
        raise UsageError(
            f"the target {name!r} has no environment to set up", hint=f"see edgeq targets {name}"
        )
    return target.setup(force=force, say=say)


def _kinds(name: str) -> list[str]:
    try:
        target = load_target(name)
    except TargetError:
        return [name]
    return (
        [name, *(f"{name}:{kind}" for kind in target.variants())]
        if isinstance(target, Varied)
        else [name]
    )


def _row(name: str) -> TargetRow:
    try:
        target = load_target(name)
    except TargetError as error:
        return TargetRow(name, usable=False, why_not=error.what, hint=error.hint)
    can, state = target.capabilities, availability(target)
    return TargetRow(
        name=name,
        usable=state.usable,
        summary=can.summary,
        why_not=state.why_not,
        hint=state.hint,
        formats=tuple(sorted(can.formats)),
        storage_dtypes=tuple(sorted(can.storage_dtypes)),
        per_channel=can.per_channel,
        intermediates=can.intermediates,
        latency=can.latency,
        on_request=can.on_request or name not in TARGETS.names(),
        versions=dict(state.versions),
        faults=tuple(target.faults()) if isinstance(target, Faulty) else (),
        details=tuple(target.details()) if isinstance(target, Described) else (),
        saturating_pairs=can.saturating_pairs,
        uint8_weight_cost=can.uint8_weight_cost,
    )
