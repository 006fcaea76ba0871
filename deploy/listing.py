"""What there is: targets and whether they work here, networks, data sets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.errors import MissingDependency
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class TargetRow:
    """One target: its capabilities, and whether it works on this machine; see :mod:`edgeq.target`."""

    name: str
    usable: bool
    summary: str = ""
    why_not: str = ""
    mend: str = ""
    formats: tuple[str, ...] = ()
    carriers: tuple[str, ...] = ()
    per_channel: bool = False
    intermediates: bool = False
    latency: str = ""
    versions: Mapping[str, str] = field(default_factory=dict)


def list_targets(name: str | None = None) -> list[TargetRow]:
    """Every registered target, or the named one.

    Raises:
        UnknownName: no target has this name.
    """
    return [_row(each) for each in ([name] if name is not None else TARGETS.names())]


def _row(name: str) -> TargetRow:
    try:
        target = TARGETS.load(name)
    except MissingDependency as error:
        return TargetRow(name, usable=False, why_not=error.what, mend=error.mend)
    can, state = target.capabilities, target.probe()
    return TargetRow(
        name=name,
        usable=state.usable,
        summary=can.summary,
        why_not=state.why_not,
        mend=state.mend,
        formats=tuple(sorted(can.formats)),
        carriers=tuple(sorted(can.carriers)),
        per_channel=can.per_channel,
        intermediates=can.intermediates,
        latency=can.latency,
        versions=dict(state.versions),
    )
