"""A profile as files that other programs read: a Chrome trace, CSV, github-action-benchmark."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgeq.errors import UsageError
from edgeq.tabular import csv_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.evaluation.profiling.speed_ups import SpeedUp
    from edgeq.machine import Machine
    from edgeq.results import Profile

CSV_COLUMNS = (
    "artefact", "target", "kind", "batch", "threads", "runs", "p50_ms", "p90_ms", "p95_ms",
    "p99_ms", "mean_ms", "min_ms", "processor_ms", "energy_mj", "trust", "why", "advice", "load_ms",
    "first_ms", "peak_bytes", "size_bytes", "macs", "peak_share", "base", "base_target",
    "times_as_fast", "times_as_fast_low", "times_as_fast_high",
)  # fmt: skip


def as_trace(profiles: Sequence[Profile]) -> str:
    """One run of each profile, operator by operator, as chrome://tracing and Perfetto read it.

    Raises:
        UsageError: the operators of none are known.
    """
    events: list[dict[str, object]] = []
    for number, profile in enumerate(one for one in profiles if one.operators):
        name = f"{profile.artefact} on {profile.target} ({profile.kind})"
        events.append({"ph": "M", "name": "process_name", "pid": number, "args": {"name": name}})
        begins = 0.0
        for one in profile.operators:
            took = one.ms * 1e3
            events.append(
                {
                    "ph": "X", "name": one.name, "cat": one.kind, "pid": number, "tid": 0,
                    "ts": begins, "dur": took, "args": {"kind": one.kind, "place": one.place},
                }
            )  # fmt: skip
            begins += took
    if not events:
        notes = dict.fromkeys(note for one in profiles for note in one.notes)
        raise UsageError(
            ": ".join(["no operator was timed, and nothing can be traced", *notes]),
            hint="name a target whose runtime has a profiler: ort-cpu or tflite",
        )
    return json.dumps({"displayTimeUnit": "ms", "traceEvents": events}) + "\n"


def as_csv(profiles: Sequence[Profile], speed_ups: Sequence[SpeedUp]) -> str:
    """A line for each profile; what is not known is empty."""
    against = {(each.artefact, each.target): each for each in speed_ups}
    rows = [_cells(one, against.get((one.artefact, one.target))) for one in profiles]
    return csv_of([CSV_COLUMNS, *rows])


def _cells(one: Profile, against: SpeedUp | None) -> list[object]:
    latency, start = one.latency, one.start_up
    times = against.times if against else None
    return [
        one.artefact, one.target, one.kind, one.batch, one.threads, latency.runs,
        latency.p50_ms, latency.p90_ms, latency.p95_ms, latency.p99_ms, latency.mean_ms,
        latency.min_ms, latency.processor_ms, latency.energy_mj, latency.trust.word,
        latency.trust.why, latency.trust.advice, start and start.load_ms, start and start.first_ms,
        start and start.peak_bytes, one.size_bytes, one.macs, one.peak_share,
        against and against.base, against and against.base_target, times and times.value,
        times and times.low, times and times.high,
    ]  # fmt: skip


def as_benchmark(profiles: Sequence[Profile], machine: Machine) -> str:
    """The medians, as github-action-benchmark's ``customSmallerIsBetter`` wants them.

    Only what this machine's clock measured: simulated and estimated figures would stand in one
    chart with them. Where the clock does not hold, the processor time stands beside it.
    """
    entries = []
    for one in (each for each in profiles if each.kind == "measured"):
        name, latency = f"{one.artefact} on {one.target}", one.latency
        told = f"trust: {latency.trust.word}" + (f"; {latency.why}" if latency.why else "")
        entry: dict[str, object] = {
            "name": f"{name}, p50",
            "unit": "ms",
            "value": latency.p50_ms,
            "extra": f"{told}; {machine.cpu}; {one.threads} threads",
        }
        entries.append(entry)
        if latency.processor_ms is not None:
            more = {
                "name": f"{name}, processor time",
                "value": latency.processor_ms,
                "range": "± 0",
            }
            entries.append({**entry, **more})
    return json.dumps(entries, indent=1) + "\n"
