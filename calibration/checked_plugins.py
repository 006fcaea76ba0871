"""Observers and weight methods whose answers are checked against their protocols.

They may come from another package. An answer that no grid can be made of, or an exception, is told
as what it is, with the name of the method.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.calibration.observers import is_mergeable
from edgeq.errors import BrokenPlugin, EdgeqError, UsageError, first_line
from edgeq.quant import QuantizedTensor

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from edgeq.calibration.observers import MergeableObserver, RangeObserver
    from edgeq.calibration.weight_methods import WeightQuantizer
    from edgeq.calibration.weight_methods.layer import FloatLayer


class CheckedObserver:
    """An observer whose range is checked.

    Args:
        name: the observer, for messages.
        make: makes the observer of one tensor.
    """

    def __init__(self, name: str, make: Callable[[], RangeObserver]) -> None:
        self._name = name
        with _told("observer", name):
            self._observer = make()

    def update(
        self, batch: NDArray[np.float32], extremes: tuple[float, float] | None = None
    ) -> None:
        """Take in one batch, (samples, ...), finite; its extremes too, where they are known."""
        observer: Any = self._observer
        with _told("observer", self._name):
            if extremes is not None and getattr(observer, "takes_extremes", False):
                observer.update(batch, extremes)
            else:
                observer.update(batch)

    def range(self, bits: int) -> tuple[float, float]:
        """The minimum and maximum, finite and in this order.

        Raises:
            BrokenPlugin: the observer gives something else.
        """
        with _told("observer", self._name):
            low, high = map(float, self._observer.range(bits))
        if not (math.isfinite(low) and math.isfinite(high) and low <= high):
            raise BrokenPlugin(
                "observer", self._name, f"gives the range ({low}, {high}); min <= max is wanted"
            )
        return low, high

    @property
    def divisible(self) -> bool:
        """Whether its range is the same however values are divided into batches."""
        return bool(getattr(self._observer, "divisible", False))

    @property
    def of_extremes(self) -> bool:
        """Whether it needs only the extremes of each batch."""
        return bool(getattr(self._observer, "of_extremes", False))

    @property
    def mergeable(self) -> bool:
        """Whether its statistics can be kept in a file."""
        return is_mergeable(self._observer)

    def state(self) -> dict[str, NDArray[Any]]:
        """What it has seen.

        Raises:
            UsageError: the observer does not tell.
        """
        with _told("observer", self._name):
            return self._required().state()

    def merge(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Take in what another one saw behind what this one did.

        Raises:
            UsageError: the observer cannot.
        """
        self._required().merge(state)  # what is wrong is the file's fault first

    def _required(self) -> MergeableObserver:
        if is_mergeable(self._observer):
            return self._observer
        raise UsageError(
            f"the observer {self._name!r} has no state() and merge(): what it sees cannot be kept "
            "in a file or put together from parts",
            hint="calibrate in one run, or choose another --observer",
        )


class CheckedMethod:
    """A weight method whose scales and integers are checked.

    Args:
        name: the method, for messages.
        method: what was registered.
    """

    def __init__(self, name: str, method: WeightQuantizer) -> None:
        self._name, self._method = name, method
        with _told("weight method", name):
            self.symmetric = bool(method.symmetric)

    def scale(self, layer: FloatLayer) -> NDArray[np.float64]:
        """The scale of the layer's weights, () or (out,), above 0.

        Raises:
            BrokenPlugin: the method gives something else.
        """
        with _told("weight method", self._name):
            scale = np.asarray(self._method.scale(layer), np.float64)
        if scale.shape not in ((), (len(layer.weight),)):
            raise self._wrong(f"a scale of the shape {scale.shape}", layer)
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            raise self._wrong("a scale that is not positive and finite", layer)
        return scale

    def quantize(self, layer: FloatLayer, scale: NDArray[np.float32]) -> QuantizedTensor:
        """The weights on a scale: integers (out, ...) inside their grid.

        Raises:
            BrokenPlugin: the method gives something else.
        """
        with _told("weight method", self._name):
            made: Any = self._method.quantize(layer, scale)
        if not isinstance(made, QuantizedTensor):
            raise self._wrong(f"{type(made).__name__} instead of a QuantizedTensor", layer)
        values, params = made.values, made.params
        if values.shape != layer.weight.shape or values.dtype.kind not in "iu":
            raise self._wrong(f"{values.dtype} weights of the shape {values.shape}", layer)
        if values.size and not params.qmin <= values.min() <= values.max() <= params.qmax:
            raise self._wrong(f"weights beyond {params.qmin} to {params.qmax}", layer)
        return made

    def _wrong(self, what: str, layer: FloatLayer) -> BrokenPlugin:
        return BrokenPlugin("weight method", self._name, f"gives {what} for {layer.name!r}")


@contextmanager
def _told(kind: str, name: str) -> Iterator[None]:
    try:
        yield
    except EdgeqError:
        raise
    except Exception as error:
        raise BrokenPlugin(kind, name, f"fails: {first_line(error)}") from error
