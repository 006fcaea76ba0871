"""What to measure of artefacts on targets, and what was found."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.profiling.alone import ThroughputGrid
from edgeq.tabular import Table, Tabular

if TYPE_CHECKING:
    from edgeq.deploy.evaluation.profiling.speed_ups import SpeedUp
    from edgeq.results import Failure, Profile
    from edgeq.timing.details import PeakSpeed, Throughput


@dataclass(frozen=True, slots=True)
class Details:
    """What to measure beside latency.

    Attributes:
        start_up: loading, the first inference and memory, each runtime alone in a process.
        operators: the time of each operator, where the runtime has a profiler.
        peak: the share of this machine's peak.
        throughput: the batches and counts of threads to tell the throughput of.
        energy: of a run, where a meter can be read.
        instructions: of a sample, on targets that can count them; takes minutes.
    """

    start_up: bool = False
    operators: bool = False
    peak: bool = False
    throughput: ThroughputGrid = field(default_factory=ThroughputGrid)
    energy: bool = False
    instructions: bool = False


@dataclass(frozen=True, slots=True, repr=False)
class Profiled(Tabular):
    """Latencies taken side by side.

    Attributes:
        profiles: of what ran, in the order given.
        failures: of what did not.
        speed_ups: each profile but the first against one before it: the first on the same target,
            where there is one.
        throughput: samples a second, for each batch and count of threads asked for.
        peak: what this machine computes at most; None where it was not asked.
        no_energy: why no energy was measured; empty where it was, or was not asked.
    """

    profiles: tuple[Profile, ...]
    failures: tuple[Failure, ...]
    speed_ups: tuple[SpeedUp, ...] = ()
    throughput: tuple[Throughput, ...] = ()
    peak: PeakSpeed | None = None
    no_energy: str = ""

    def table(self) -> Table:
        """The latency of each artefact on each target."""
        rows = [
            (
                each.artefact,
                each.target,
                each.kind,
                f"{each.latency.p50_ms:.4g}",
                f"{each.latency.p90_ms:.4g}",
                each.latency.trust.word,
            )
            for each in self.profiles
        ]
        failed = [(each.artefact, each.target, each.what, "", "", "") for each in self.failures]
        return Table(
            "Latency of one sample",
            ("artefact", "target", "latency is", "p50 ms", "p90 ms", "trust"),
            [*rows, *failed],
        )
