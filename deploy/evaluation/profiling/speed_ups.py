"""How many times as fast one artefact is as another, and which operators keep it from being so."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import GateFailed, Inconclusive, UsageError
from edgeq.timing import processor_ratio, ratio

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.results import Profile
    from edgeq.timing.details import OperatorTime
    from edgeq.timing.ratios import Ratio

# what runtimes put before and behind the kind of an operator that they fuse or quantise
_AROUND = re.compile(
    r"^(?:QLinear|NhwcFused|Nhwc|Fused|DynamicQuantize|Q)(?=[A-Z])"
    r"|Integer(?:ToFloat)?$|NBits$| \(.*"
)
_BLAMED, _NAMED = 3, 3  # kinds of operators, and operators of each
_LEAST = 0.02  # of the base's time that a kind has to take longer by


@dataclass(frozen=True, slots=True)
class SpeedUp:
    """One artefact on one target against another, both timed in turns.

    Attributes:
        artefact: the file's name.
        target: the target's name.
        base: the file that it is held against: the first on the same target, or else the first of
            all.
        base_target: the target of that one.
        times: how many times as fast it is, by the clock.
        processor_times: the same in processor time; None where that is not known. With several
            threads it tells of work, not of latency.
        blamed: the kinds of operators that take longer than those of the base, those that cost most
            first; empty where operators were not timed.
    """

    artefact: str
    target: str
    base: str
    base_target: str
    times: Ratio
    processor_times: Ratio | None = None
    blamed: tuple[Blamed, ...] = ()

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.artefact} on {self.target}"


@dataclass(frozen=True, slots=True)
class Blamed:
    """Operators of one kind that take longer than those of the same kind in the base.

    Attributes:
        kind: what they are, as the runtime names it.
        more_ms: how much longer all of them take together.
        in_base: whether the base has any.
        operators: the slowest of them.
    """

    kind: str
    more_ms: float
    in_base: bool
    operators: tuple[str, ...]


def speed_ups(profiles: Sequence[Profile]) -> tuple[SpeedUp, ...]:
    """Each profile against its base, in the order given.

    Measured ones are held against measured ones only; simulated ones against those of the same
    simulator; estimates against nothing. Too few common rounds leave a pair out.
    """
    found = []
    for place, profile in enumerate(profiles):
        before = [each for each in profiles[:place] if _comparable(each, profile)]
        same = [each for each in before if each.target == profile.target]
        if not before:
            continue
        base = (same or before)[0]
        try:
            times = ratio(base.latency, profile.latency)
            processor = processor_ratio(base.latency, profile.latency)
        except Inconclusive:
            continue
        found.append(
            SpeedUp(
                profile.artefact,
                profile.target,
                base.artefact,
                base.target,
                times,
                processor,
                blame(profile.operators, base.operators) if same else (),
            )
        )
    return tuple(found)


def _comparable(one: Profile, other: Profile) -> bool:
    if one.kind != other.kind or one.kind == "estimated":
        return False
    timed = bool(one.latency.blocks_ms and other.latency.blocks_ms)
    return timed and (one.kind == "measured" or one.target == other.target)


def blame(slow: Sequence[OperatorTime], base: Sequence[OperatorTime]) -> tuple[Blamed, ...]:
    """The kinds of operators that take longer than in the base, what costs most first."""
    if not (slow and base):
        return ()
    mine, theirs = _by_kind(slow), _by_kind(base)
    more = {
        kind: sum(one.ms for one in group) - sum(one.ms for one in theirs.get(kind, []))
        for kind, group in mine.items()
    }
    least = _LEAST * sum(one.ms for one in base)
    worst = sorted((kind for kind in mine if more[kind] > least), key=lambda kind: -more[kind])
    return tuple(
        Blamed(
            " or ".join(dict.fromkeys(one.kind for one in mine[kind])),
            more[kind],
            kind in theirs,
            tuple(one.name for one in sorted(mine[kind], key=lambda one: -one.ms)[:_NAMED]),
        )
        for kind in worst[:_BLAMED]
    )


def _by_kind(operators: Iterable[OperatorTime]) -> dict[str, list[OperatorTime]]:
    found: dict[str, list[OperatorTime]] = defaultdict(list)
    for one in operators:
        found[_AROUND.sub("", one.kind)].append(one)
    return found


def require_pairs(pairs: Sequence[Pair]) -> None:
    """Check that some target runs two artefacts, so that one can be faster.

    Raises:
        UsageError: none does.
    """
    targets = [pair.target for pair in pairs]
    if len(set(targets)) == len(targets):
        raise UsageError(
            "no two files run on one target, so that none can be faster than another",
            hint="name the file to be faster than first, such as that of the float network, and "
            "then the others, of the same format",
        )


def require_speed_up(found: Sequence[SpeedUp], least: float, threads: int) -> None:
    """Check that every artefact is so many times as fast as the first on its target.

    The clock decides; where its interval does not, and one thread ran, processor time does.

    Raises:
        GateFailed: one is not.
        Inconclusive: one may be or not; or there were too few rounds to tell.
    """
    held = [each for each in found if each.target == each.base_target]
    if not held:
        raise Inconclusive(
            "there were too few rounds to tell how many times as fast the files are",
            hint="measure for longer (--seconds)",
        )
    decided = [(each, _deciding(each, least, threads)) for each in held]
    slow = [(each, times) for each, times in decided if times.high < least]
    if slow:
        raise GateFailed(
            "; ".join(f"{_told(each, times)}, less than {least:g}" for each, times in slow),
            hint="; ".join(dict.fromkeys(_hint(each) for each, _ in slow)),
        )
    unsure = [(each, times) for each, times in decided if times.low < least]
    if unsure:
        raise Inconclusive(
            "; ".join(
                f"{_told(each, times)}, which leaves {least:g} open" for each, times in unsure
            ),
            hint="measure for longer (--seconds), or on a machine at rest",
        )


def _deciding(each: SpeedUp, least: float, threads: int) -> Ratio:
    processor = each.processor_times
    if each.times.low < least <= each.times.high and processor is not None and threads == 1:
        return processor
    return each.times


def _told(each: SpeedUp, times: Ratio) -> str:
    by = "" if times is each.times else " in processor time"
    return (
        f"{each.name} is {times.value:.3f} times as fast as {each.base}{by} "
        f"(95 %: {times.low:.3f} to {times.high:.3f})"
    )


def _hint(each: SpeedUp) -> str:
    if not each.blamed:
        return f"edgeq audit {each.artefact} --target {each.target} says what runs in float"
    return "what takes longer: " + ", ".join(map(blamed_in_words, each.blamed))


def blamed_in_words(one: Blamed) -> str:
    """What a kind of operators costs more, and which of them most."""
    base = "" if one.in_base else ", of which the other has none"
    return f"{one.kind} +{one.more_ms:.3g} ms{base} ({', '.join(map(_short, one.operators))})"


def _short(name: str) -> str:
    return name if len(name) <= 40 else f"…{name[-39:]}"
