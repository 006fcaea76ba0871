"""Layout and grid at an artefact's boundary."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.data.batching import fit
from edgeq.errors import ArtefactError
from edgeq.quant import QuantParams
from edgeq.target import TensorSpec
from edgeq.targets.common.io import enter, join, leave, zeros

FLOAT = TensorSpec("x", (3, 4, 5), "float32")
CHANNELS_LAST = TensorSpec("x", (4, 5, 3), "float32")
INTEGER = TensorSpec("x", (6,), "int8", QuantParams.of(0.5, 10, "int8"))


def test_channels_first_images_are_turned_for_a_model_that_wants_them_last() -> None:
    batch = np.arange(2 * 60, dtype=np.float32).reshape(2, 3, 4, 5)
    assert np.array_equal(fit(batch, FLOAT), batch)
    turned = fit(batch, CHANNELS_LAST)
    assert turned.shape == (2, 4, 5, 3)
    assert turned[1, 2, 3, 0] == batch[1, 0, 2, 3]


def test_the_model_s_own_layout_goes_in_as_it_is() -> None:
    batch = np.arange(60, dtype=np.float32).reshape(1, 4, 5, 3)
    assert np.array_equal(fit(batch, CHANNELS_LAST), batch)


def test_a_misfit_names_both_shapes() -> None:
    with pytest.raises(
        ArtefactError, match=r"wants samples of shape \(3, 4, 5\).*the data gives \(3, 4, 6\)"
    ):
        fit(np.zeros((1, 3, 4, 6), np.float32), FLOAT)


def test_entering_a_grid_rounds_half_to_even_and_saturates() -> None:
    batch = np.array([[0.25, 0.75, -0.25, 1e9, -1e9, np.inf]], np.float32)
    assert enter(batch, INTEGER).tolist() == [[10, 12, 10, 127, -128, 127]]
    assert enter(batch, INTEGER).dtype == np.int8


def test_nan_has_no_integer() -> None:
    with pytest.raises(ArtefactError, match="NaN"):
        enter(np.full((1, 6), np.nan, np.float32), INTEGER)


def test_leaving_a_grid_gives_real_numbers() -> None:
    values = leave(np.array([[10, 12, -128, 127, 11, 9]], np.int8), INTEGER)
    assert values.tolist() == [[0.0, 1.0, -69.0, 58.5, 0.5, -0.5]]
    assert values.dtype == np.float32


def test_samples_are_joined_along_the_batch() -> None:
    assert join([np.zeros((1, 4)), np.ones((1, 4))]).shape == (2, 4)
    assert join([np.zeros((3, 4)), np.ones((3, 4))]).shape == (2, 3, 4)
    assert join([np.array(1), np.array(2)]).tolist() == [1, 2]


@pytest.mark.parametrize("size", [2**40, 2**62])
def test_an_input_that_no_memory_holds_is_refused(size: int) -> None:
    with pytest.raises(ArtefactError, match=r"'x' has .* numbers: no memory holds"):
        zeros([FLOAT, TensorSpec("x", (size, size), "float32")])
