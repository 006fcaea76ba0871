"""Upper bounds are above the true norm, lower ones below, and neither by much."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from edgeq.bounding.norms import (
    convolution_norm,
    grouped_norm,
    matrix_norm,
    power_iteration,
    row_sums,
)


def whole(
    weight: np.ndarray, size: tuple[int, int], pad: int, stride: int, groups: int, dilation: int
) -> np.ndarray:
    """The matrix of a convolution, (outputs, inputs)."""
    shape = (weight.shape[1] * groups, *size)
    basis = torch.eye(int(np.prod(shape)), dtype=torch.float64).reshape(-1, *shape)
    found = F.conv2d(basis, torch.from_numpy(weight), None, stride, pad, dilation, groups)
    return found.flatten(1).T.numpy()


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 3),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3]),
    st.tuples(st.integers(5, 7), st.integers(5, 7)),
    st.integers(0, 2),
    st.integers(1, 2),
    st.sampled_from([1, 2]),
    st.integers(1, 2),
    st.integers(0, 2**31),
)
def test_the_bound_holds_for_any_padding_stride_dilation_and_groups(
    outputs: int,
    inputs: int,
    kernel: int,
    size: tuple[int, int],
    pad: int,
    stride: int,
    groups: int,
    dilation: int,
    seed: int,
) -> None:
    random = np.random.default_rng(seed)
    weight = random.standard_normal((outputs * groups, inputs, kernel, kernel))
    matrix = whole(weight, size, pad, stride, groups, dilation)
    true = np.linalg.norm(matrix, 2)
    assert true <= grouped_norm(weight, groups, (dilation, dilation))
    assert np.abs(matrix).sum(1).max() <= row_sums(weight).max() * (1 + 1e-12)
    if pad < dilation * (kernel - 1):  # a compression of the circular one on these pixels
        assert true <= grouped_norm(weight, groups, (dilation, dilation), size)


def test_the_bound_is_close_on_large_images() -> None:
    weight = np.random.default_rng(0).standard_normal((2, 2, 3, 3))
    true = np.linalg.norm(whole(weight, (16, 16), 1, 1, 1, 1), 2)
    assert convolution_norm(weight) <= 1.06 * true
    assert convolution_norm(weight, (16, 16)) <= 1.02 * true


def test_of_a_matrix_it_is_the_norm_and_power_iteration_stays_below() -> None:
    matrix = np.random.default_rng(0).standard_normal((7, 5))
    true = np.linalg.norm(matrix, 2)
    assert true <= matrix_norm(matrix) == pytest.approx(true, rel=1e-8)
    found = power_iteration(lambda x: matrix @ x, lambda y: matrix.T @ y, (5,))
    assert found <= true * (1 + 1e-12)
    assert found == pytest.approx(true, rel=1e-3)


def test_of_nothing_it_is_zero() -> None:
    assert convolution_norm(np.zeros((2, 2, 3, 3))) == 0
    assert power_iteration(lambda x: 0 * x, lambda y: 0 * y, (3,)) == 0
