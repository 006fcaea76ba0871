"""Ranges from streamed batches are those of all values, in constant memory."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.calibration.grids import activation_grid
from edgeq.calibration.method_options import configured
from edgeq.calibration.observers import OBSERVERS, RangeObserver
from edgeq.calibration.observers.entropy import Entropy
from edgeq.calibration.observers.histogram import HALF_BINS, Histogram, clips
from edgeq.calibration.observers.minmax import MinMax
from edgeq.calibration.observers.minmax_percentile import MinMaxPercentile
from edgeq.calibration.observers.moving_average import MovingAverage
from edgeq.calibration.observers.mse import MSE
from edgeq.calibration.observers.percentile import Percentile
from edgeq.errors import UnknownName, UsageError
from edgeq.network.placement import GridSpec

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


def observed(
    observer: RangeObserver, *batches: NDArray[np.floating], bits: int = 8
) -> tuple[float, float]:
    for batch in batches:
        observer.update(batch.astype(np.float32))
    return observer.range(bits)


def exact(values: NDArray[np.floating], percent: float) -> tuple[float, float]:
    upper = float(np.percentile(values, percent, method="inverted_cdf"))
    return -float(np.percentile(-values, percent, method="inverted_cdf")), upper


def test_minmax_is_exact_over_all_batches() -> None:
    assert observed(MinMax(), np.array([[1.0, -2.0]]), np.array([[0.5, 3.0]])) == (-2.0, 3.0)


@pytest.mark.parametrize(
    "make", [MinMax, Percentile, MinMaxPercentile, MovingAverage, MSE, Entropy]
)
def test_nothing_seen_is_a_range_of_zeros(make: Callable[[], RangeObserver]) -> None:
    assert observed(make()) == (0.0, 0.0)
    assert observed(make(), np.zeros((0, 4))) == (0.0, 0.0)
    assert observed(make(), np.zeros((2, 4))) == (0.0, 0.0)


@given(
    st.lists(
        st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=40), min_size=1, max_size=6
    ),
    st.sampled_from([60.0, 90.0, 99.0, 99.99, 100.0]),
)
def test_percentile_is_at_most_one_bin_outside_the_exact_one(
    batches: list[list[float]], percent: float
) -> None:
    arrays = [np.array([batch], np.float32) for batch in batches]
    values = np.concatenate([array.reshape(-1) for array in arrays]).astype(np.float64)
    low, high = observed(Percentile(percent), *arrays)
    wanted_low, wanted_high = exact(values, percent)
    bound = 2.0 / HALF_BINS * float(np.abs(values).max())
    assert wanted_high <= high <= min(wanted_high + bound, values.max())
    assert max(wanted_low - bound, values.min()) <= low <= wanted_low


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=32), min_size=1))
def test_each_value_is_counted_in_its_bin(values: list[float]) -> None:
    """Of any size: neither the scaling nor the rounding moves one."""
    histogram = Histogram()
    histogram.update(np.array([values], np.float32))
    bins = np.floor(np.array(values) / (histogram.width or 1.0)).astype(np.int64) + HALF_BINS
    assert histogram.counts.tolist() == np.bincount(bins, minlength=2 * HALF_BINS).tolist()


def test_percentile_does_not_depend_on_the_order_in_which_the_range_grows() -> None:
    values = np.random.default_rng(0).normal(size=(40, 500)) * np.logspace(-6, 3, 40)[:, None]
    batches = [row[None] for row in values]
    assert observed(Percentile(99.0), *batches) == observed(Percentile(99.0), *reversed(batches))


def test_percentile_leaves_an_outlier_out() -> None:
    values = np.random.default_rng(0).uniform(0.0, 1.0, (1, 100_000))
    low, high = observed(Percentile(), values, np.array([[50.0]]))
    assert 0.999 < high < 1.03
    assert low == pytest.approx(values.min(), abs=0.03)


@pytest.mark.parametrize(
    ("count", "first", "last"), [(1, 0, 0), (9, 0, 8), (10, 1, 9), (100, 5, 95), (800, 40, 760)]
)
def test_published_percentile_takes_the_published_records(
    count: int, first: int, last: int
) -> None:
    order = np.random.default_rng(0).permutation(count).astype(np.float64)
    records = np.stack([-order, order], axis=1)  # minima -count+1 .. 0, maxima 0 .. count-1
    assert observed(MinMaxPercentile(), records) == (first - (count - 1), last)


def test_published_percentile_of_one_batch_as_one_record_clips_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(800, 7)).astype(np.float32)
    assert observed(MinMaxPercentile(granularity="batch"), values) == (values.min(), values.max())


@pytest.mark.parametrize("make", [MinMax, Percentile, MovingAverage, MSE, Entropy])
def test_memory_does_not_grow_with_the_number_of_batches(make: Callable[[], RangeObserver]) -> None:
    def peak(batches: int) -> int:
        rng, observer = np.random.default_rng(0), make()
        tracemalloc.start()
        for _ in range(batches):
            observer.update(rng.normal(size=(8, 4096)).astype(np.float32))
        _, highest = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return highest

    peak(2)  # what is allocated once, such as caches
    few, many = peak(5), peak(50)
    assert many < few + 8 * 4096  # less than a quarter of one batch


def squared_error(values: NDArray[np.floating], ends: tuple[float, float], bits: int) -> float:
    """On the grid that calibration makes of a range."""
    spec = GridSpec("x", bits, signed=ends[0] < 0, inner=False)
    grid = activation_grid(spec, *ends)
    values = values.astype(np.float32)
    return float(((grid.dequantize(grid.quantize(values)) - values) ** 2).mean())


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("shape", ["normal", "laplace", "relu", "skewed", "outlier"])
def test_the_mse_range_is_nearly_the_best_there_is(bits: int, shape: str) -> None:
    random = np.random.default_rng(bits)
    values = {
        "normal": random.normal(size=8_000),
        "laplace": random.laplace(size=8_000),
        "relu": np.maximum(random.normal(size=8_000), 0),
        "skewed": random.gamma(2.0, size=8_000) - 0.5,
        "outlier": np.append(random.normal(size=8_000), 40.0),
    }[shape].astype(np.float32)
    ends = observed(MSE(), values[None], bits=bits)
    low, high = min(values.min(), 0.0), values.max()
    searched = (
        squared_error(values, (low * a, high * b), bits)
        for a in (np.linspace(0.02, 1, 25) if low < 0 else [0.0])
        for b in np.linspace(0.02, 1, 25)
    )
    assert squared_error(values, ends, bits) <= 1.05 * min(searched)
    assert low <= ends[0] <= 0.0 <= ends[1] <= high


@pytest.mark.parametrize("make", [MSE, Entropy, Percentile, MinMax])
def test_neither_order_nor_batches_matter(make: Callable[[], RangeObserver]) -> None:
    values = np.random.default_rng(1).standard_t(3, (64, 50))
    whole = observed(make(), values)
    assert observed(make(), *values[:, None]) == whole
    assert observed(make(), values[32:], values[:32]) == whole


def divergence(seen: Histogram, ends: tuple[float, float], groups: int) -> float:
    """As published, with numbers one by one; at zero there are as many values as beside it."""
    low, high = ends
    values, counts = seen.used()
    at_zero = int(np.searchsorted(values, 0.0))
    if at_zero + 1 < len(values) and values[at_zero] < seen.width:
        counts[at_zero] = min(counts[at_zero], counts[at_zero + 1])
    inside = (values >= low) & (values <= high)
    if not inside.any():
        return np.inf
    bins = ((values[inside] - low) / (high - low) * 2048).astype(int).clip(0, 2047)
    kept = np.bincount(bins, counts[inside], 2048)
    clipped = kept.copy()
    clipped[0] += counts[values < low].sum()
    clipped[-1] += counts[values > high].sum()
    merged = np.zeros(2048)
    for group in np.arange(2048).reshape(min(groups, 2048), -1):
        filled = group[kept[group] > 0]
        merged[filled] = kept[group].sum() / max(len(filled), 1)
    p, q = clipped / clipped.sum(), np.maximum(merged / kept.sum(), 1e-9)
    return float((p[p > 0] * np.log(p[p > 0] / q[p > 0])).sum())


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("shape", ["normal", "relu", "heavy", "two values", "negative", "constant"])
def test_a_search_that_leaves_ranges_out_finds_the_best_of_all(bits: int, shape: str) -> None:
    random = np.random.default_rng(bits)
    values = {
        "normal": random.normal(size=20_000),
        "relu": np.maximum(random.normal(size=20_000), 0),
        "heavy": random.standard_t(1.5, size=20_000),
        "two values": random.choice([-0.3, 0.7], 500),
        "negative": -random.gamma(2.0, size=20_000),
        "constant": np.full(50, 6.0),
    }[shape].astype(np.float32)
    entropy, mse = Entropy(), MSE()
    found, nearest = observed(entropy, values[None], bits=bits), observed(mse, values, bits=bits)
    low, high = entropy.extremes()
    ranges = clips(min(low, 0.0), max(high, 0.0))
    all_of_them = [divergence(entropy, ends, 2**bits) for ends in ranges]
    assert divergence(entropy, found, 2**bits) == pytest.approx(min(all_of_them), abs=1e-9)
    middles, counts = mse.used()

    def error(ends: tuple[float, float]) -> float:
        scale = (ends[1] - ends[0]) / (2**bits - 1)
        zero = np.rint(-ends[0] / scale)
        rounded = np.clip(np.rint(middles / scale), -zero, 2**bits - 1 - zero) * scale
        return float(counts @ (rounded - middles) ** 2)

    assert error(nearest) <= min(error(ends) for ends in ranges)


def test_entropy_clips_what_hardly_occurs_and_keeps_what_is_even() -> None:
    random = np.random.default_rng(0)
    even = random.uniform(-1.0, 1.0, (1, 50_000))
    low, high = observed(Entropy(), even)
    assert (low, high) == pytest.approx((-1.0, 1.0), rel=0.03)
    low, high = observed(Entropy(), np.append(random.normal(size=(1, 50_000)), [[60.0]], axis=1))
    assert 3.0 < high < 20.0


def test_the_moving_average_is_that_of_its_paper() -> None:
    batches = np.array([[-1.0, 1.0], [-2.0, 4.0], [0.0, 2.0]])
    low, high = observed(MovingAverage(0.5), *batches[:, None])
    assert (low, high) == (-0.75, 2.25)


def test_settings_that_make_no_range_are_refused() -> None:
    with pytest.raises(UsageError):
        Percentile(50.0)
    with pytest.raises(UsageError):
        MinMaxPercentile(0.5)
    with pytest.raises(UsageError):
        MovingAverage(0.0)
    with pytest.raises(UnknownName, match="did you mean 'percentile'"):
        OBSERVERS.load("percentil")


def test_settings_behind_the_name() -> None:
    made = configured("percentile:percent=99.5", OBSERVERS)()
    assert isinstance(made, Percentile)
    assert made.percent == 99.5
    assert isinstance(configured("mse", OBSERVERS)(), MSE)


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("percentile:share=3", "it has percent"),
        ("percentile:percent=much", "its default is 99.99"),
        ("percentile:percent=20", "more than 50"),
        ("minmax:percent=3", "use minmax alone"),
        ("minmax-percentile:granularity=pixel", "choose image or batch"),
        ("percentil:percent=99", "did you mean 'percentile'"),
    ],
)
def test_settings_that_are_none_are_refused(typed: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        configured(typed, OBSERVERS)
