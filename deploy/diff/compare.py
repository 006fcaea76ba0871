"""Two files, operator by operator and number by number.

Operators are matched by name, and by their kind and order where names are others. Tensors are
matched by the operator that reads or writes them, so that renaming makes no difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from difflib import SequenceMatcher
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.deploy.diff.contents import read
from edgeq.errors import UsageError, channels_named
from edgeq.formats.artefact import detect
from edgeq.tabular import Table, Tabular

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.deploy.diff.contents import StoredOperator, StoredTensor
    from edgeq.quant import QuantParams

Kind = Literal["operator", "attribute", "type", "shape", "grid", "integers", "values"]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that two files have not in common.

    Attributes:
        kind: what sort of thing: ``integers`` are the numbers of a constant with a grid or of an
            integer type, ``values`` those of another one.
        operator: the operator that it is about, as the first file names it.
        tensor: the tensor, likewise; empty for the operator itself.
        what: what is different, in words.
        count: how many numbers differ.
        channels: the channels that they are in.
        index: where the first of them is.
        largest: the largest difference: in LSB of integers, in real units of others.
    """

    kind: Kind
    operator: str
    tensor: str
    what: str
    count: int = 0
    channels: tuple[int, ...] = ()
    index: tuple[int, ...] = ()
    largest: float = 0.0


