"""The numbers that comparisons rest on: properties that hold for any input, and known values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.errors import ArtefactError
from edgeq.metrics.accuracy import accuracy, mcnemar, top1, wilson
from edgeq.metrics.drift import LSB_LIMIT, DriftMeter, pooled_mse
from edgeq.quant import QuantizedTensor, QuantParams

if TYPE_CHECKING:
    from edgeq.results import Drift


def drift_of(reference: np.ndarray, other: np.ndarray, pieces: int = 1) -> Drift:
    meter = DriftMeter("t", 3)
    for a, b in zip(np.array_split(reference, pieces), np.array_split(other, pieces), strict=True):
        meter.update(a, b)
    return meter.result()


@given(st.integers(0, 500).flatmap(lambda total: st.tuples(st.integers(0, total), st.just(total))))
def test_wilson_stays_within_bounds_and_holds_the_share(counts: tuple[int, int]) -> None:
    correct, total = counts
    low, high = wilson(correct, total)
    assert 0 <= low <= high <= 1
    if total:
        assert low <= correct / total <= high


def test_wilson_known_value() -> None:
    assert wilson(8, 10) == pytest.approx((0.4901625, 0.9433178), abs=1e-6)


def test_accuracy_counts() -> None:
    found = accuracy(np.array([True, False, True, True]))
    assert (found.correct, found.total, found.fraction) == (3, 4, 0.75)
    assert found.low < 0.75 < found.high


def test_top1_flattens_each_sample_and_takes_the_first_of_equals() -> None:
    assert top1(np.array([[[0.0, 2.0]], [[1.0, 1.0]]], np.float32)).tolist() == [1, 0]


@pytest.mark.parametrize(
    ("losses", "gains", "p"),
    [(0, 0, 1.0), (5, 5, 1.0), (5, 0, 2 / 32), (0, 6, 2 / 64), (10, 2, 2 * 79 / 4096)],
)
def test_mcnemar_known_values(losses: int, gains: int, p: float) -> None:
    assert mcnemar(losses, gains) == pytest.approx(p)


@given(st.integers(0, 3000), st.integers(0, 3000))
def test_mcnemar_is_a_symmetric_probability(losses: int, gains: int) -> None:
    assert 0 <= mcnemar(losses, gains) <= 1
    assert mcnemar(losses, gains) == mcnemar(gains, losses)


@given(st.integers(0, 2**31), st.integers(1, 7))
def test_streaming_equals_one_shot(seed: int, pieces: int) -> None:
    random = np.random.default_rng(seed)
    reference = random.normal(size=(14, 3, 2)).astype(np.float32)
    other = reference + random.normal(size=reference.shape).astype(np.float32)
    once, streamed = drift_of(reference, other), drift_of(reference, other, pieces)
    assert streamed.elements == once.elements == reference.size
    assert dict(streamed.metrics) == pytest.approx(dict(once.metrics), rel=1e-12)


@given(st.integers(0, 2**31))
def test_drift_is_what_its_definitions_say(seed: int) -> None:
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(2, 50)).astype(np.float32)
    found = drift_of(a, b)
    x, y = a.astype(np.float64), b.astype(np.float64)
    assert found.mse == pytest.approx(np.mean((x - y) ** 2))
    assert found.mse == pytest.approx(found.rmse**2)
    assert found.max_abs == np.abs(x - y).max()
    assert (found.tensor, found.depth, dict(found.lsb)) == ("t", 3, {})


@pytest.mark.parametrize("bits", [4, 6, 8, 10])
def test_each_bit_of_a_uniform_signal_is_worth_six_decibels(bits: int) -> None:
    signal = np.random.default_rng(bits).uniform(-1, 1, 200_000).astype(np.float32)
    step = 2 / 2**bits
    quantized = (np.floor(signal / step) + np.float32(0.5)) * np.float32(step)
    assert drift_of(signal, quantized).sqnr_db == pytest.approx(6.0206 * bits, abs=0.1)


def test_equal_tensors_and_silent_references() -> None:
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    equal = drift_of(ones, ones)
    assert (equal.mse, equal.sqnr_db) == (0.0, math.inf)
    silent = drift_of(zeros, ones)
    assert silent.sqnr_db == -math.inf
    assert DriftMeter("t").result().elements == 0


def tensor(centered: list[int], zero_point: int, dtype: str, scale: float = 0.5) -> QuantizedTensor:
    return QuantizedTensor(
        np.array(centered) + zero_point, QuantParams.of(scale, zero_point, dtype)
    )


def test_an_error_that_is_no_number_is_the_largest() -> None:
    meter = DriftMeter("x")
    meter.update(np.array([1.0, 2.0, 3.0]), np.array([1.0, np.nan, 3.0]))
    meter.update(np.array([1.0]), np.array([2.0]))
    assert np.isnan(meter.result().max_abs)


def test_steps_are_counted_across_storage_dtypes_and_capped() -> None:
    meter = DriftMeter("t")
    meter.update(tensor([0, 1, 2, 3], 0, "uint8"), tensor([0, 2, 1, 50], -128, "int8"))
    meter.update(tensor([7], 0, "uint8"), tensor([7], -128, "int8"))
    assert meter.result().lsb == {0: 2, 1: 1, -1: 1, LSB_LIMIT: 1}
    assert meter.result().max_lsb == 47


def test_no_steps_without_a_common_grid() -> None:
    meter = DriftMeter("t")
    meter.update(tensor([1], 0, "uint8"), tensor([1], 0, "uint8"))
    meter.update(tensor([1], 0, "uint8"), tensor([1], 0, "uint8", scale=0.25))
    assert meter.result().lsb == {}
    assert meter.result().max_abs == 0.25


def test_tensors_of_different_shapes_are_refused() -> None:
    with pytest.raises(ArtefactError, match="'t' has the shape"):
        DriftMeter("t").update(np.zeros((2, 3), np.float32), np.zeros((3, 2), np.float32))


def test_pooling_weighs_tensors_by_their_size() -> None:
    small, large = (
        drift_of(np.zeros(1, np.float32), np.full(1, 2, np.float32)),
        drift_of(np.zeros(3, np.float32), np.zeros(3, np.float32)),
    )
    assert pooled_mse([small, large]) == pytest.approx(1.0)
    assert pooled_mse([]) == 0.0


@given(st.integers(0, 2**31))
def test_the_cosine_is_that_of_both_vectors(seed: int) -> None:
    x, y = np.random.default_rng(seed).normal(size=(2, 50)).astype(np.float32)
    expected = np.float64(x) @ y / np.linalg.norm(np.float64(x)) / np.linalg.norm(np.float64(y))
    assert drift_of(x, y).metrics["cosine"] == pytest.approx(expected)
    ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
    assert drift_of(ones, ones).metrics["cosine"] == 1.0
    assert drift_of(zeros, ones).metrics["cosine"] == 0.0
