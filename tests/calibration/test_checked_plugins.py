"""What an observer or a weight method of another package answers wrongly is told by its name."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest

from edgeq.calibration.checked_plugins import CheckedMethod, CheckedObserver
from edgeq.calibration.weight_methods.layer import FloatLayer
from edgeq.calibration.weight_methods.symmetric import Symmetric
from edgeq.errors import BrokenPlugin
from edgeq.quant import QuantizedTensor, QuantParams

LAYER = FloatLayer("conv", np.ones((3, 2), np.float32), None, np.asarray(1.0, np.float32), 8)


class Observer:
    """Answers what a test gives it."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def update(self, batch: np.ndarray[Any, Any]) -> None:
        """Keep nothing."""

    def range(self, bits: int) -> Any:
        """The answer."""
        return self.answer


@pytest.mark.parametrize(
    "answer",
    [None, 3.0, (1.0, -1.0), (np.nan, 1.0), (0.0, np.inf), (0.0, 1.0, 2.0), ("a", "b")],
    ids=str,
)
def test_a_range_that_is_none_names_the_observer(answer: Any) -> None:
    observer = CheckedObserver("odd", lambda: Observer(answer))
    with pytest.raises(BrokenPlugin, match="the observer 'odd'"):
        observer.range(8)


def test_a_range_is_handed_on() -> None:
    assert CheckedObserver("even", lambda: Observer((-1, np.float32(2)))).range(8) == (-1.0, 2.0)


def test_an_observer_that_cannot_be_made_is_named() -> None:
    with pytest.raises(BrokenPlugin, match=r"fails: .*by zero"):
        CheckedObserver("odd", cast("Any", lambda: 1 // 0))


class Method(Symmetric):
    """Symmetric, but for what a test gives it."""

    def __init__(self, scale: Any = None, made: Any = None) -> None:
        self._scale, self._made = scale, made

    def scale(self, layer: FloatLayer) -> Any:
        """The given one."""
        return super().scale(layer) if self._scale is None else self._scale

    def quantize(self, layer: FloatLayer, scale: Any) -> Any:
        """The given integers."""
        return super().quantize(layer, scale) if self._made is None else self._made


@pytest.mark.parametrize(
    "scale",
    [0.0, -1.0, np.nan, np.ones(2), np.ones((3, 1)), "x"],
    ids=lambda value: np.array2string(np.asarray(value)),
)
def test_a_scale_that_is_none_names_the_weight_method(scale: Any) -> None:
    with pytest.raises(BrokenPlugin, match="the weight method 'odd'"):
        CheckedMethod("odd", Method(scale)).scale(LAYER)


@pytest.mark.parametrize(
    "made",
    [
        np.ones((3, 2), np.int8),
        QuantizedTensor(np.ones((2, 3), np.int8), QuantParams.of(1.0)),
        QuantizedTensor(np.full((3, 2), 9, np.int8), QuantParams.of(1.0, qmin=-7, qmax=7)),
        QuantizedTensor(cast("Any", np.ones((3, 2), np.float32)), QuantParams.of(1.0)),
    ],
    ids=["an array", "another shape", "beyond its grid", "floats"],
)
def test_integers_that_are_none_name_the_weight_method(made: Any) -> None:
    with pytest.raises(BrokenPlugin, match="the weight method 'odd' gives"):
        CheckedMethod("odd", Method(made=made)).quantize(LAYER, np.ones(3, np.float32))


def test_a_weight_method_without_its_attribute_is_named() -> None:
    with pytest.raises(BrokenPlugin, match="no attribute 'symmetric'"):
        CheckedMethod("odd", cast("Any", object()))


def test_a_sound_method_is_handed_on() -> None:
    checked, plain = CheckedMethod("even", Symmetric()), Symmetric()
    scale = np.asarray(plain.scale(LAYER), np.float32)
    assert np.array_equal(checked.scale(LAYER), plain.scale(LAYER))
    assert np.array_equal(
        checked.quantize(LAYER, scale).values, plain.quantize(LAYER, scale).values
    )
