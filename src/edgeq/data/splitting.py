"""Which samples train and which validate.

Decided once, the same on every machine and with every NumPy.

The shuffle sorts raw words of the PCG64 bit generator. NumPy promises that stream for ever; it
makes no such promise for ``Generator.permutation``, whose result may change with a release and
would silently move samples between the splits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data.source import Split

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
