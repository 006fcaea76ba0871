"""What the experiment of depthwise separable networks computes beside training."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeq.deploy.sweep.experiments.quint8 import DECAY_EPOCHS, divergence, published_recipe
from edgeq.deploy.sweep.experiments.quint8_layers import average_precision, histograms


def test_the_divergence_of_two_coins() -> None:
    fair, biased = (
        np.log(np.array([[0.5, 0.5]], np.float32)),
        np.log(np.array([[0.75, 0.25]], np.float32)),
    )
    found = divergence(fair, biased)
    assert found["qmse"] == pytest.approx(1 / 16)
    assert found["qce"] == pytest.approx(-(math.log(0.75) + math.log(0.25)) / 2)
    assert found["qkl"] == pytest.approx(math.log(2 / 3) / 2 + math.log(2) / 2)


@given(st.integers(0, 1000), st.floats(-50, 50))
def test_a_divergence_is_blind_to_a_constant_in_the_logits_and_differs_by_the_entropy(
    seed: int, shift: float
) -> None:
    rng = np.random.default_rng(seed)
    p, q = (rng.normal(scale=5, size=(20, 10)).astype(np.float32) for _ in range(2))
    found, shifted, itself = (
        divergence(p, q),
        divergence(p, q + np.float32(shift)),
        divergence(p, p),
    )
    assert itself["qmse"] == 0.0
    assert itself["qkl"] == pytest.approx(0.0, abs=1e-12)
    assert found["qce"] - found["qkl"] == pytest.approx(itself["qce"])
    assert (shifted["qmse"], shifted["qkl"]) == pytest.approx(
        (found["qmse"], found["qkl"]), rel=1e-3, abs=1e-6
    )
    assert found["qkl"] >= 0.0


def test_logits_far_apart_do_not_overflow() -> None:
    assert divergence(np.array([[1e4, 0.0]], np.float32), np.array([[0.0, 1e4]], np.float32)) == {
        "qmse": 1.0,
        "qce": 1e4,
        "qkl": 1e4,
    }


def test_the_average_precision_is_the_mean_share_of_the_range() -> None:
    weight = np.array([[[-1.0, 1.0]], [[0.0, 0.5]], [[0.25, 0.25]]], np.float32)
    assert average_precision(weight) == pytest.approx((1.0 + 0.25 + 0.0) / 3)


@pytest.mark.parametrize("epochs", [1, 10, 200])
def test_a_short_schedule_decays_as_far_as_the_first_half_of_the_published_one(epochs: int) -> None:
    recipe = published_recipe("dws-convnet-he", "cifar10-jpeg", epochs, seed=0)
    assert recipe.schedule.multiplier(epochs, epochs) == pytest.approx(0.97**DECAY_EPOCHS)


def test_a_tensor_is_as_far_from_itself_as_its_entropy() -> None:
    tensor = np.random.default_rng(0).normal(size=5000).astype(np.float32)
    cross, divergence = histograms(tensor, tensor)
    assert divergence == pytest.approx(0.0, abs=1e-6)
    assert 0 < cross < math.log(256)
    assert histograms(tensor, np.round(tensor))[1] > 1.0
