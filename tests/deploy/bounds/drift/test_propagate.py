"""No kernel that is within 1 LSB leaves the bound, at any tensor; worse kernels do."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.deploy.bounds.drift.random_graphs import IMAGE, Network, deployed, random_graph

from edgeq.deploy.bounds.drift.certificate import certified
from edgeq.deploy.bounds.drift.onnx_graph import of_qdq
from edgeq.deploy.bounds.drift.propagate import Propagation
from edgeq.deploy.bounds.drift.signal import SLACK, Rules

SAMPLES = 4


def images(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(SAMPLES, *IMAGE, generator=generator, dtype=torch.float64)


def excess(seed: int, off: int, rules: Rules, *, for_all: bool = False) -> float:
    """By which factor the worst error is beyond its bound, over all tensors and both norms."""
    propagation, x = Propagation(of_qdq(random_graph(seed))), images(seed)
    real = propagation.run({"x": x}, rules)
    bounds = propagation.run(None, rules) if for_all else real
    worst = 0.0
    for name, values in deployed(propagation, x, seed, off).items():
        signal, reference = bounds[name], real[name].reference
        assert reference is not None
        apart = (values - reference).abs()
        worst = max(worst, float((apart / (signal.error + 1e-12)).max()))
        worst = max(worst, float((apart.flatten(1).norm(dim=1) / (signal.norm + 1e-12)).max()))
    return worst


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_no_conforming_kernel_leaves_the_bound(seed: int, clipped: bool) -> None:
    assert excess(seed, 1, Rules(clipped=clipped)) <= 1 + SLACK


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_rounding_to_nearest_keeps_a_smaller_one(seed: int) -> None:
    assert excess(seed, 0, Rules(kernel_lsb=0.0)) <= 1 + SLACK


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**31))
def test_without_data_it_holds_for_every_input(seed: int) -> None:
    assert excess(seed, 1, Rules(clipped=True), for_all=True) <= 1 + SLACK


@pytest.mark.slow
def test_three_thousand_networks() -> None:
    worst = max(excess(seed, 1, Rules(clipped=seed % 2 == 0)) for seed in range(3000))
    assert 0.9 < worst <= 1 + SLACK  # and the bound is attained, nearly


def test_kernels_that_are_further_off_are_caught() -> None:
    assert max(excess(seed, 4, Rules()) for seed in range(6)) > 1.5
    assert max(excess(seed, 1, Rules(kernel_lsb=0.0)) for seed in range(6)) > 1.2


def test_a_tied_step_is_found_and_does_not_expand() -> None:
    net = Network(0)
    x = net.conv(net.input, 3, relu=True)
    tied = net.step(x, most=30)
    untied = net.add(tied, net.conv(net.conv(tied, 3, relu=True), 3, relu=False))
    steps = Propagation(of_qdq(net.head(untied))).steps
    assert steps[tied.name][2] == pytest.approx(1.0, abs=1e-6)
    assert steps[untied.name][2] > 1.5


def test_an_answer_is_certain_only_beyond_both_errors() -> None:
    logits = torch.tensor([[3.0, 1.0, 0.0], [3.0, 2.9, 0.0]])
    error, norm = torch.full((2, 3), 0.5), torch.full((2,), 9.0)
    assert certified(logits, error, norm).tolist() == [True, False]
    assert certified(logits, error * 9, torch.full((2,), 0.05)).tolist() == [True, True]
