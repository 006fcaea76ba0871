"""Resamples of the samples, for the spread of a figure that is no share.

Samples fall into at most 64 groups by lot, and each resample holds a group once and a Poisson
number of times more. So no resample lacks a class that the samples have, and what each group does
to a figure can be told from the resamples by least squares.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

MEAN = 2.0
"""How often a resample holds a sample, on average."""
_SEED = 17
_MOST_GROUPS = 64
_RESAMPLES_A_GROUP = 3


def groups_of(samples: int, resamples: int) -> int:
    """Into how many groups the samples fall; fewer than a third of the resamples."""
    return max(1, min(samples, _MOST_GROUPS, resamples // _RESAMPLES_A_GROUP))


@lru_cache(maxsize=32)
def group_weights(groups: int, resamples: int) -> NDArray[np.int64]:
    """How often each resample holds the samples of a group, (groups, resamples)."""
    random = np.random.default_rng((_SEED, groups))
    found = 1 + random.poisson(1.0, (groups, resamples)).astype(np.int64)
    found.setflags(write=False)
    return found


@lru_cache(maxsize=8)
def _groups(samples: int, groups: int) -> NDArray[np.int64]:
    """The group of each sample, (samples,)."""
    found = np.random.default_rng((_SEED, samples)).permutation(samples) % groups
    found.setflags(write=False)
    return found


def bootstrap_weights(samples: int, resamples: int) -> NDArray[np.int64]:
    """How often each resample holds each sample, (samples, resamples): 1 or more, 2 on average.

    They depend on the two numbers alone, so that two runs on the same samples are resampled alike.

    Args:
        samples: all of them.
        resamples: how many resamples.
    """
    groups = groups_of(samples, resamples)
    return group_weights(groups, resamples)[_groups(samples, groups)]