@dataclass(frozen=True, slots=True, repr=False)
class FileDiff(Tabular):
    """Two files side by side.

    Attributes:
        first: the name of the first file.
        second: that of the second.
        operators: how many operators were matched.
        numbers: how many numbers of constants were compared.
        differences: in the order of the first file.
    """

    first: str
    second: str
    operators: int
    numbers: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether nothing is different."""
        return not self.differences

    def table(self) -> Table:
        """Each difference with its place."""
        told = f"{len(self.differences)} differences" if self.differences else "equal"
        return Table(
            f"{self.first} and {self.second}: {told} in {self.operators:,} operators and "
            f"{self.numbers:,} numbers",
            ("kind", "operator", "tensor", "what"),
            [(each.kind, each.operator, each.tensor, each.what) for each in self.differences],
        )


def diff(first: Path, second: Path) -> FileDiff:
    """What is different in two files of one format.

    Args:
        first: an ONNX or TFLite file.
        second: another one of the same format.

    Raises:
        UsageError: they are of different formats.
        ArtefactError: one is missing or broken.
    """
    kinds = detect(first), detect(second)
    if kinds[0] != kinds[1]:
        raise UsageError(
            f"{first} is a {kinds[0]} file and {second} a {kinds[1]} file",
            hint="edgeq export compares every number across formats; edgeq compare runs both",
        )
    mine, other = read(first), read(second)
    pairs, lost, added = _matched(mine, other)
    found: list[Difference] = []
    numbers = 0
    seen: set[tuple[str, str]] = set()
    for a, b in pairs:
        found += _operators(a, b)
        for tensor, its in _tensors(a, b):
            if (tensor.name, its.name) in seen:
                continue
            seen.add((tensor.name, its.name))
            numbers += 0 if tensor.values is None else tensor.values.size
            found += _differences(a.name, tensor, its)
    found += [_only(each, first.name) for each in lost]
    found += [_only(each, second.name) for each in added]
    return FileDiff(first.name, second.name, len(pairs), numbers, tuple(found))


def _only(operator: StoredOperator, file: str) -> Difference:
    return Difference("operator", operator.name, "", f"{operator.op_type} is only in {file}")


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
    matcher = SequenceMatcher(None, kinds[0], kinds[1], autojunk=False)
    for block in matcher.get_matching_blocks():
        for i in range(block.size):
            partner[id(rest[block.a + i])] = theirs[block.b + i]
    taken = {id(each) for each in partner.values()}
    return (
        [(each, partner[id(each)]) for each in mine if id(each) in partner],
        [each for each in mine if id(each) not in partner],
        [each for each in theirs if id(each) not in taken],
    )


def _operators(a: StoredOperator, b: StoredOperator) -> Iterator[Difference]:
    for name in sorted({*a.attributes, *b.attributes}):
        mine, its = (each.attributes.get(name, "none") for each in (a, b))
        if mine != its:
            yield Difference("attribute", a.name, "", f"{name}: {mine}, then {its}")
    for what, count, others in (
        ("inputs", len(a.inputs), len(b.inputs)),
        ("outputs", len(a.outputs), len(b.outputs)),
    ):
        if count != others:
            yield Difference("operator", a.name, "", f"{count} {what}, then {others}")


def _tensors(a: StoredOperator, b: StoredOperator) -> Iterator[tuple[StoredTensor, StoredTensor]]:
    for mine, its in (
        *zip(a.inputs, b.inputs, strict=False),
        *zip(a.outputs, b.outputs, strict=False),
    ):
        if mine is not None and its is not None:
            yield mine, its


def _differences(operator: str, a: StoredTensor, b: StoredTensor) -> Iterator[Difference]:
    if a.dtype and b.dtype and a.dtype != b.dtype:
        yield Difference("type", operator, a.name, f"{a.dtype}, then {b.dtype}")
    if a.shape is not None and b.shape is not None and a.shape != b.shape:
        yield Difference("shape", operator, a.name, f"{_shape(a)}, then {_shape(b)}")
    if (told := _grids(a.grid, b.grid)) is not None:
        yield Difference("grid", operator, a.name, *told)
    if (a.values is None) != (b.values is None):
        states = ["computed" if each.values is None else "constant" for each in (a, b)]
        yield Difference("operator", operator, a.name, f"{states[0]}, then {states[1]}")
    elif a.values is not None and b.values is not None and a.values.shape == b.values.shape:
        yield from _numbers(operator, a, a.values, b.values)


def _numbers(
    operator: str, tensor: StoredTensor, mine: NDArray[np.generic], its: NDArray[np.generic]
) -> Iterator[Difference]:
    if mine.dtype.kind not in "iufb" or its.dtype.kind not in "iufb":
        return
    both_nan = (mine != mine) & (its != its)  # which differs from itself
    places = np.argwhere((mine != its) & ~both_nan)
    if not len(places):
        return
    integer = mine.dtype.kind in "iu"
    distance = np.abs(mine.astype(np.float64) - its.astype(np.float64))
    largest = float(np.nanmax(np.where(both_nan, 0, distance)))
    first = tuple(int(i) for i in places[0])
    channels: tuple[int, ...] = ()
    if mine.ndim:
        axis = tensor.grid.axis if tensor.grid is not None and tensor.grid.axis is not None else 0
        channels = tuple(int(i) for i in np.unique(places[:, axis]))
    where = f" at {first} in {channels_named(channels)}" if channels else ""
    yield Difference(
        "integers" if integer else "values",
        operator,
        tensor.name,
        f"{len(places):,} of {mine.size:,} differ, by at most {largest:.6g}"
        f"{' LSB' if integer else ''}; the first{where}: {mine[first]}, then {its[first]}",
        len(places),
        channels,
        first,
        largest,
    )


def _grids(
    a: QuantParams | None, b: QuantParams | None
) -> tuple[str, int, tuple[int, ...], tuple[int, ...], float] | None:
    """What is different in two grids, with count, channels, index and largest ratio of scales."""
    if a is None or b is None:
        if a is b:
            return None
        return (
            f"{'none' if a is None else 'a grid'}, then {'none' if b is None else 'a grid'}",
            1,
            (),
            (),
            0.0,
        )
    if a.scale.shape != b.scale.shape or a.axis != b.axis:
        return f"{a.scale.size} scales, then {b.scale.size}", 1, (), (), 0.0
    scales, zeros = (
        tuple(np.atleast_1d(getattr(grid, name)) for grid in (a, b))
        for name in ("scale", "zero_point")
    )
    places = np.flatnonzero((scales[0] != scales[1]) | (zeros[0] != zeros[1]))
    if not places.size:
        return None
    i = int(places[0])
    channels = tuple(int(place) for place in places) if a.axis is not None else ()
    where = f" in {channels_named(channels)}, the first" if channels else ""
    ratio = float(np.max(np.abs(scales[1][places].astype(np.float64) / scales[0][places] - 1)))
    told = (
        f"scale {scales[0][i]:.9g} and zero point {zeros[0][i]}{where}, "
        f"then {scales[1][i]:.9g} and {zeros[1][i]}"
    )
    return told, int(places.size), channels, (i,) if channels else (), ratio


def _shape(tensor: StoredTensor) -> str:
    return " x ".join(map(str, tensor.shape or ())) or "one number"
