"""Which part of one file is which part of another: by name, then by the order of shapes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar, cast

from edgeq.diffing.order import in_order
from edgeq.diffing.records import Difference

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Sequence

    from edgeq.diffing.records import Kind

T = TypeVar("T")


class Aligned(NamedTuple, Generic[T]):
    """The parts of two files.

    Attributes:
        pairs: those that both have, in the order of the first file.
        missing: those that only one has.
    """

    pairs: list[tuple[T, T]]
    missing: list[Difference]


def align(
    before: Sequence[T],
    after: Sequence[T],
    *,
    name: Callable[[T], str],
    shape: Callable[[T], Hashable],
    what: str,
    required: bool = True,
) -> Aligned[T]:
    """Pair the parts of two files.

    Parts of one name belong together where the name is unique in both files. The others are paired
    in their order where their shapes are the same, as files of two formats call them differently.

    Args:
        before: the parts of the first file, in the order of the graph.
        after: those of the second.
        name: of a part.
        shape: what parts that belong together have in common.
        what: the noun for messages.
        required: whether each part has a partner. Where not, as with what another format stores
            in between, parts are paired by name alone, and one without a partner is no difference.
    """
    partner = _by_name([name(each) for each in before], [name(each) for each in after])
    taken = set(partner.values())
    rest = [i for i in range(len(before)) if i not in partner]
    free = [j for j in range(len(after)) if j not in taken]
    shapes = [shape(before[i]) for i in rest], [shape(after[j]) for j in free if required]
    partner |= {rest[i]: free[j] for i, j in in_order(*shapes)}
    # what only changed its shape stands where the other one did
    rest = [i for i in rest if i not in partner]
    taken = set(partner.values())
    free = [j for j in free if j not in taken]
    if required and len(rest) == len(free):
        partner.update(zip(rest, free, strict=True))
        rest = free = []
    missing = [
        Difference(cast("Kind", f"{what} {how}"), name(part), f"only in the {place} file")
        for how, place, parts in (
            ("missing", "first", [before[i] for i in rest]),
            ("added", "second", [after[j] for j in free]),
        )
        for part in parts
    ]
    pairs = [(before[i], after[j]) for i, j in sorted(partner.items())]
    return Aligned(pairs, missing if required else [])


def _by_name(before: Sequence[str], after: Sequence[str]) -> dict[int, int]:
    mine, its = Counter(before), Counter(after)
    places = {name: j for j, name in enumerate(after) if its[name] == 1}
    return {i: places[name] for i, name in enumerate(before) if name in places and mine[name] == 1}
