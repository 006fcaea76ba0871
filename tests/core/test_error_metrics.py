"""Histograms of steps, divergences, errors by group, and growth with depth, by their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgeq.metrics.divergence import ValueDivergence
from edgeq.metrics.groups import GroupedErrors
from edgeq.metrics.growth import growth
from edgeq.metrics.lsb import LsbHistogram


def test_steps_are_counted_as_large_as_they_are() -> None:
    found = LsbHistogram()
    assert found.largest == 0
    for steps in ([0, 0], [1, -300, 1], [70_000, -70_000], []):
        found.update(np.array(steps, np.float32))
    assert found.counts == {0: 2, 1: 2, -300: 1, 70_000: 1, -70_000: 1}
    assert found.largest == 70_000
    assert found.clipped(8) == {-8: 2, 0: 2, 1: 2, 8: 1}


def test_cross_entropy_is_divergence_and_entropy() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(0, 1, (4, 500))
    rounded = np.round(values * 4) / 4
    found = ValueDivergence(-4, 4)
    for a, b in zip(values, rounded, strict=True):
        found.update(a, b)
    p, _ = np.histogram(values, 256, (-4, 4))
    q, _ = np.histogram(rounded, 256, (-4, 4))
    p, q = p / p.sum(), q / q.sum() + 1e-10
    q = q / q.sum()
    entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
    assert found.qce == pytest.approx(-(p * np.log(q)).sum())
    assert found.qkl == pytest.approx(found.qce - entropy)
    same = ValueDivergence(-4, 4)
    same.update(values, values)
    assert same.qkl == pytest.approx(0, abs=1e-6)


def test_errors_by_channel_class_and_degree() -> None:
    reference = np.ones((4, 3, 2))
    other = reference.copy()
    other[:, 1] += 0.5
    other[3, 2, 0] += 1
    channels = GroupedErrors(3)
    channels.along(reference, other, 1)
    assert channels.mse == pytest.approx([0, 0.25, 1 / 8])
    assert channels.sqnr_db == pytest.approx([np.inf, 10 * math.log10(4), 10 * math.log10(8)])
    classes = GroupedErrors(3)
    classes.of(reference, other, np.array([0, 0, 0, 2]))
    assert classes.mse[0] == pytest.approx(0.25 / 3)
    assert np.isnan(classes.mse[1])
    assert classes.mse[2] == pytest.approx((0.5 + 1) / 6)


def test_growth_is_a_fitted_line_with_students_interval() -> None:
    line = growth([40, math.inf, 38, 37, 36])
    assert line is not None
    assert line.blocks == 4
    assert line.rate_db == pytest.approx(1)
    assert line.high_db - line.low_db == pytest.approx(0, abs=1e-9)
    assert growth([40, 39]) is None
    scattered = growth([0.0, 1.0, 0.0, 1.0, 0.0])
    assert scattered is not None
    # slope 0; residuals 0.4 and 0.6; t(3) = 3.182
    half = 3.182 * math.sqrt((3 * 0.16 + 2 * 0.36) / 3 / 10)
    assert scattered.high_db == pytest.approx(half, rel=2e-3)
    assert scattered.low_db == pytest.approx(-half, rel=2e-3)
