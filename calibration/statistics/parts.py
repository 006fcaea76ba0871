"""What one thread sees of some samples of a batch, apart from all others.

Several threads compute and count samples at a time, each into observers of its own. These are put
together in the order of the samples, which comes to what one thread would have seen of all of them.
"""

from __future__ import annotations

from math import isfinite
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.checked_plugins import CheckedObserver
    from edgeq.calibration.statistics import Statistics


class PartStatistics:
    """What was seen of some samples.

    Args:
        observers: grid to an observer of all values, without those that need only extremes.
        tensors: the tensors of which only the extremes are needed.
    """

    def __init__(
        self, observers: Mapping[str, CheckedObserver], tensors: Iterable[str] = ()
    ) -> None:
        self.observers = observers
        self.extremes: dict[str, list[float]] = {tensor: [] for tensor in tensors}


class Watch:
    """Which tensors the observers of statistics watch; several may watch one.

    Args:
        taps: grid to the tensors whose values lie on it.
        statistics: the observers of the grids.
    """

    def __init__(self, taps: Mapping[str, Sequence[str]], statistics: Statistics) -> None:
        self._statistics = statistics
        observed = [(grid, tensor) for grid, tensors in taps.items() for tensor in tensors]
        observers = statistics.observers
        self._whole = [each for each in observed if not observers[each[0]].of_extremes]
        self._of_extremes = [each for each in observed if observers[each[0]].of_extremes]
        self._batch = self._nothing({})

    @property
    def in_parts(self) -> bool:
        """Whether a batch may be shown in parts."""
        observers = self._statistics.observers.values()
        return all(each.divisible or each.of_extremes for each in observers)

    @property
    def in_threads(self) -> bool:
        """Whether parts can be seen by themselves and put together."""
        return all(self._statistics.observers[grid].mergeable for grid, _ in self._whole)

    def look(self, parts: Iterable[Mapping[str, NDArray[np.float32]]]) -> PartStatistics:
        """See some samples of one batch, in a thread of any kind.

        Args:
            parts: their tensors, a few samples at a time, and all or a few of them; none is kept.

        Raises:
            ArtefactError: a value is not finite.
        """
        observers = self._statistics.observers
        if self.in_threads:
            observers = {grid: self._statistics.make() for grid, _ in self._whole}
        seen = self._nothing(observers)
        for made in parts:
            for grid, tensor in self._whole:
                if tensor not in made:
                    continue
                # twice as fast as a sum
                ends = _extremes(tensor, made[tensor]) if made[tensor].size else None
                observers[grid].update(made[tensor], ends)
            for tensor, found in seen.extremes.items():
                if tensor in made and made[tensor].size:
                    found += _extremes(tensor, made[tensor])
        return seen

    def take(self, seen: PartStatistics) -> None:
        """Put what was seen of the next samples to the rest."""
        if self.in_threads:
            for grid, observer in seen.observers.items():
                self._statistics.observers[grid].merge(observer.state())
        for tensor, found in seen.extremes.items():
            self._batch.extremes[tensor] += found

    def end_of_batch(self) -> None:
        """That was all of the batch."""
        for grid, tensor in self._of_extremes:
            if found := self._batch.extremes[tensor]:
                self._statistics.observers[grid].update(np.array([found], np.float32))
        self._batch = self._nothing({})

    def _nothing(self, observers: Mapping[str, CheckedObserver]) -> PartStatistics:
        return PartStatistics(observers, (tensor for _, tensor in self._of_extremes))


def _extremes(tensor: str, values: NDArray[np.float32]) -> tuple[float, float]:
    # NaN and infinity end up in the extremes
    low, high = float(values.min()), float(values.max())
    if not (isfinite(low) and isfinite(high)):
        raise ArtefactError(
            f"the tensor {tensor!r} holds NaN or infinity in calibration",
            hint="look at the data and the float model: one is broken",
        )
    return low, high
