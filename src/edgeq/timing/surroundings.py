"""What else went on while something was timed: as Linux counts it, between two moments."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_STAT = Path("/proc/stat")
_POWER = Path("/sys/class/power_supply")
_GROUPS = (
    Path("/sys/fs/cgroup/cpu.stat"),  # cgroup 2
    Path("/sys/fs/cgroup/cpu/cpu.stat"),  # cgroup 1
)
# columns of /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal
_IDLE, _STOLEN, _COUNTED = (3, 4), 7, 8


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a stretch of time was like.

    Attributes:
        others: the share of the machine's processors that other programs kept busy; None where it
            cannot be told.
        stolen: the share that a hypervisor gave to other machines.
        throttled: the share of the time for which a container's quota stopped this process.
        battery: whether the machine ran on its battery.
    """

    others: float | None = 0.0
    stolen: float = 0.0
    throttled: float = 0.0
    battery: bool = False


class Watch:
    """Begins to look at the machine; :meth:`seen` says what has happened since."""

    def __init__(self) -> None:
        self._before = _Counts.now()

    def seen(self, workers_seconds: float = 0.0) -> Surroundings:
        """What went on since the watch began.

        Args:
            workers_seconds: processor time of processes that worked for this one, and still run.
        """
        before, after = self._before, _Counts.now()
        seconds = after.at - before.at
        ticks = [b - a for a, b in zip(before.ticks, after.ticks, strict=False)][:_COUNTED]
        total = sum(ticks)
        others, stolen = None, 0.0
        if len(ticks) == _COUNTED and total > 0:
            tick = 1 / os.sysconf("SC_CLK_TCK")
            own = after.own - before.own + workers_seconds
            busy = (total - sum(ticks[i] for i in _IDLE)) * tick
            others = min(max((busy - own) / (total * tick), 0.0), 1.0)
            stolen = ticks[_STOLEN] / total
        throttled = (after.throttled - before.throttled) / seconds if seconds > 0 else 0.0
        return Surroundings(others, stolen, min(throttled, 1.0), on_battery())


@dataclass(frozen=True, slots=True)
class _Counts:
    at: float  # s
    ticks: tuple[int, ...]  # of all processors
    own: float  # s of processor time, of this process and of children that ended
    throttled: float  # s

    @classmethod
    def now(cls) -> _Counts:
        return cls(time.monotonic(), ticks_in(_text(_STAT)), sum(os.times()[:4]), _throttled())


def ticks_in(stat: str) -> tuple[int, ...]:
    """The counts of all processors together, from the text of ``/proc/stat``; empty for none."""
    words = stat.partition("\n")[0].split()
    return (
        tuple(map(int, words[1:]))
        if words[:1] == ["cpu"] and all(word.isdecimal() for word in words[1:])
        else ()
    )


def throttled_in(stat: str) -> float:
    """How long a quota stopped the group, in s, from the text of its ``cpu.stat``."""
    counts = dict(line.split() for line in stat.splitlines() if len(line.split()) == 2)
    for key, unit in (("throttled_usec", 1e6), ("throttled_time", 1e9)):
        if counts.get(key, "").isdecimal():
            return int(counts[key]) / unit
    return 0.0


def on_battery(folder: Path = _POWER) -> bool:
    """Whether there is mains power to be had and none is plugged in."""
    mains = [_text(path).strip() for path in sorted(folder.glob("A*/online"))]
    return bool(mains) and "1" not in mains


def _throttled() -> float:
    return max(throttled_in(_text(path)) for path in _GROUPS)


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
