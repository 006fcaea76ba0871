"""Trained thresholds: scales are powers of two, with the published gradient in the log domain."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.checks.quantizers import activation, gradients, weight

from edgeq.training.quantizers.power_of_two import PowerOfTwo, for_activation, for_weight

values = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(-100, 100, width=32))


def quantizer(bits: int, threshold: float, *, signed: bool = True) -> PowerOfTwo:
    return PowerOfTwo(bits, signed=signed, threshold=torch.tensor(threshold))


@given(st.floats(2.0**-18, 2.0**60, width=32), st.integers(2, 8), st.booleans())
def test_the_step_is_exactly_the_next_power_of_two(
    threshold: float, bits: int, signed: bool
) -> None:
    made = quantizer(bits, threshold, signed=signed)
    fraction, _ = math.frexp(made.scale.item())
    assert fraction == 0.5
    exponent = math.ceil(made.log_threshold.item())
    assert made.scale.item() == 2.0**exponent / 2 ** (bits - 1 if signed else bits)


@given(values, st.integers(2, 8), st.integers(-6, 6), st.booleans())
def test_the_value_is_eq_4_exactly(x: np.ndarray, bits: int, exponent: int, signed: bool) -> None:
    """Dividing by a power of two rounds nothing, so float64 says the same bit for bit."""
    step = 2.0 ** (exponent - (bits - 1 if signed else bits))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    expected = np.clip(np.rint(x.astype(np.float64) / step), low, high) * step
    found = (
        quantizer(bits, 2.0**exponent * 0.8, signed=signed)(torch.from_numpy(x)).detach().numpy()
    )
    assert np.array_equal(found, expected)


class TestGradients:
    """Eqs. 6-8; 4 bits, threshold 4: step 0.5, -8..7.

    What rounds to the last level is still inside.
    """

    VALUES = (-99.0, -4.3, -4.2, -3.9, -0.3, 0.0, 0.6, 3.7, 3.8, 99.0)

    def test_on_every_branch(self) -> None:
        made = quantizer(4, 4.0)
        by_x, by_log = gradients(made, made.log_threshold, list(self.VALUES))
        assert by_x.tolist() == [0, 0, 1, 1, 1, 1, 1, 1, 0, 0]
        inside = [round(x / 0.5) - x / 0.5 for x in self.VALUES[2:8]]
        expected = torch.tensor([-8.0, -8.0, *inside, 7.0, 7.0]) * 0.5 * math.log(2)
        torch.testing.assert_close(by_log, expected, atol=1e-5, rtol=0)

    def test_each_channel_has_its_own(self) -> None:
        w = weight()
        made = for_weight(4, w, axis=0, normalized=False)
        made(w).sum().backward()
        assert made.log_threshold.grad is not None
        for channel in range(len(w)):
            one = PowerOfTwo(4, signed=True, threshold=made.log_threshold.detach()[channel].exp2())
            one(w[channel]).sum().backward()
            assert one.log_threshold.grad is not None
            torch.testing.assert_close(made.log_threshold.grad[channel], one.log_threshold.grad)

    @given(st.lists(st.floats(-16, 16), min_size=1, max_size=20))
    def test_of_clipping_it_is_the_slope_where_the_ceiling_is_passed_through(
        self, x: list[float]
    ) -> None:
        """Without rounding, with s = t / 2^(b-1) for the ceiling, it is piecewise linear in t."""
        made = quantizer(4, 4.0).double()
        made.rounding = False
        away = torch.tensor(
            [value for value in x if abs(value + 4) > 0.01 and abs(value - 3.5) > 0.01],
            dtype=torch.float64,
        )
        made(away).sum().backward()

        def at(log_threshold: float) -> float:
            step = 2**log_threshold / 8
            return float(away.clamp(-8 * step, 7 * step).sum())

        h = 1e-5
        assert made.log_threshold.grad is not None
        assert made.log_threshold.grad.item() == pytest.approx(
            (at(2 + h) - at(2 - h)) / (2 * h), abs=1e-5
        )


class TestStart:
    def test_of_weights_is_three_deviations(self) -> None:
        w = weight()
        made = for_weight(4, w, axis=None, normalized=False)
        assert made.log_threshold.item() == pytest.approx(
            math.log2(3 * w.square().mean().sqrt().item()), rel=1e-5
        )
        assert for_weight(4, w, axis=0, normalized=False).scale.shape == (6,)

    def test_of_activations_is_the_first_training_batch(self) -> None:
        x = activation()
        made = for_activation(8, signed=True)
        made.eval()(x)
        assert made.log_threshold.item() == 0.0
        made.train()(x)
        assert made.log_threshold.item() == pytest.approx(
            math.log2(3 * x.square().mean().sqrt().item()), rel=1e-5
        )
        made(x * 9)
        assert made.log_threshold.item() == pytest.approx(
            math.log2(3 * x.square().mean().sqrt().item()), rel=1e-5
        )


def test_8_bit_weights_leave_the_lowest_integer_out() -> None:
    assert [for_weight(bits, weight(), axis=None, normalized=False).qmin for bits in (8, 4)] == [
        -127,
        -8,
    ]


def test_a_threshold_that_training_drove_to_nothing_still_makes_a_grid() -> None:
    made = quantizer(4, 1.0)
    made.log_threshold.data.fill_(-500)
    assert made.quant_params().scale > 0
