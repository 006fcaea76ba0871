"""What ``edgeq profile`` prints: measured figures in one table, others in tables of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy import console
from edgeq.deploy.evaluation.profiling.speed_ups import blamed_in_words
from edgeq.deploy.report.values import MISSING, kilobytes, milliseconds, percent, short
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.evaluation.profiling.result import Profiled
    from edgeq.deploy.evaluation.profiling.speed_ups import SpeedUp
    from edgeq.machine import Machine
    from edgeq.results import Profile
    from edgeq.timing.details import Throughput

_MOST_OPERATORS = 12
_RUNS_FOR_P99 = 100  # fewer leave it to a single one


def show(found: Profiled, machine: Machine, threads: int) -> None:
    """Everything that was measured."""
    for kind in ("measured", "simulated", "estimated"):
        _latencies([one for one in found.profiles if one.kind == kind], kind, machine, threads)
    _trust(found.profiles)
    _speed_ups(found.speed_ups)
    if any(one.kind != "estimated" for one in found.profiles):
        _beginnings(found)
    for one in found.profiles:
        _operators(one)
    _throughput(found.throughput)
    if found.no_energy:
        console.write(f"Energy was not measured: {found.no_energy}.\n")


def _latencies(profiles: Sequence[Profile], kind: str, machine: Machine, threads: int) -> None:
    if not profiles:
        return
    columns = ("artefact", "target", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "trust")
    where = f", on {machine.cpu}" if kind == "measured" else ""
    console.write_table(
        f"{kind.capitalize()} latency of one sample, at most {counted(threads, 'thread')}{where}",
        columns,
        [_latency_cells(one) for one in profiles],
        numbers=columns[2:6],
    )
    for one in profiles if kind != "measured" else ():
        console.write_table(
            f"{one.artefact} on {one.target}: what the {kind} latency is of",
            ("", ""),
            list(one.facts.items()),
        )


def _latency_cells(one: Profile) -> tuple[str, ...]:
    latency = one.latency
    figures = [latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms]
    cells = [milliseconds(figure) for figure in figures]
    if latency.runs == 0:
        cells[1:] = [MISSING] * 3
    elif latency.runs < _RUNS_FOR_P99:
        cells[3] = MISSING
    trust = "" if one.kind == "estimated" else latency.trust.word
    return (one.artefact, one.target, *cells, trust)


def _trust(profiles: Sequence[Profile]) -> None:
    """Why figures do not hold, each reason once, and what to do about it."""
    told: dict[str, list[str]] = {}
    for one in profiles:
        trust = one.latency.trust
        if one.kind == "estimated":
            console.write(f"{one.artefact} on {one.target}: {trust.why}\n")
        elif trust.why:
            held = [
                *(["ratios to what was timed in turns with them"] if trust.ratios else []),
                *(["processor time"] if trust.processor_time else []),
            ]
            what = (
                f"{trust.why}.\n  hint: {trust.advice}\n"
                f"  what holds all the same: {' and '.join(held) or 'nothing'}\n"
            )
            told.setdefault(what, []).append(f"{one.artefact} on {one.target}")
    for what, names in told.items():
        console.write(f"The percentiles do not hold ({', '.join(names)}): {what}")


def _speed_ups(found: Sequence[SpeedUp]) -> None:
    if not found:
        return
    columns = ("artefact", "target", "as fast as", "times", "95 %", "processor time")
    rows = [
        (
            each.artefact,
            each.target,
            each.base if each.base_target == each.target else f"{each.base} on {each.base_target}",
            f"{each.times.value:.3f}",
            f"{each.times.low:.3f} to {each.times.high:.3f}",
            f"{each.processor_times.value:.3f} ({each.processor_times.low:.3f} to "
            f"{each.processor_times.high:.3f})"
            if each.processor_times
            else "",
        )
        for each in found
    ]
    console.write_table("Times as fast, paired by rounds", columns, rows, numbers=columns[3:4])
    slower = [each for each in found if each.times.high < 1]  # else nothing is to be blamed
    for each in slower:
        for one in each.blamed:
            console.write(f"{each.name} takes longer than {each.base} in {blamed_in_words(one)}")
    if any(each.blamed for each in slower):
        console.write("")


def _beginnings(found: Profiled) -> None:
    """How the runtimes begin, and what a run costs."""
    columns = ("artefact", "target", "load ms", "first ms", "memory MB", "file kB")
    console.write_table(
        "To begin, each alone in a process",
        columns,
        [_beginning(one) for one in found.profiles if one.kind != "estimated"],
        numbers=columns[2:],
    )
    columns = ("artefact", "target", "M MACs", "peak %", "processor ms", "energy mJ")
    rows = [_cost(one) for one in found.profiles if one.kind == "measured"]
    if any(any(row[2:]) for row in rows):
        console.write_table("What a run costs", columns, rows, numbers=columns[2:])
    if found.peak is not None:
        console.write(
            f"100 % of the peak: {found.peak.float_gmacs:.3g} GMAC/s in float32, "
            f"{found.peak.integer_gmacs:.3g} in int8, measured:\n  {found.peak.how}\n"
        )
    for note in dict.fromkeys(
        f"{one.artefact} on {one.target}: {note}" for one in found.profiles for note in one.notes
    ):
        console.write(f"{note}\n")


def _beginning(one: Profile) -> tuple[str, ...]:
    start = one.start_up
    peak = start.peak_bytes if start else None
    return (
        one.artefact,
        one.target,
        milliseconds(start.load_ms) if start else MISSING,
        milliseconds(start.first_ms) if start else MISSING,
        MISSING if peak is None else f"{peak / 1e6:.1f}",
        kilobytes(one.size_bytes),
    )


def _cost(one: Profile) -> tuple[str, ...]:
    latency = one.latency
    return (
        one.artefact,
        one.target,
        "" if one.macs is None else f"{one.macs / 1e6:.3g}",
        "" if one.peak_share is None else percent(one.peak_share),
        "" if latency.processor_ms is None else milliseconds(latency.processor_ms),
        "" if latency.energy_mj is None else f"{latency.energy_mj:.3g}",
    )


def _operators(one: Profile) -> None:
    if not one.operators:
        return
    total = sum(each.ms for each in one.operators)
    ranked = sorted(one.operators, key=lambda each: -each.ms)[:_MOST_OPERATORS]
    left = len(one.operators) - len(ranked)
    columns = ("operator", "type", "ms", "%", "by")
    some = f"; the {len(ranked)} slowest" if left else ""
    count = counted(len(one.operators), "operator")
    console.write_table(
        f"{one.artefact} on {one.target}: {total:.4g} ms in {count}{some}",
        columns,
        [
            (
                short(each.name),
                "" if each.name.startswith(each.kind) else each.kind,
                milliseconds(each.ms),
                percent(each.ms / total if total else 0.0),
                each.place,
            )
            for each in ranked
        ],
        numbers=columns[2:4],
    )


def _throughput(found: Sequence[Throughput]) -> None:
    if not found:
        return
    columns = ("artefact", "target", "batch", "threads", "samples/s", "p50 ms", "why not")
    console.write_table(
        "Throughput, all in turns",
        columns,
        [
            (
                each.artefact,
                each.target,
                str(each.batch),
                str(each.threads),
                MISSING if each.per_second is None else f"{each.per_second:,.0f}",
                MISSING if each.p50_ms is None else milliseconds(each.p50_ms),
                each.why_not,
            )
            for each in found
        ],
        numbers=columns[2:6],
    )
