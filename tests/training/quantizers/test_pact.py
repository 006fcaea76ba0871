"""Parameterised clipping: the bound has a gradient where it clips and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.checks.quantizers import gradients

from edgeq.training.quantizers.pact import Pact, for_activation
from edgeq.training.quantizers.parts.protocol import Penalized

values = hnp.arrays(np.float32, st.integers(1, 64), elements=st.floats(-100, 100, width=32))


@given(values, st.integers(2, 8), st.floats(0.125, 64, width=32))
def test_the_value_is_eqs_1_and_2_in_float64(x: np.ndarray, bits: int, alpha: float) -> None:
    """y = clip(x, 0, alpha); y_q = round(y (2^k - 1) / alpha) alpha / (2^k - 1)."""
    top = 2**bits - 1
    position = np.clip(x.astype(np.float64), 0, alpha) * top / alpha
    expected = np.rint(position) * alpha / top
    tie = np.abs(np.abs(position - np.rint(position)) - 0.5) < 4 * top * 2.0**-24
    found = Pact(bits, bound=alpha)(torch.from_numpy(x)).detach().numpy()
    assert (np.abs(found - expected) <= np.where(tie, alpha / top, 0) + 1e-6 * alpha).all()


@pytest.mark.parametrize("rounding", [True, False])
def test_gradients_on_every_branch(rounding: bool) -> None:
    quantizer = Pact(4, bound=3.0)
    quantizer.rounding = rounding
    by_x, by_alpha = gradients(quantizer, quantizer.alpha, [-1.0, 0.0, 0.07, 1.3, 2.98, 3.0, 99.0])
    assert by_x.tolist() == [0, 0, 1, 1, 1, 0, 0]
    assert by_alpha.tolist() == [0, 0, 0, 0, 0, 1, 1], (
        "no trace of the rounding error, which a learned clip has inside"
    )


@given(st.lists(st.floats(-8, 8), min_size=1, max_size=20))
def test_finite_differences_of_the_clipping(x: list[float]) -> None:
    """The gradient with rounding on is the derivative with rounding off."""
    quantizer = Pact(4, bound=3.0).double()
    away = torch.tensor(
        [value for value in x if abs(value - 3) > 0.01 and abs(value) > 0.01], dtype=torch.float64
    )
    quantizer(away).sum().backward()
    quantizer.rounding = False

    def at(bound: float) -> float:
        with torch.no_grad():
            quantizer.alpha.fill_(bound)
            return float(quantizer(away).sum())

    assert quantizer.alpha.grad is not None
    assert quantizer.alpha.grad.item() == pytest.approx(
        (at(3 + 1e-4) - at(3 - 1e-4)) / 2e-4, abs=1e-6
    )


def test_the_penalty_is_the_square_of_the_bound() -> None:
    quantizer = Pact(4, bound=3.0)
    assert isinstance(quantizer, Penalized)
    (0.5 * quantizer.penalty()).backward()
    assert quantizer.alpha.grad is not None
    assert quantizer.alpha.grad.item() == 3.0


def test_half_the_penalty_is_weight_decay() -> None:
    """What the loop may do instead: decay d on the bound is d / 2 of the penalty."""
    bounds = []
    for decay, penalty in ((0.1, 0.0), (0.0, 0.05)):
        quantizer = Pact(4, bound=3.0)
        optimizer = torch.optim.SGD(quantizer.parameters(), lr=0.5, weight_decay=decay)
        (quantizer(torch.tensor([1.0, 50.0])).sum() + penalty * quantizer.penalty()).backward()
        optimizer.step()
        bounds.append(quantizer.alpha.item())
    assert bounds[0] == pytest.approx(bounds[1])


def test_the_published_start() -> None:
    quantizer = for_activation(4, signed=False)
    assert quantizer.alpha.item() == 10.0
    assert (quantizer.qmin, quantizer.qmax) == (0, 15)
