"""What there is to know of a model's time beside its latency."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class StartUp:
    """What a runtime takes to begin with a model, in a process of its own.

    Attributes:
        load_ms: to load the model and prepare it.
        first_ms: the first inference.
        peak_bytes: the most memory that both took beyond the runtime itself; None where the system
            does not tell.
    """

    load_ms: float
    first_ms: float
    peak_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class OperatorTime:
    """What one operator takes in a run, by the runtime's own profiler.

    Attributes:
        name: as the profiler has it.
        kind: its type there.
        ms: what it takes.
        place: which kernels run it.
    """

    name: str
    kind: str
    ms: float
    place: str = ""


@dataclass(frozen=True, slots=True)
class Throughput:
    """How many samples come out in a second.

    Attributes:
        artefact: the file's name.
        target: the target's name.
        batch: samples a run.
        threads: of the runtime, at most.
        per_second: samples; None where it does not run so.
        p50_ms: the median of a run; None likewise.
        why_not: why it does not; empty where it does.
    """

    artefact: str
    target: str
    batch: int
    threads: int
    per_second: float | None
    p50_ms: float | None
    why_not: str = ""


@dataclass(frozen=True, slots=True)
class PeakSpeed:
    """The most that this machine was seen to compute, with so many threads.

    Attributes:
        float_gmacs: 10^9 multiplications with addition a second, in float32.
        integer_gmacs: the same of 8-bit integers into 32 bits.
        how: the kernel that reached it.
    """

    float_gmacs: float
    integer_gmacs: float
    how: str
