"""Two files of one format, operator by operator.

Operators are matched by name, and by their kind and order where names are others. Tensors are
matched by the operator that reads or writes them, so that renaming makes no difference.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeq.diffing.grids import grid_differences
from edgeq.diffing.order import in_order
from edgeq.diffing.records import Difference
from edgeq.linting.model import LintActivation
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.deploy.diff.contents import StoredOperator, StoredTensor
    from edgeq.diffing.records import Kind


def structural_differences(
    mine: Sequence[StoredOperator], other: Sequence[StoredOperator]
) -> tuple[int, list[Difference]]:
    """Operators, attributes and constants that are different, but for what layers hold.

    Args:
        mine: those of an ONNX or TFLite file.
        other: those of another one of the same format.

    Returns:
        How many operators both have, and what differs, in the order of the first file.
    """
    pairs, lost, added = _matched(mine, other)
    found: list[Difference] = []
    seen: set[tuple[str, str]] = set()
    names = {
        tensor.name
        for a, b in pairs
        if a.name == b.name
        for tensor, its in zip(a.outputs, b.outputs, strict=False)
        if tensor.name == its.name
    }
    for a, b in pairs:
        found += [*_operators(a, b), *_wiring(a, b, names)]
        for tensor, its in _tensors(a, b):
            if (tensor.name, its.name) not in seen:
                seen.add((tensor.name, its.name))
                found += _differences(tensor, its)
    found += [_only("operator missing", each, "first") for each in lost]
    found += _added(added, pairs, other)
    return len(pairs), found


def _added(
    added: Sequence[StoredOperator],
    pairs: Sequence[tuple[StoredOperator, StoredOperator]],
    other: Sequence[StoredOperator],
) -> Iterator[Difference]:
    """The operators of the second file alone, each at the nearest one behind it that both have."""
    known = {id(b): a for a, b in pairs}
    readers: dict[str, list[StoredOperator]] = {}
    for each in other:
        for name in each.reads:
            readers.setdefault(name, []).append(each)
    for each in added:
        waiting, seen = [each], {id(each)}
        while waiting and id(waiting[0]) not in known:
            behind = (b for t in waiting.pop(0).outputs for b in readers.get(t.name, ()))
            waiting += [b for b in behind if id(b) not in seen]
            seen |= {id(b) for b in waiting}
        if waiting:
            where = known[id(waiting[0])].name
            told = f"{each.op_type} {each.name!r} in front of it is only in the second file"
            yield Difference("operator added", where, told)
        else:
            yield _only("operator added", each, "second")


def _only(kind: Kind, operator: StoredOperator, place: str) -> Difference:
    return Difference(kind, operator.name, f"{operator.op_type} is only in the {place} file")


def _matched(
    mine: Sequence[StoredOperator], other: Sequence[StoredOperator]
) -> tuple[list[tuple[StoredOperator, StoredOperator]], list[StoredOperator], list[StoredOperator]]:
    """The operators in pairs, and those of either side that have no partner."""
    named = {(each.name, each.op_type): each for each in other}
    partner = {
        id(each): named.pop((each.name, each.op_type))
        for each in mine
        if (each.name, each.op_type) in named
    }
    rest = [each for each in mine if id(each) not in partner]
    theirs = [each for each in other if (each.name, each.op_type) in named]
    kinds = [[each.op_type for each in side] for side in (rest, theirs)]
    makers, others = _makers(mine), _makers(other)
    taken = {id(each) for each in partner.values()}
    partner |= {
        id(rest[i]): theirs[j]
        for i, j in in_order(*kinds)
        if not _reads_another(rest[i], theirs[j], makers, others, partner, taken)
    }
    taken = {id(each) for each in partner.values()}
    return (
        [(each, partner[id(each)]) for each in mine if id(each) in partner],
        [each for each in mine if id(each) not in partner],
        [each for each in theirs if id(each) not in taken],
    )


def _makers(operators: Sequence[StoredOperator]) -> dict[str, StoredOperator]:
    return {tensor.name: each for each in operators for tensor in each.outputs}


def _reads_another(
    a: StoredOperator,
    b: StoredOperator,
    makers: Mapping[str, StoredOperator],
    others: Mapping[str, StoredOperator],
    named: Mapping[int, StoredOperator],
    taken: Collection[int],
) -> bool:
    """Whether two operators of a kind read results of operators that names tell to be others."""
    if len(a.inputs) != len(b.inputs):
        return False
    for mine, its in zip(a.inputs, b.inputs, strict=True):
        maker = None if mine is None else makers.get(mine.name)
        other = None if its is None else others.get(its.name)
        known = None if maker is None else named.get(id(maker))
        if known is not None and other is not None and known is not other:
            return id(other) in taken
    return False


def _operators(a: StoredOperator, b: StoredOperator) -> Iterator[Difference]:
    for name in sorted({*a.attributes, *b.attributes}):
        mine, its = (each.attributes.get(name, "none") for each in (a, b))
        if mine != its:
            yield Difference("attribute", a.name, f"{name}: {mine} became {its}")
    for what, count, others in (
        ("inputs", len(a.inputs), len(b.inputs)),
        ("outputs", len(a.outputs), len(b.outputs)),
    ):
        if count != others:
            yield Difference("operator", a.name, f"{count} {what} became {others}")


def _wiring(a: StoredOperator, b: StoredOperator, names: Collection[str]) -> Iterator[Difference]:
    """Inputs that are other results, of those that one operator of both files gives."""
    for place, (mine, its) in enumerate(zip(a.inputs, b.inputs, strict=False), start=1):
        if mine is None or its is None or mine.name == its.name:
            continue
        if mine.name in names and its.name in names:
            yield Difference(
                "operator", a.name, f"input {place} was {mine.name!r} and is {its.name!r}"
            )


def _tensors(a: StoredOperator, b: StoredOperator) -> Iterator[tuple[StoredTensor, StoredTensor]]:
    for mine, its in (
        *zip(a.inputs, b.inputs, strict=False),
        *zip(a.outputs, b.outputs, strict=False),
    ):
        if mine is not None and its is not None:
            yield mine, its


def _differences(a: StoredTensor, b: StoredTensor) -> Iterator[Difference]:
    if a.dtype and b.dtype and a.dtype != b.dtype:
        yield Difference("number format", a.name, f"{a.dtype} became {b.dtype}")
    if a.shape is not None and b.shape is not None and _sizes(a.shape) != _sizes(b.shape):
        yield Difference("shape", a.name, f"{_shape(a)} became {_shape(b)}")
    if a.grid is not None and b.grid is not None:
        activations = (LintActivation(a.name, grid) for grid in (a.grid, b.grid))
        yield from grid_differences(*activations, alike=True)
    if (a.values is None) != (b.values is None):
        states = ["computed" if each.values is None else "constant" for each in (a, b)]
        yield Difference("operator", a.name, f"{states[0]} became {states[1]}")
    elif a.values is not None and b.values is not None and a.values.shape == b.values.shape:
        yield from _numbers(a, a.values, b.values)


def _numbers(
    tensor: StoredTensor, mine: NDArray[np.generic], its: NDArray[np.generic]
) -> Iterator[Difference]:
    if mine.dtype.kind not in "iufb" or its.dtype.kind not in "iufb":
        return
    both_nan = (mine != mine) & (its != its)  # which differs from itself
    places = np.argwhere((mine != its) & ~both_nan)
    if not len(places):
        return
    distance = np.abs(mine.astype(np.float64) - its.astype(np.float64))
    largest = float(np.where(both_nan, 0, distance).max())
    first = tuple(int(i) for i in places[0])
    where = f" at {list(first)}" if first else ""
    yield Difference(
        "constant",
        tensor.name,
        f"{counted(len(places), 'number', 'differ', of=mine.size)}, by up to {largest:.6g}; "
        f"the first{where}: {mine[first]} became {its[first]}",
        steps=int(largest) if mine.dtype.kind in "iu" else None,
    )


def _sizes(shape: tuple[object, ...]) -> list[object]:
    """The dimensions, of which those that are left open are alike, whatever they are called."""
    return [size if isinstance(size, int) else None for size in shape]


def _shape(tensor: StoredTensor) -> str:
    return "x".join(map(str, tensor.shape or ())) or "one number"
