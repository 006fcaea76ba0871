"""Rules about what a target does with a file: placement, integers, memory, cycles, drift."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING

from edgeq.deploy.gate.judges.context import WRITE_AGAIN, finding, not_run, within
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.result import Finding

_NAMED = 3
_FAR = {"delegated": 0, "integer": 1, "removed": 1, "hybrid": 2, "float": 3, "fallback": 3}
_FIGURES = {
    "size": ("size_bytes", "bytes"),
    "arena": ("arena_bytes", "bytes"),
    "sram": ("sram_bytes", "bytes"),
    "cycles": ("cycles", "cycles"),
}


def limited(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge a figure that has to stay small: bytes or cycles."""
    name, unit = _FIGURES[rule.name]
    told = False
    for stage in context.stages(rule):
        now = context.measured.values[stage.name].get(name)
        entry = context.baseline.stages.get(stage.name)
        then = None if entry is None else entry.values.get(name)
        if now is None and then is None and not rule.stages:
            continue
        told = True
        if now is None:
            yield not_run(
                rule,
                stage.name,
                f"its target tells nothing of {rule.name}",
                f"name in the stages of {rule.name} those that tell it",
            )
            continue
        yield from _limits(rule, stage.name, now, then, unit)
    if not told:
        yield not_run(
            rule,
            "",
            f"no stage tells anything of {rule.name}",
            "add a target that does: tflm tells arenas, ethos-u55 SRAM and cycles",
        )


def _limits(rule: Rule, stage: str, now: float, then: float | None, unit: str) -> Iterator[Finding]:
    most, growth = rule.number("max"), rule.number("max_growth")
    more = {"measured": now, "baseline": then, "unit": unit}
    if most is not None:
        yield finding(
            rule,
            "max",
            stage,
            "pass" if now <= most else "fail",
            f"{now:,.0f} {unit}, {most:,.0f} are allowed",
            **more,
        )
    if growth is None:
        return
    if then is None:
        yield finding(
            rule,
            "max_growth",
            stage,
            "not-run",
            f"the baseline tells nothing of {rule.name}",
            next_command=WRITE_AGAIN,
        )
        return
    grown = now / then - 1 if then else 0.0
    yield finding(
        rule,
        "max_growth",
        stage,
        "pass" if within(grown, growth) else "fail",
        f"{now:,.0f} {unit}, {then:,.0f} in the baseline: {100 * grown:+.1f} %, "
        f"{100 * growth:g} % are allowed",
        limit=then * (1 + growth),
        **more,
    )


def integer_share(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge the share of multiplications in integers."""
    least = rule.number("min") or 0.0
    for stage in context.stages(rule):
        share = context.measured.values[stage.name].get("integer_share")
        if share is None:
            yield finding(
                rule,
                "min",
                stage.name,
                "not-run",
                context.measured.no_placement.get(stage.name, "its target does not tell"),
                next_command="name in the stages of integer_share those that tell it",
            )
            continue
        placed = context.measured.placements[stage.name]
        floats = [name for name, where in placed.items() if where.startswith("float")]
        entry = context.baseline.stages.get(stage.name)
        then = None if entry is None else entry.values.get("integer_share")
        good = share >= least
        pair = context.measured.pairs[stage.name]
        ask_audit = f"edgeq audit {shlex.quote(str(pair.artefact))} --target {pair.target}"
        yield finding(
            rule,
            "min",
            stage.name,
            "pass" if good else "fail",
            f"{100 * share:.2f} % of the MACs are in integers, {100 * least:g} % are asked for"
            + (f"; in float are {', '.join(floats[:_NAMED])}" if floats and not good else ""),
            measured=100 * share,
            baseline=None if then is None else 100 * then,
            limit=100 * least,
            unit="%",
            next_command="" if good else ask_audit,
        )


def placement(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge whether any operator left the integers or the delegate that it ran in."""
    if rule.settings.get("same") is not True:
        return
    for stage, then in context.pairs(rule):
        now = context.measured.placements.get(stage.name)
        if now is None or not then.placement:
            why = (
                context.measured.no_placement.get(stage.name, "its target does not tell")
                if now is None
                else "the baseline holds no placement of it"
            )
            yield finding(rule, "same", stage.name, "not-run", why, next_command=WRITE_AGAIN)
            continue
        moved = [
            f"{name}: {before} became {now[name]}"
            for name, before in then.placement.items()
            if name in now and _left(before, now[name])
        ]
        yield finding(
            rule,
            "same",
            stage.name,
            "fail" if moved else "pass",
            f"{counted(len(moved), 'operator', of=len(now))} moved"
            + (f": {'; '.join(moved[:_NAMED])}" if moved else ""),
            measured=float(len(moved)),
            limit=0.0,
        )


def _left(before: str, now: str) -> bool:
    """Whether an operator that ran so runs farther from integers, or from the delegate, now."""
    was, became = (_FAR.get(placed.partition(" ")[0], 0) for placed in (before, now))
    return not now.startswith("removed") and became > was


def drift(rule: Rule, context: Context) -> Iterator[Finding]:
    """Judge how far a stage is from the reference: operator by operator, and at the output."""
    if rule.number("min_sqnr_db") is not None:
        yield from _sqnr(rule, context)
    most = rule.number("max_lsb_per_operator")
    if most is None or context.measured.operators is None:
        return
    verdicts = {stage.name: stage for stage in context.measured.operators.stages}
    for stage in context.stages(rule):
        verdict = verdicts.get(stage.name)
        if verdict is not None and verdict.state == "reference":
            continue
        worst = (
            None
            if verdict is None
            else max(
                (each for each in verdict.operators if each.max_lsb is not None),
                key=lambda each: each.max_lsb or 0,
                default=None,
            )
        )
        if verdict is None or worst is None or worst.max_lsb is None:
            if verdict is not None and verdict.state in ("exact", "quantisation"):
                continue  # it is what the others are judged by, or computes in float
            yield finding(
                rule,
                "max_lsb_per_operator",
                stage.name,
                "not-run",
                "its operators cannot be judged one by one: it shows no tensors",
                next_command="name in the stages of drift those that show their tensors",
            )
            continue
        good = worst.max_lsb <= most
        causes = [context.measured.operators.causes[place] for place in verdict.causes]
        yield finding(
            rule,
            "max_lsb_per_operator",
            stage.name,
            "pass" if good else "fail",
            f"given equal inputs, {worst.op_type} {worst.operator!r} is off by {worst.max_lsb:,} "
            f"LSB, {int(most)} may be",
            measured=float(worst.max_lsb),
            unit="LSB",
            cause="" if good or not causes else f"{causes[0].kind}: {causes[0].what}",
            next_command="" if good or not causes else causes[0].hint,
        )


def _sqnr(rule: Rule, context: Context) -> Iterator[Finding]:
    least = rule.number("min_sqnr_db") or 0.0
    comparison = context.measured.observed.comparison
    found = {hop.stage: hop.output.sqnr_db for hop in comparison.from_reference}
    for stage in context.stages(rule):
        if stage.name not in found:
            continue  # the reference itself
        entry = context.baseline.stages.get(stage.name)
        yield finding(
            rule,
            "min_sqnr_db",
            stage.name,
            "pass" if found[stage.name] >= least else "fail",
            f"the output's SQNR against {comparison.reference} is {found[stage.name]:.1f} dB, "
            f"{least:g} are asked for",
            measured=found[stage.name],
            baseline=None if entry is None else entry.values.get("sqnr_db"),
            unit="dB",
        )
