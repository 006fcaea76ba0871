"""Learned step size: Eqs. 1-3, the scale of the gradient, the start, the range at 8 bits."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.checks.quantizers import activation, gradients, weight

from edgeq.training.quantizers.lsq import Lsq, for_activation, for_weight

values = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(-100, 100, width=32))


def weights(bits: int, step: float) -> Lsq:
    return Lsq(bits, signed=True, start=torch.tensor(step))


@given(values, st.integers(2, 8), st.floats(2.0**-8, 2.0**4, width=32), st.booleans())
def test_the_value_is_eq_1_and_2_in_float64(
    x: np.ndarray, bits: int, step: float, signed: bool
) -> None:
    quantizer = Lsq(bits, signed=signed, start=torch.tensor(step))
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    position = x.astype(np.float64) / step
    expected = np.rint(np.clip(position, low, high)) * step
    tie = np.abs(np.abs(position - np.rint(position)) - 0.5) < 1e-6 * np.abs(position)
    found = quantizer(torch.from_numpy(x)).detach().numpy()
    assert (np.abs(found - expected) <= np.where(tie, step, 0) + 1e-6 * np.abs(expected)).all()


class TestGradients:
    """Eq. 3; step 0.5, 4 bits: -8..7."""

    STEP = 0.5
    VALUES = (-99.0, -4.0, -3.9, -0.3, 0.0, 0.6, 3.49, 3.5, 99.0)

    def expected(self) -> list[float]:
        inside = [round(x / self.STEP) - x / self.STEP for x in (-3.9, -0.3, 0.0, 0.6, 3.49)]
        return [-8, -8, *inside, 7, 7]

    def test_on_every_branch(self) -> None:
        quantizer = weights(4, self.STEP)
        by_x, by_step = gradients(quantizer, quantizer.target_scale, list(self.VALUES))
        assert by_x.tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 0]
        torch.testing.assert_close(
            by_step, torch.tensor(self.expected()) / math.sqrt(1 * 7), atol=1e-5, rtol=0
        )

    def test_the_scale_counts_the_weights_of_a_step(self) -> None:
        """Sec. 2.2: 1 / sqrt(N Q_P), N weights in all, or in a channel."""
        w, upstream = weight(), torch.randn(6, 4, 3, 3, generator=torch.Generator().manual_seed(1))
        whole, each = (
            for_weight(4, w, axis=None, normalized=False),
            for_weight(4, w, axis=0, normalized=False),
        )
        each.target_scale.data.fill_(whole.target_scale.item())
        for quantizer in (whole, each):
            (quantizer(w) * upstream).sum().backward()
        assert whole.target_scale.grad is not None
        assert each.target_scale.grad is not None
        position = (w / whole.scale).detach()
        raw = (
            torch.where(
                (position > -8) & (position < 7),
                position.round() - position,
                position.clamp(-8, 7).round(),
            )
            * upstream
        )
        torch.testing.assert_close(whole.target_scale.grad, raw.sum() / math.sqrt(w.numel() * 7))
        torch.testing.assert_close(each.target_scale.grad, raw.sum((1, 2, 3)) / math.sqrt(36 * 7))

    def test_of_an_activation_it_counts_the_features_of_one_sample(self) -> None:
        found = []
        for samples in (1, 4):
            quantizer = for_activation(4, signed=False)
            quantizer.initialized.fill_(True)
            quantizer(torch.full((samples, 3, 5, 5), 99.0)).sum().backward()
            assert quantizer.target_scale.grad is not None
            found.append(quantizer.target_scale.grad.item())
        assert found[0] == pytest.approx(15 * 75 / math.sqrt(75 * 15))
        assert found[1] == pytest.approx(4 * found[0])

    @given(st.lists(st.floats(-8, 8), min_size=1, max_size=20))
    def test_finite_differences_of_the_smooth_part(self, x: list[float]) -> None:
        """Clipping alone is piecewise linear in the step."""
        quantizer = weights(4, self.STEP).double()
        quantizer.rounding = False
        away = torch.tensor(
            [value for value in x if abs(value + 4) > 0.01 and abs(value - 3.5) > 0.01],
            dtype=torch.float64,
        )
        if not len(away):
            return
        quantizer(away).sum().backward()
        h = 1e-5

        def at(step: float) -> float:
            with torch.no_grad():
                quantizer.target_scale.fill_(step)
                return float(quantizer(away).sum())

        assert quantizer.target_scale.grad is not None
        slope = (at(self.STEP + h) - at(self.STEP - h)) / (2 * h)
        assert quantizer.target_scale.grad.item() == pytest.approx(
            slope / math.sqrt(len(away) * 7), abs=1e-6
        )


class TestStart:
    def test_of_weights(self) -> None:
        w = weight()
        quantizer = for_weight(4, w, axis=None, normalized=False)
        assert quantizer.target_scale.item() == pytest.approx(
            2 * w.abs().mean().item() / math.sqrt(7), rel=1e-6
        )
        each = for_weight(4, w, axis=0, normalized=False)
        torch.testing.assert_close(
            each.target_scale.detach(), 2 * w.abs().mean((1, 2, 3)) / math.sqrt(7)
        )

    def test_of_activations_is_the_first_training_batch(self) -> None:
        x = activation()
        quantizer = for_activation(4, signed=True)
        quantizer.eval()(x)
        assert quantizer.target_scale.item() == 1.0, "evaluation starts nothing"
        quantizer.train()(x)
        assert quantizer.target_scale.item() == pytest.approx(
            2 * x.abs().mean().item() / math.sqrt(7), rel=1e-6
        )
        before = quantizer.target_scale.item()
        quantizer(x * 100)
        assert quantizer.target_scale.item() == before, "the second batch changes nothing"

    @pytest.mark.parametrize(
        "bad",
        [torch.zeros(2, 3), torch.tensor([[torch.inf, 1.0]]), torch.tensor([[torch.nan, 1.0]])],
    )
    def test_a_batch_that_says_nothing_is_waited_out(self, bad: torch.Tensor) -> None:
        quantizer = for_activation(4, signed=True)
        quantizer(bad)
        assert not quantizer.initialized
        quantizer(activation())
        assert quantizer.initialized

    def test_a_resumed_run_does_not_start_again(self) -> None:
        first, second = for_activation(4, signed=True), for_activation(4, signed=True)
        first(activation())
        second.load_state_dict(first.state_dict())
        second(activation() * 50)
        assert second.target_scale.item() == first.target_scale.item()

    def test_weights_of_zeros_are_not_locked_in(self) -> None:
        """With a scale close to zero all later inputs would be clipped, and nothing learned."""
        quantizer = for_weight(4, torch.zeros(2, 8), axis=None, normalized=False)
        w = torch.full((2, 8), 0.05, requires_grad=True)
        quantizer(w).sum().backward()
        assert w.grad is not None
        assert w.grad.all()


def test_8_bit_weights_leave_the_lowest_integer_out() -> None:
    """A BatchNorm of negative sign would make 128 of it, which is no int8.

    Below 8 bits the storage dtype has room.
    """
    for bits, least in ((8, -127), (7, -64), (4, -8)):
        found = for_weight(bits, weight(), axis=None, normalized=False)
        assert (found.qmin, found.qmax) == (least, 2 ** (bits - 1) - 1)
    assert for_activation(8, signed=True).qmin == -128


def test_annealing_keeps_the_range() -> None:
    quantizer = weights(4, 0.5)
    quantizer.bits = 10
    assert quantizer.scale.item() * quantizer.qmax == pytest.approx(3.5)
    assert quantizer(torch.tensor([99.0])).item() == pytest.approx(3.5)


@pytest.mark.parametrize("step", [0.0, -1.0, 1e-30])
def test_a_step_that_training_drove_to_zero_still_makes_a_grid(step: float) -> None:
    assert weights(4, step).quant_params().scale > 0
