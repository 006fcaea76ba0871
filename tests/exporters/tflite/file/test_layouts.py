"""Layouts are permutations; renaming axes and moving data must agree."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from edgeq.exporters.tflite.file.layouts import (
    NHWC,
    natural,
    onnx_order,
    renamed,
    same_order,
    stored_shape,
)

LAYOUTS = st.permutations(range(4)).map(tuple)


@given(LAYOUTS, LAYOUTS, st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_a_renamed_tensor_is_the_transposed_tensor(
    layout: tuple[int, ...], perm: tuple[int, ...], shape: list[int]
) -> None:
    values = np.arange(np.prod(shape)).reshape(shape)
    transposed = values.transpose(perm)
    np.testing.assert_array_equal(
        values.transpose(layout), transposed.transpose(renamed(layout, perm))
    )


@given(LAYOUTS, LAYOUTS, st.lists(st.integers(1, 3), min_size=4, max_size=4))
def test_equal_order_means_equal_bytes(
    one: tuple[int, ...], other: tuple[int, ...], shape: list[int]
) -> None:
    if same_order(shape, one, other):
        values = np.arange(np.prod(shape)).reshape(shape)
        np.testing.assert_array_equal(
            values.transpose(one).ravel(), values.transpose(other).ravel()
        )


def test_the_batch_counts_even_where_it_is_one() -> None:
    assert same_order((1, 5, 1, 1), NHWC, onnx_order(4))
    assert not same_order((1, 5, 1, 1), (1, 0, 2, 3), onnx_order(4))


def test_images_are_stored_with_their_channels_last() -> None:
    assert stored_shape((1, 3, 8, 9), natural(4)) == (1, 8, 9, 3)
    assert natural(2) == (0, 1)
