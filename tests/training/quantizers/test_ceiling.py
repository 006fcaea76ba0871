"""The released graph quantiser does what its code says, and says that no runtime can hold it."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from edgeq.errors import UsageError
from edgeq.training.quantizers.ceiling import CeilingClip


@pytest.mark.parametrize("bits", [2, 3, 4, 8])
def test_its_levels_reach_both_bounds_and_leave_zero_out(bits: int) -> None:
    clip = CeilingClip(bits, bound=6.0)
    found = clip(torch.linspace(-7, 7, 20_001)).detach().unique()
    expected = torch.linspace(-6, 6, 2**bits)
    distinct = found[torch.cat([torch.tensor([True]), found.diff() > 1e-3])]
    torch.testing.assert_close(distinct, expected, atol=1e-4, rtol=1e-5)
    assert float(clip(torch.zeros(1)).detach()) == pytest.approx(-6 / (2**bits - 1), abs=1e-5)
    assert float(clip.scale.detach()) == pytest.approx(12 / (2**bits - 1))


@given(st.floats(-5.9, 5.9))
def test_it_errs_by_at_most_a_step(value: float) -> None:
    clip = CeilingClip(4, bound=6.0)
    assert abs(float(clip(torch.tensor([value])).detach()) - value) <= float(
        clip.scale.detach()
    ) * (1 + 1e-4)


def test_without_rounding_it_only_clips() -> None:
    clip = CeilingClip(4, bound=2.0)
    clip.rounding = False
    assert clip(torch.tensor([-3.0, 0.3, 9.0])).tolist() == pytest.approx([-2.0, 0.3, 2.0])


def test_its_gradients_are_those_of_eq_19() -> None:
    clip = CeilingClip(4, bound=2.0)
    x = torch.tensor([-3.0, 0.3, 9.0], requires_grad=True)
    out = clip(x)
    out.sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [0.0, 1.0, 0.0]
    inside = (float(out[1].detach()) - 0.3) / 2.0
    assert clip.alpha.grad is not None
    assert float(clip.alpha.grad) == pytest.approx(-1 + 1 + inside, abs=1e-6)


def test_it_has_no_integers() -> None:
    clip = CeilingClip(4, bound=2.0)
    with pytest.raises(UsageError, match="no level at zero"):
        clip.quant_params()
    with pytest.raises(UsageError, match="no level at zero"):
        clip.encode(torch.zeros(1))
