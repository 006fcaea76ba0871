"""Which figures of a measurement hold, why the others do not, and what to do about it.

A clock tells how long something takes on a machine that is at rest. On a shared one it tells how
long it took to be given a processor; processor time and the ratios of what was timed in turns hold
there all the same.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.timing.surroundings import Surroundings

if TYPE_CHECKING:
    from collections.abc import Iterator

MIN_PAIRS = 30  # of rounds, for a ratio: from fewer, how much they resemble cannot be told
MIN_RUNS = 10  # fewer leave the median to chance
MAX_SPREAD = 0.2  # interquartile range / median
MAX_DRIFT = 0.1  # second half's median / first half's, less one
MAX_WAITING = 0.05  # of the time
MAX_OTHERS = 0.25  # of the machine's processors
MAX_STOLEN = 0.01  # of the processors' time
MAX_THROTTLED = 0.01  # of the time


@dataclass(frozen=True, slots=True)
class Trust:
    """What of a measurement holds.

    Attributes:
        clock: whether the percentiles do.
        processor_time: whether the processor time does; False where it is not known.
        ratios: whether ratios to what was timed in turns with it do; False where nothing was.
        why: why the percentiles do not; empty where they do.
        advice: what to do about it; empty where nothing has to be done.
    """

    clock: bool
    processor_time: bool
    ratios: bool
    why: str = ""
    advice: str = ""

    @property
    def word(self) -> str:
        """For a table: ``yes``, ``ratios``, ``processor`` or ``no``."""
        if self.clock:
            return "yes"
        if self.ratios:
            return "ratios"
        return "processor" if self.processor_time else "no"


@dataclass(frozen=True, slots=True)
class Observed:
    """What the verdict is about.

    Attributes:
        runs: how many were timed.
        rounds: in how many blocks.
        spread: interquartile range / median.
        drift: second half's median / first half's - 1.
        processor_spread: the spread of the processor time of the blocks; None where none is known.
        processor_drift: its drift; None where none is known.
        waiting: the share of the time in which it waited for a processor; None where that cannot be
            told.
        around: what else went on.
        alone: whether nothing was timed in turns with it.
    """

    runs: int
    rounds: int
    spread: float
    drift: float
    processor_spread: float | None = None
    processor_drift: float | None = None
    waiting: float | None = None
    around: Surroundings = field(default_factory=Surroundings)
    alone: bool = False


def judge(seen: Observed) -> Trust:
    """Say what holds."""
    against = list(_against(seen))
    steady = (
        seen.processor_spread is not None
        and seen.processor_drift is not None
        and seen.runs >= MIN_RUNS
        and seen.processor_spread <= MAX_SPREAD
        and abs(seen.processor_drift) <= MAX_DRIFT
    )
    return Trust(
        clock=not against,
        processor_time=steady,
        ratios=seen.rounds >= MIN_PAIRS and not seen.alone,
        why="; ".join(why for why, _ in against),
        advice="; ".join(dict.fromkeys(advice for _, advice in against)),
    )


def _against(seen: Observed) -> Iterator[tuple[str, str]]:
    """Each reason with its remedy, what causes the others first."""
    longer = "measure for longer (--seconds, --runs)"
    around = seen.around
    if around.throttled > MAX_THROTTLED:
        yield (
            f"the container's processor quota stopped it for {around.throttled:.0%} of the time",
            "raise the quota, or use fewer threads",
        )
    if around.stolen > MAX_STOLEN:
        yield (
            f"the hypervisor gave {around.stolen:.0%} of the processors to other machines",
            "use a machine of its own",
        )
    if around.others is not None and around.others > MAX_OTHERS:
        yield (
            f"other programs kept {around.others:.0%} of the processors busy",
            "end the other programs, or use a machine of its own",
        )
    elif seen.waiting is not None and seen.waiting > MAX_WAITING:
        yield (
            f"it waited for a processor for {seen.waiting:.0%} of the time",
            "reserve one for it (taskset -c 1 edgeq profile ...)",
        )
    if around.battery:
        yield "the machine runs on its battery and lowers its clock", "plug it in"
    if seen.runs < MIN_RUNS:
        yield f"{seen.runs} runs are too few", longer
    if abs(seen.drift) > MAX_DRIFT:
        why = f"the second half of the runs differs from the first by {seen.drift:+.0%}"
        if seen.processor_drift is not None and abs(seen.processor_drift) > MAX_DRIFT:
            yield (
                f"{why}, in processor time too: the clock of the processor changed",
                "let it cool down, and fix its clock (cpupower frequency-set -g performance)",
            )
        else:
            yield why, longer
    if seen.spread > MAX_SPREAD:
        yield f"half of the runs spread over {seen.spread:.0%} of the median", longer
