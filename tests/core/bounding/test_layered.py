"""No measured error is above its bound, the bounds are in order, and each needs what it assumes."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.bounding.layered import (
    LayerPair,
    additive,
    bits_needed,
    geometric,
    geometric_mean_radius,
    graph_step_is_stable,
    improvement,
    lipschitz_in_parameters,
    maximal,
    products,
    telescoping,
)

Net = list[tuple[np.ndarray, np.ndarray]]
SLACK = 1 + 1e-9


def networks(seed: int, *, biases: bool) -> tuple[Net, Net, float]:
    """Two networks of one to six layers, and the largest difference of their parameters."""
    random = np.random.default_rng(seed)
    depth = int(random.integers(1, 7))
    widths = random.integers(1, 8, depth + 1)
    step = float(10 ** random.uniform(-3, -0.5))
    first: Net = []
    for before, after in pairwise(widths):
        scale = random.uniform(0.2, 2)
        bias = random.standard_normal(after) * biases
        first.append((scale * random.standard_normal((after, before)), bias))
    second: Net = []
    for w, b in first:
        rounded = w + random.uniform(-step, step, w.shape)
        second.append((rounded, b + biases * random.uniform(-step, step, b.shape)))
    return first, second, step


def run(net: Net, x: np.ndarray) -> list[np.ndarray]:
    """What each layer reads, and the answer; inputs are columns."""
    seen = [x]
    for place, (w, b) in enumerate(net):
        y = w @ seen[-1] + b[:, None]
        seen.append(y if place == len(net) - 1 else np.maximum(y, 0))
    return seen


def pairs(first: Net, second: Net, order: float) -> list[LayerPair]:
    def norm(x: np.ndarray) -> float:
        return float(np.linalg.norm(x, order))

    return [
        LayerPair(norm(w), norm(v), norm(w - v), norm(b), norm(c), norm(b - c), inputs=w.shape[1])
        for (w, b), (v, c) in zip(first, second, strict=True)
    ]


def worst(seed: int, *, biases: bool) -> tuple[float, bool]:
    """The largest quotient of measured error and bound, and whether bounds are in order."""
    first, second, step = networks(seed, biases=biases)
    x = np.random.default_rng(seed + 1).uniform(-2, 2, (first[0][0].shape[1], 16))
    found, ordered = 0.0, True
    for order in (2, math.inf):
        layers = pairs(first, second, order)
        size = float(np.linalg.norm(x, order, axis=0).max())
        apart = np.linalg.norm(run(first, x)[-1] - run(second, x)[-1], order, axis=0).max()
        bounds = [telescoping(layers, size)]
        if not biases:
            bounds.append(products(layers, size))
        if order == math.inf:
            bounds += [geometric(layers, size, step)]
            found = max(found, apart / maximal(layers, size, step))
        ordered &= all(a <= b * SLACK for a, b in pairwise(bounds))
        measured = [float(np.linalg.norm(y, order, axis=0).max()) for y in run(second, x)[:-1]]
        tight = telescoping(layers, size, measured)
        ordered &= tight <= bounds[0] * SLACK
        found = max(found, *(apart / bound for bound in (tight, *bounds)))
    return found, ordered


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_no_error_is_above_its_bound_and_the_bounds_are_in_order(seed: int, biases: bool) -> None:
    found, ordered = worst(seed, biases=biases)
    assert found <= SLACK
    assert ordered


@pytest.mark.slow
def test_three_thousand_networks() -> None:
    found = [worst(seed, biases=seed % 2 == 0) for seed in range(3000)]
    assert 0.9 < max(quotient for quotient, _ in found) <= SLACK
    assert all(ordered for _, ordered in found)


def test_for_smaller_inputs_or_a_smaller_difference_a_bound_fails() -> None:
    step, layers = 0.01, 4
    first = [(np.full((1, 1), 2.0), np.zeros(1))] * layers
    second = [(np.full((1, 1), 2.0 - step), np.zeros(1))] * layers
    apart = abs(run(first, np.ones((1, 1)))[-1] - run(second, np.ones((1, 1)))[-1]).item()
    known = pairs(first, second, 2)
    assert apart <= telescoping(known, 1.0) * SLACK
    assert apart == pytest.approx(telescoping(known, 1.0))
    assert apart > telescoping(known, 0.9)
    assert apart > telescoping(known[1:], 1.0)
    assert apart > geometric(known, 1.0, step / 4)


def test_equal_networks_are_not_apart_and_rescaling_a_neuron_keeps_what_is_measured() -> None:
    first, _, _ = networks(4, biases=True)
    assert telescoping(pairs(first, first, 2), 3.0) == 0
    layers = pairs(first, first, math.inf)
    assert geometric(layers, 1.0, 0.0) == maximal(layers, 1.0, 0.0) == 0


def test_the_geometric_mean_is_never_above_the_largest_radius() -> None:
    flat = [LayerPair(2.0, 2.0, 0.1, inputs=3)] * 5
    assert geometric_mean_radius(flat) == pytest.approx(2.0)
    assert improvement(flat) == pytest.approx(0.0)
    uneven = [*flat[:4], LayerPair(20.0, 20.0, 0.1, inputs=3)]
    assert improvement(uneven) == pytest.approx(3.0)  # three layers of four are ten times smaller
    assert geometric_mean_radius(flat[:1]) == 1.0


def test_bits_grow_with_depth_by_the_logarithm_of_the_norm() -> None:
    layer = LayerPair(4.0, 4.0, 0.1, inputs=8)
    bits = [bits_needed([layer] * depth, 1.0, 1e-3, 1.0) for depth in (10, 20, 40)]
    assert bits[1] - bits[0] == pytest.approx(20, abs=3)
    assert bits[2] - bits[1] == pytest.approx(40, abs=3)
    low, high = lipschitz_in_parameters([layer] * 10, 1.0)
    assert low <= high


def test_a_network_of_width_one_attains_the_lower_bound() -> None:
    step, depth, norm = 1e-7, 6, 3.0
    layers = [LayerPair(norm, norm - step, step)] * depth
    measured = (norm**depth - (norm - step) ** depth) / step
    assert measured == pytest.approx(lipschitz_in_parameters(layers, 1.0)[0], rel=1e-4)


def test_steps_add_up_and_a_graph_step_is_stable_up_to_its_limit() -> None:
    assert additive([(1.0, 0.5, 2.0)] * 10) == pytest.approx(20.0)
    assert graph_step_is_stable(16 / 9, 1.0)
    assert not graph_step_is_stable(1.8, 1.0)
