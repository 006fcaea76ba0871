"""Which samples train, which validate, and which are used where fewer are asked for.

Decided once, the same on every machine and with every NumPy.

The shuffle sorts raw words of the PCG64 bit generator. NumPy promises that stream for ever; it
makes no such promise for ``Generator.permutation``, whose result may change with a release and
would silently move samples between the splits.

Where fewer samples are asked for than there are, a part has to stand for all. Folders and tables
often hold one class after the other, and other data repeat their classes in turn, so neither the
first samples nor every n-th ones need to be like all. The data are cut into as many equal stretches
as samples are asked for, and each gives one, at a place that depends on the two numbers alone.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Final

import numpy as np

from edgeq.errors import UnknownName, UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data.source import DataSource, Split

SPLITS: Final = ("train", "validation", "test")
_FIRST = "first:"
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: multiples of it spread evenly
_HALF = np.uint64(32)

SEED = 20220924
"""The seed of every published split of ours; changing it makes old results incomparable."""


def shuffled(count: int, seed: int = SEED) -> NDArray[np.int64]:
    """A fixed permutation of ``0 .. count-1``: int64, (count,)."""
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable").astype(np.int64)


def hold_out_tenth(split: Split) -> tuple[Split, Split]:
    """A random nine tenths to train and one tenth to validate, each in the published order.

    For CIFAR this is the 45,000 / 5,000 split of Ben-Yair, Eliasof, Treister, "Quantized
    convolutional neural networks through the lens of partial differential equations", Sec. 5, with
    a seed of ours since they name none.

    Returns:
        The training and the validation samples. At least one sample validates when there are two or
        more.
    """
    order = shuffled(len(split))
    held_out = max(len(split) // 10, min(1, len(split) - 1))
    return split.take(np.sort(order[held_out:])), split.take(np.sort(order[:held_out]))


def set_aside(count: int, wanted: int) -> NDArray[np.int64]:
    """Which samples of the only part of some data are calibrated on, and left to nothing else.

    At most half of them, so that as many are left to judge by; more of them hold all that fewer
    do.

    Args:
        count: how many there are.
        wanted: how many are asked for.

    Returns:
        Their places in order: int64.
    """
    return np.sort(shuffled(count)[: min(wanted, max(count // 2, 1))])


def stratified(labels: NDArray[np.int64], count: int, seed: int = SEED) -> NDArray[np.bool_]:
    """Choose ``count`` samples so that each class gives its share, to within one sample.

    The samples are laid out class by class, shuffled inside a class, and picked at even distances.

    Returns:
        bool, (n,), true where a sample is chosen.
    """
    order = shuffled(len(labels), seed)
    order = order[np.argsort(labels[order], kind="stable")]
    rank = np.arange(len(labels), dtype=np.int64)
    chosen = np.zeros(len(labels), np.bool_)
    chosen[order] = (rank + 1) * count // len(labels) > rank * count // len(labels)
    return chosen


class First(int):
    """How many samples, from the first on, where a number alone takes some of all stretches."""

    __slots__ = ()

    def __str__(self) -> str:
        return f"{_FIRST}{int(self)}"

    __repr__ = __str__


def read_limit(text: str | int) -> int:
    """A number of samples as a person writes it: ``200``, or ``first:200``.

    Raises:
        ValueError: it is neither.
    """
    told = str(text)
    return First(told.removeprefix(_FIRST)) if told.startswith(_FIRST) else int(told)


def fewer(limit: int | None, most: int) -> int:
    """A limit that is no more than so many samples, taken as it says."""
    if limit is None or limit >= most:
        return First(most) if isinstance(limit, First) else most
    return limit


def spread(count: int, total: int) -> NDArray[np.int64]:
    """Where some of so many samples lie, one in each of ``count`` stretches: int64, sorted."""
    ends = np.arange(count + 1, dtype=np.int64) * total // count
    within = (np.arange(count, dtype=np.uint64) * _GOLDEN) >> _HALF
    return ends[:-1] + (within * np.diff(ends).astype(np.uint64) >> _HALF).astype(np.int64)


def limited(source: DataSource, split: str, limit: int | None) -> DataSource:
    """Data with no more than so many samples in a part, and a remark that says which.

    Args:
        source: the data.
        split: the part.
        limit: how many, :class:`First` for the first ones; None for all.

    Raises:
        UnknownName: there is no such part.
        UsageError: it is empty, or the limit is below 1.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    part: Split = getattr(source, split)
    if limit is not None and limit < 1:
        raise UsageError(f"a limit of {int(limit)} leaves no samples", hint="give 1 or more")
    if len(part) == 0:
        raise UsageError(
            f"the {split} split of {source.name} is empty",
            hint=f"choose another of {', '.join(SPLITS)}",
        )
    if limit is None or limit >= len(part):
        return source
    first, all_of_them = isinstance(limit, First), counted(len(part), "sample")
    where = np.arange(limit, dtype=np.int64) if first else spread(limit, len(part))
    told = (
        f"the first {int(limit):,} of {all_of_them} of {source.name} {split} are used"
        if first
        else f"{int(limit):,} of {all_of_them} of {source.name} {split} are used, spread evenly "
        f"over them; --limit {_FIRST}{int(limit)} takes the first"
    )
    remark = "; ".join(filter(None, (source.remark, told)))
    taken = part.take(where)
    if split == "train":
        return replace(source, train=taken, remark=remark)
    if split == "validation":
        return replace(source, validation=taken, remark=remark)
    return replace(source, test=taken, remark=remark)
