"""Additive powers of two.

Which levels there are, that weights up to six bits are int8, and the released gradients.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import product
from math import gcd

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.checks.quantizers import activation, gradients, weight
from torch import nn

from edgeq.errors import UsageError
from edgeq.training.layers import QuantLayer, WeightQuantizer
from edgeq.training.quantizers.apot import (
    ApotActivations,
    ApotWeights,
    for_activation,
    for_weight,
    magnitudes,
)

values = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(-100, 100, width=32))


def published(bits: int, base: int = 2) -> set[Fraction]:
    """Eq. 5: sums of n = bits / base terms, divided by the max sum.

    The i-th term is 0 or 2^-i, 2^-(i+n), …, 2^-(i+(2^base-2)n).
    """
    n = bits // base
    terms = [
        [Fraction(0), *(Fraction(1, 2 ** (i + j * n)) for j in range(2**base - 1))]
        for i in range(n)
    ]
    sums = {sum(choice, Fraction(0)) for choice in product(*terms)}
    return {value / max(sums) for value in sums}


class TestLevels:
    @pytest.mark.parametrize("bits", [2, 4, 6])
    def test_at_even_widths_they_are_eq_5(self, bits: int) -> None:
        top = magnitudes(bits)[-1]
        assert {Fraction(level, top) for level in magnitudes(bits)} == published(bits)

    @pytest.mark.parametrize("bits", [2, 3, 4, 5, 6])
    def test_there_are_two_to_the_width_of_them(self, bits: int) -> None:
        assert len(magnitudes(bits)) == 2**bits
        assert magnitudes(bits)[0] == 0

    def test_four_bit_weights(self) -> None:
        assert magnitudes(3) == (0, 1, 2, 3, 4, 6, 8, 10)

    def test_up_to_six_bits_a_weight_fits_int8_and_at_seven_it_cannot(self) -> None:
        """The levels share no divisor, so no coarser step holds them all."""
        tops = {}
        for bits in range(3, 8):
            levels = magnitudes(bits - 1)
            assert gcd(*levels) == 1
            tops[bits] = levels[-1]
        assert tops == {3: 4, 4: 10, 5: 48, 6: 100, 7: 448}
        assert [bits for bits, top in tops.items() if top <= 127] == [3, 4, 5, 6]


@given(values, st.integers(3, 7), st.floats(0.125, 64, width=32))
def test_a_weight_goes_to_the_nearest_level(x: np.ndarray, bits: int, alpha: float) -> None:
    levels = np.array(magnitudes(bits - 1), np.float64) / magnitudes(bits - 1)[-1] * alpha
    levels = np.unique(np.concatenate([-levels, levels]))
    distance = np.abs(np.clip(x.astype(np.float64), -alpha, alpha)[:, None] - levels)
    found = ApotWeights(bits, bound=alpha)(torch.from_numpy(x)).detach().numpy()
    error = np.abs(found - np.clip(x.astype(np.float64), -alpha, alpha))
    assert (error <= distance.min(1) + 1e-6 * alpha).all()
    assert (np.abs(found[:, None] - levels).min(1) <= 1e-6 * alpha).all()


def test_ties_go_to_zero() -> None:
    """5 lies between 4 and 6, and 7 between 6 and 8."""
    made = ApotWeights(4, bound=10.0)
    assert made(torch.tensor([5.0, -5.0, 7.0, 9.0])).tolist() == [4.0, -4.0, 6.0, 8.0]


class TestGradients:
    def test_of_weights(self) -> None:
        """alpha 10, step 1: levels 0, 1, 2, 3, 4, 6, 8, 10.

        The gradient of weights is not clipped.
        """
        made = ApotWeights(4, bound=10.0)
        x = [-99.0, -10.0, -5.6, 0.3, 4.9, 9.4, 10.0, 99.0]
        by_x, by_alpha = gradients(made, made.alpha, x)
        assert by_x.tolist() == [1] * 8
        inside = [(-6 + 5.6) / 10, -0.03, (4 - 4.9) / 10, (10 - 9.4) / 10]
        torch.testing.assert_close(
            by_alpha, torch.tensor([-1, -1, *inside, 1, 1]), atol=1e-6, rtol=0
        )

    def test_of_activations(self) -> None:
        """alpha 10, 3 bits: the same levels, and what is clipped has no gradient."""
        made = ApotActivations(3, bound=10.0)
        by_x, by_alpha = gradients(made, made.alpha, [-1.0, 0.0, 0.3, 4.9, 9.4, 10.0, 99.0])
        assert by_x.tolist() == [0, 0, 1, 1, 1, 0, 0]
        torch.testing.assert_close(
            by_alpha, torch.tensor([0, 0, -0.03, -0.09, 0.06, 1, 1]), atol=1e-6, rtol=0
        )

    @given(st.lists(st.floats(-16, 16), min_size=1, max_size=20))
    def test_finite_differences_of_the_clipping(self, x: list[float]) -> None:
        made = ApotWeights(4, bound=10.0).double()
        made.rounding = False
        away = torch.tensor(
            [value for value in x if abs(abs(value) - 10) > 0.01], dtype=torch.float64
        )
        made(away).sum().backward()
        h = 1e-4
        slope = float((away.clamp(-10 - h, 10 + h) - away.clamp(-10 + h, 10 - h)).sum()) / (2 * h)
        assert made.alpha.grad is not None
        assert made.alpha.grad.item() == pytest.approx(slope, abs=1e-6)


def layer(bits: int) -> QuantLayer:
    torch.manual_seed(0)
    convolution = nn.Conv2d(4, 6, 3, bias=False)
    made = for_weight(bits, convolution.weight, axis=None, normalized=False)
    return QuantLayer(convolution, None, WeightQuantizer(made, normalize=False)).eval()


@pytest.mark.parametrize("bits", [3, 4, 5, 6])
def test_exported_integers_are_the_levels(bits: int) -> None:
    made = layer(bits)
    stored = made.integer_weights()
    assert {abs(int(level)) for level in np.unique(stored.weight)} <= set(magnitudes(bits - 1))
    convolution = made.layer
    assert isinstance(convolution, nn.Conv2d)
    assert np.array_equal(
        stored.weight_params.dequantize(stored.weight),
        made.quantizer(convolution.weight).detach().numpy(),
    )


def test_seven_bits_are_refused() -> None:
    with pytest.raises(UsageError, match="-448 to 448 do not fit int8"):
        layer(7).integer_weights()


def test_activations_are_refused_and_why() -> None:
    with pytest.raises(UsageError, match="equal spaces"):
        for_activation(4, signed=False).quant_params()


def test_the_published_starts() -> None:
    assert for_weight(4, weight(), axis=None, normalized=True).alpha.item() == 3.0
    assert for_weight(4, weight(), axis=None, normalized=False).alpha.item() == pytest.approx(
        3 * weight().square().mean().sqrt().item()
    )
    assert for_activation(4, signed=False).alpha.item() == 8.0


def test_an_activation_of_four_bits_has_sixteen_values() -> None:
    made = for_activation(4, signed=False)
    assert len(made(activation(shape=(4000,)).abs() * 2).unique()) == 16
