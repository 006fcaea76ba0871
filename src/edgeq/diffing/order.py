"""Which parts of two sequences correspond: what is equal, in its order."""

from __future__ import annotations

from collections import Counter, defaultdict
from difflib import SequenceMatcher
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

_MOST_PAIRS = 4_000_000
"""Equal pairs that are weighed against one another; each takes some 0.1 us."""


def in_order(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The places of equal parts, in the order of both.

    The same ends of both are paired at once. Where more equal pairs are left between them than can
    be weighed, as in long chains of one operator, the n-th of a kind is paired with the n-th of it,
    which takes no longer than reading both.

    Args:
        before: the parts of the first sequence.
        after: those of the second.

    Returns:
        A place in either for each pair.
    """
    shorter = min(len(before), len(after))
    head = next((i for i in range(shorter) if before[i] != after[i]), shorter)
    tail = next(
        (i for i in range(shorter - head) if before[-1 - i] != after[-1 - i]), shorter - head
    )
    mine, its = before[head : len(before) - tail], after[head : len(after) - tail]
    found = _counted(mine, its) if _equal_pairs(mine, its) > _MOST_PAIRS else _weighed(mine, its)
    return [
        *((i, i) for i in range(head)),
        *((head + i, head + j) for i, j in found),
        *((len(before) - i, len(after) - i) for i in range(tail, 0, -1)),
    ]


def _equal_pairs(before: Sequence[Hashable], after: Sequence[Hashable]) -> int:
    counts = Counter(after)
    return sum(counts[part] for part in before)


def _weighed(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The longest blocks first."""
    matcher = SequenceMatcher(None, before, after, autojunk=False)
    return [
        (block.a + i, block.b + i)
        for block in matcher.get_matching_blocks()
        for i in range(block.size)
    ]


def _counted(before: Sequence[Hashable], after: Sequence[Hashable]) -> list[tuple[int, int]]:
    """The first of a kind with the first of it, the second with the second."""
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for j, part in reversed(list(enumerate(after))):
        places[part].append(j)
    return [(i, places[part].pop()) for i, part in enumerate(before) if places.get(part)]
