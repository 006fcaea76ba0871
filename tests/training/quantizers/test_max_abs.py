"""Weights up to their largest magnitude.

The bound is that of the very tensor, and every weight has its gradient.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.support.checks.quantizers import weight

from edgeq.training.quantizers.max_abs import MaxAbs
from edgeq.training.quantizers.parts.uniform import SMALLEST_BOUND

tensors = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=4, max_side=5),
    elements=st.floats(-100, 100, width=32),
)


@given(tensors, st.integers(2, 8), st.sampled_from([None, 0, 1]))
def test_the_value_is_the_formula_in_float64(x: np.ndarray, bits: int, axis: int | None) -> None:
    rest = tuple(dimension for dimension in range(x.ndim) if dimension != axis)
    top = 2 ** (bits - 1) - 1
    largest = np.maximum(
        np.abs(x.astype(np.float64)).max(axis=rest if axis is not None else None, keepdims=True),
        SMALLEST_BOUND,
    )
    position = x / largest * top
    expected = np.rint(position) * largest / top
    tie = np.abs(np.abs(position - np.rint(position)) - 0.5) < 1e-4
    found = MaxAbs(bits, axis=axis)(torch.from_numpy(x)).numpy()
    assert (np.abs(found - expected) <= np.where(tie, largest / top, 0) + 1e-6 * largest).all()
    assert (np.abs(found - x) <= largest / top * 0.5001).all(), "nothing is clipped"


def test_the_step_follows_the_tensor_at_once() -> None:
    quantizer = MaxAbs(8).eval()
    assert quantizer.encode(torch.tensor([0.5, -127.0])).scale.item() == 1.0
    assert quantizer.encode(torch.tensor([0.5, 254.0])).scale.item() == 2.0


def test_each_channel_has_its_own() -> None:
    w = weight()
    found = MaxAbs(8, axis=0).encode(w)
    assert torch.equal(found.scale, w.abs().amax((1, 2, 3)) / 127)
    assert (found.integers.abs().amax((1, 2, 3)) == 127).all()
    other = MaxAbs(8, axis=1).encode(w.transpose(0, 1))
    assert torch.equal(other.integers.transpose(0, 1), found.integers)


@pytest.mark.parametrize("rounding", [True, False])
def test_the_gradient_passes_to_every_weight(rounding: bool) -> None:
    quantizer = MaxAbs(4)
    quantizer.rounding = rounding
    x = torch.tensor([0.1, -2.0, 3.0], requires_grad=True)
    (quantizer(x) * torch.tensor([1.0, 2.0, 3.0])).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == [1.0, 2.0, 3.0]
    assert list(quantizer.parameters()) == []


def test_a_channel_of_zeros_stays_zeros() -> None:
    w = weight()
    w[2] = 0
    found = MaxAbs(4, axis=0).encode(w)
    assert not found.integers[2].any()
    assert found.scale[2] > 0
