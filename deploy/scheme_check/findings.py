"""What a file, a refusal and a runtime's plan say about each kind of tensor of a scheme."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.deploy.scheme_check.requirements import Requirement, RequirementKind
    from edgeq.errors import EdgeqError
    from edgeq.exporter import Exported
    from edgeq.formats.dialect import Dialect
    from edgeq.plan import Plan, PlannedOp
    from edgeq.target import Target

Exactness = Literal["exact", "approximated", "refused", "unknown"]
RunsIn = Literal["integer", "float", "mixed", ""]

_SUB_RANGES = {"clip": "an integer Clip", "saturate": "saturation", "real-clip": "a Clip in front"}
_SHIFTS = (
    "it multiplies by powers of two only",
    "train with --weight-method power-of-two --activation-method power-of-two, without BatchNorm",
)
_ONE_SCALE = (
    "it has one scale a layer, and a folded BatchNorm or --per-channel makes one for each channel",
    "train with --per-tensor, without BatchNorm",
)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a target makes of tensors that a scheme treats alike.

    Attributes:
        kind: weights of inner layers or of the first and last, activations, what the scheme leaves
            in float, or the whole network.
        requirement: how the scheme wants them.
        count: how many there are.
        stored: how a file for the target holds them.
        verdict: ``exact`` where that file holds the very numbers; ``unknown`` where something else
            was refused first.
        runs: the numbers that the target computes them with; empty where it cannot be asked here.
        why: the reason, empty where there is nothing to say.
        hint: what to do about it.
    """

    kind: RequirementKind | Literal["network"]
    requirement: str
    count: int
    stored: str = ""
    verdict: Exactness = "exact"
    runs: RunsIn = ""
    why: str = ""
    hint: str = ""


def finding(
    one: Requirement,
    verdict: Exactness,
    runs: RunsIn = "",
    why: str = "",
    hint: str = "",
    stored: str = "",
) -> Finding:
    """About what was asked."""
    return Finding(
        one.kind, one.what, len(one.names), stored, verdict, runs, brief(why), brief(hint)
    )


def unlowered(requirements: tuple[Requirement, ...]) -> tuple[Finding, ...]:
    """About a network in which something has no integer form anywhere."""
    waiting = "nothing can be exported as long as another part is refused"
    return tuple(
        finding(one, "refused", "", one.refusal, one.hint)
        if one.refusal
        else finding(one, "unknown", "", waiting)
        for one in requirements
    )


def refused(requirements: tuple[Requirement, ...], error: EdgeqError) -> tuple[Finding, ...]:
    """About a network that an exporter or a runtime refuses.

    What the refusal names, or the whole network where it names nothing.
    """
    blamed = [
        one
        for one in requirements
        if any(f"'{name}_" in error.what or f"'{name}." in error.what for name in one.names)
    ]
    found = tuple(
        finding(one, "refused", "", error.what, error.hint)
        if one in blamed[:1]
        else finding(one, "unknown")
        for one in requirements
    )
    return (
        found
        if blamed
        else (
            *found,
            Finding("network", "", 1, "", "refused", "", brief(error.what), brief(error.hint)),
        )
    )


def exported(
    one: Requirement,
    target: Target | None,
    dialect: Dialect,
    written: Exported,
    refusal: EdgeqError | None,
    plan: Plan | None,
) -> Finding:
    """About a file that was written, perhaps with more allowed than was wished.

    Args:
        one: what was asked.
        target: None for a runtime that is none here.
        dialect: how the file is spelt.
        written: the file.
        refusal: why no file could be written without allowing more; None where one could.
        plan: what the runtime makes of the file; None where it was not asked.
    """
    ops = _ops(one, plan) if plan is not None else []
    runs, stored = (
        "float" if one.kind == "float" and plan is not None else _runs(ops),
        _stored(one, dialect),
    )
    if (beyond := _beyond(one, target)) is not None:
        return finding(one, "approximated", runs, *beyond, stored)
    for note in written.approximations:
        if refusal is not None and any(note.tensor.startswith(name) for name in one.names):
            why = f"{note.what}, by up to {note.max_error_lsb:.3g} LSB in {note.tensor!r}"
            return finding(one, "approximated", runs, why, refusal.hint, stored)
    for line in written.parity.different:
        if any(name in line for name in one.names):
            return finding(
                one,
                "approximated",
                runs,
                line,
                "please report it: an export is not meant to change a number",
                stored,
            )
    if one.kind == "float" and refusal is not None:
        return finding(
            one,
            "exact",
            "float",
            "the file may keep them in float only if it is told to",
            "export with --allow-float",
            stored,
        )
    why = next(
        (op.why for op in ops if op.arithmetic == "float" and op.why),
        one.needs and f"as published it needs {one.needs}",
    )
    return finding(one, "exact", runs, why, "", stored)


def brief(text: str) -> str:
    """The first of several lines, and how many there are."""
    first, *rest = text.splitlines() or [""]
    return f"{first.removesuffix(':')} (and {counted(len(rest), 'more line')})" if rest else first


def _beyond(one: Requirement, target: Target | None) -> tuple[str, str] | None:
    """What a target's capabilities rule out, whatever its files can hold, and the hint."""
    if target is None or one.kind == "float":
        return None
    if one.per_channel and not target.capabilities.per_channel:
        return _ONE_SCALE
    return _SHIFTS if target.capabilities.power_of_two and not one.power_of_two else None


def _stored(one: Requirement, dialect: Dialect) -> str:
    if one.kind == "float":
        return "float32"
    if one.kind != "activations":
        return "int8"
    return (
        f"{dialect.activation_dtype}, bounded by {_SUB_RANGES[dialect.sub_range]}"
        if one.is_sub_range
        else dialect.activation_dtype
    )


def _ops(one: Requirement, plan: Plan) -> list[PlannedOp]:
    """The operators that a kind of tensor is computed by.

    Those named, else layers in the order of the network, or the rest.
    """
    if one.ops:
        # in ONNX its kind stands behind
        return [op for op in plan.ops if op.name.partition("/")[0] in one.ops]
    layers = [op for op in plan.ops if op.macs]
    ends = [layers[0], layers[-1]] if layers else []
    if one.kind == "weights":
        return [op for op in layers if op not in ends]
    if one.kind == "first and last":
        return ends
    return (
        [op for op in plan.ops if not op.macs and op.arithmetic != "none"]
        if one.kind == "activations"
        else []
    )


def _runs(ops: list[PlannedOp]) -> RunsIn:
    found = {op.arithmetic for op in ops}
    if len(found) > 1:
        return "mixed"
    return "" if not found else "float" if "float" in found else "integer"
