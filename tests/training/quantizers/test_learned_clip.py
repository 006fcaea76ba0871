"""The published quantiser.

Its values against the formula and the integer grid, its gradients against Eq. 19.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from torch import Tensor

from edgeq.errors import EdgeqError
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND

bits = st.integers(2, 8)
bounds = st.floats(2.0**-10, 2.0**10, width=32)
values = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(-4096, 4096, width=32))
# unsigned; signed and narrow; signed, full range
kinds = st.sampled_from([(False, False), (True, True), (True, False)])


def quantizer(width: int, kind: tuple[bool, bool], bound: float) -> LearnedClip:
    signed, narrow_range = kind
    return LearnedClip(width, signed=signed, narrow_range=narrow_range, bound=bound)


@given(values, bits, st.sampled_from([(False, False), (True, True)]), bounds)
def test_the_value_is_the_papers_formula(
    x: np.ndarray, width: int, kind: tuple[bool, bool], bound: float
) -> None:
    """alpha * round(clip(x / alpha) * P) / P in float64, but for ties that float32 breaks."""
    clip = quantizer(width, kind, bound)
    p, alpha = clip.qmax, float(np.float32(bound))
    position = np.clip(x.astype(np.float64) / alpha, -1 if kind[0] else 0, 1) * p
    expected = alpha * np.rint(position) / p
    found = clip(torch.from_numpy(x)).detach().numpy()
    tie = np.abs(np.abs(position - np.rint(position)) - 0.5) < 4 * p * 2.0**-24
    assert (np.abs(found - expected) <= np.where(tie, alpha / p, 0) + 4 * alpha * 2.0**-24).all()


@given(values, bits, kinds, bounds)
def test_integers_equal_those_of_the_grid_bit_for_bit(
    x: np.ndarray, width: int, kind: tuple[bool, bool], bound: float
) -> None:
    clip = quantizer(width, kind, bound)
    params = clip.quant_params()
    q = params.quantize(x)
    assert np.array_equal(
        clip.encode(torch.from_numpy(x)).integers.detach().numpy(),
        q.astype(np.int64) - int(params.zero_point),
    )
    assert np.array_equal(clip(torch.from_numpy(x)).detach().numpy(), params.dequantize(q))


@pytest.mark.parametrize(
    ("kind", "integers", "zero"),
    [((False, False), (0, 15), 0), ((True, True), (-7, 7), 128), ((True, False), (-8, 7), 128)],
)
def test_the_range_of_integers(
    kind: tuple[bool, bool], integers: tuple[int, int], zero: int
) -> None:
    params = quantizer(4, kind, 1.0).quant_params()
    assert (params.qmin - zero, params.qmax - zero) == integers
    assert (params.dtype, int(params.zero_point)) == ("uint8", zero)
    assert float(params.scale) == np.float32(1.0) / np.float32(integers[1])


class TestGradients:
    """Eq. 19 on each of its branches; P = 15 unsigned, 7 signed, alpha = 3."""

    ALPHA = 3.0

    def gradients(
        self, kind: tuple[bool, bool], x: list[float], *, rounding: bool = True
    ) -> tuple[list[float], Tensor]:
        """dx_q/dx for each element and dx_q/dalpha for each element."""
        clip = quantizer(4, kind, self.ALPHA)
        clip.rounding = rounding
        inputs = torch.tensor(x, requires_grad=True)
        clip(inputs).sum().backward()
        by_alpha: list[torch.Tensor] = []
        for value in x:
            clip.alpha.grad = None
            clip(torch.tensor([value])).sum().backward()
            assert clip.alpha.grad is not None
            by_alpha.append(clip.alpha.grad.clone())
        assert inputs.grad is not None
        return inputs.grad.tolist(), torch.stack(by_alpha)

    def inside(self, x: float, levels: int) -> float:
        """x_q / alpha - x / alpha."""
        return round(x / self.ALPHA * levels) / levels - x / self.ALPHA

    def test_unsigned(self) -> None:
        x = [-1.0, 0.0, 0.07, 1.3, 2.98, 3.0, 99.0]
        by_x, by_alpha = self.gradients((False, False), x)
        assert by_x == [0, 0, 1, 1, 1, 0, 0]
        expected = [0, 0, self.inside(0.07, 15), self.inside(1.3, 15), self.inside(2.98, 15), 1, 1]
        torch.testing.assert_close(
            by_alpha, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0
        )

    def test_signed_and_narrow(self) -> None:
        x = [-99.0, -3.0, -1.3, 0.0, 0.2, 3.0, 99.0]
        by_x, by_alpha = self.gradients((True, True), x)
        assert by_x == [0, 0, 1, 1, 1, 0, 0]
        expected = [-1, -1, self.inside(-1.3, 7), 0, self.inside(0.2, 7), 1, 1]
        torch.testing.assert_close(
            by_alpha, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0
        )

    def test_signed_with_the_lowest_integer(self) -> None:
        """The lower bound is alpha * (P + 1) / P, and moves with alpha at that rate."""
        x = [-99.0, -3.2, 0.2, 3.0]
        by_x, by_alpha = self.gradients((True, False), x)
        assert by_x == [0, 1, 1, 0]
        expected = [-8 / 7, self.inside(-3.2, 7), self.inside(0.2, 7), 1]
        torch.testing.assert_close(
            by_alpha, torch.tensor(expected, dtype=torch.float32), atol=1e-6, rtol=0
        )

    def test_clipping_alone_has_pacts_gradients(self) -> None:
        by_x, by_alpha = self.gradients((False, False), [-1.0, 1.3, 99.0], rounding=False)
        assert by_x == [0, 1, 0]
        torch.testing.assert_close(by_alpha, torch.tensor([0.0, 0.0, 1.0]), atol=1e-6, rtol=0)

    def test_the_gradient_of_the_bound_is_weighted_and_summed(self) -> None:
        clip = quantizer(4, (False, False), self.ALPHA)
        x, weight = torch.tensor([1.3, 99.0, -5.0]), torch.tensor([2.0, -3.0, 7.0])
        (clip(x) * weight).sum().backward()
        assert clip.alpha.grad is not None
        assert clip.alpha.grad.item() == pytest.approx(2 * self.inside(1.3, 15) - 3, abs=1e-6)
        assert clip.alpha.grad.shape == ()


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=20), kinds, bits)
def test_finite_differences_of_the_smooth_part(
    x: list[float], kind: tuple[bool, bool], width: int
) -> None:
    """Without rounding it is piecewise linear: differences are exact away from its corners."""
    clip = quantizer(width, kind, 3.0).double()
    clip.rounding = False
    edge = 3.0 * clip.qmin / clip.qmax
    away = torch.tensor(
        [value for value in x if abs(value - 3) > 0.01 and abs(value - edge) > 0.01],
        dtype=torch.float64,
    )
    away.requires_grad_()
    clip(away).sum().backward()
    h = 1e-4

    def at(bound: float, shift: float) -> float:
        with torch.no_grad():
            clip.alpha.fill_(bound)
            return float(clip(away.detach() + shift).sum())

    assert clip.alpha.grad is not None
    assert away.grad is not None
    by_alpha, by_x = clip.alpha.grad.item(), away.grad.sum().item()
    assert by_alpha == pytest.approx((at(3 + h, 0) - at(3 - h, 0)) / (2 * h), abs=1e-6)
    assert by_x == pytest.approx((at(3, h) - at(3, -h)) / (2 * h), abs=1e-6)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1e-12])
def test_a_bound_that_training_drove_to_zero_still_makes_a_grid(alpha: float) -> None:
    clip = LearnedClip(4, signed=False, bound=alpha)
    assert clip.scale.item() * clip.qmax == pytest.approx(SMALLEST_BOUND)
    assert clip.quant_params().scale > 0
    assert torch.isfinite(clip(torch.tensor([-1.0, 0.0, 1.0]))).all()


def test_the_step_is_float32_of_the_bound_over_the_levels() -> None:
    clip = LearnedClip(4, signed=False, bound=6.0)
    assert clip.scale.dtype == torch.float32
    assert (
        np.float32(clip.scale.item())
        == clip.quant_params().scale
        == np.float32(6.0) / np.float32(15)
    )


def test_no_grid_while_annealing() -> None:
    clip = LearnedClip(4, signed=False, bound=6.0)
    clip.bits = 9
    with pytest.raises(EdgeqError, match="still at 9 bits"):
        clip.quant_params()


def test_the_input_is_left_as_it_is() -> None:
    x = torch.tensor([0.3, 5.0, -2.0])
    LearnedClip(4, signed=False, bound=1.0)(x)
    assert x.tolist() == pytest.approx([0.3, 5.0, -2.0])


def test_the_bound_is_a_parameter_and_print_shows_it() -> None:
    clip = LearnedClip(4, signed=True, narrow_range=True, bound=3.0)
    assert [name for name, _ in clip.named_parameters()] == ["alpha"]
    assert repr(clip) == "LearnedClip(bits=4, signed, scale=0.4286)"
