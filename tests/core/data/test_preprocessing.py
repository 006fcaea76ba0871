"""From raw samples to what a network is fed: each step, in its order, and as data."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from edgeq.data.preprocessing import Preprocessing
from edgeq.data.samples import ragged
from edgeq.errors import UsageError

IMAGES = np.random.default_rng(0).integers(0, 256, (2, 6, 4, 3), np.uint8)


def applied(samples: Any = IMAGES, **told: Any) -> Any:
    return Preprocessing.from_dict(told).apply({"x": samples})["x"]


def test_images_are_fed_channels_first_as_float32() -> None:
    fed = applied()
    assert (fed.dtype, fed.shape) == (np.float32, (2, 3, 6, 4))
    assert np.array_equal(fed, IMAGES.transpose(0, 3, 1, 2))
    assert np.array_equal(applied(layout="nhwc"), IMAGES)


def test_scale_mean_and_std_in_this_order_and_in_float32() -> None:
    mean, std = (0.4, 0.5, 0.6), (0.2, 0.25, 0.3)
    scaled = IMAGES.astype(np.float32) / np.float32(255)
    expected = (scaled - np.array(mean, np.float32)) / np.array(std, np.float32)
    told = {"scale": "1/255", "mean": mean, "std": std, "layout": "nhwc"}
    assert np.array_equal(applied(**told), expected)
    doubled = IMAGES.astype(np.float32) * np.float32(2 / 255)
    assert np.array_equal(applied(scale=2 / 255, layout="nhwc"), doubled)
    assert np.array_equal(applied(scale="1/127.5", layout="nhwc"), doubled)


def test_one_mean_stands_for_all_channels_and_none_of_another_number() -> None:
    assert np.array_equal(applied(mean=[127]), applied(mean=[127] * 3))
    with pytest.raises(UsageError, match="3 channels are normalised by 2 constants"):
        applied(mean=[1, 2])


def test_arrays_of_floats_are_normalised_along_their_channels_first_or_last() -> None:
    told = {"mean": [1.0, 2.0, 3.0], "std": [1.0, 2.0, 4.0]}
    first = np.random.default_rng(0).normal(size=(2, 3, 5, 4)).astype(np.float32)
    fed = Preprocessing.from_dict(told).values(first)
    last = Preprocessing.from_dict(told).values(first.transpose(0, 2, 3, 1))
    assert np.array_equal(fed[:, 1], (first[:, 1] - np.float32(2)) / np.float32(2))
    assert np.array_equal(fed, last.transpose(0, 3, 1, 2))
    with pytest.raises(UsageError, match="4 or 5 channels are normalised by 3 constants"):
        Preprocessing.from_dict(told).values(first[:, [0, 1, 2, 0, 1]])
    with pytest.raises(UsageError, match="3x5x3 may have their 3 channels first or last"):
        Preprocessing.from_dict(told).values(first[..., :3])


def test_the_mean_is_that_of_the_colour_that_the_network_sees_there() -> None:
    fed = applied(channels="bgr", mean=[1, 2, 3])
    assert np.array_equal(fed[:, 0], IMAGES[..., 2] - np.float32(1))


def test_resize_crop_and_letterbox() -> None:
    assert applied(resize=[12, 12]).shape == (2, 3, 12, 12)
    assert applied(resize=8).shape == (2, 3, 12, 8), "the shorter side, in proportion"
    assert np.array_equal(applied(center_crop=4), IMAGES[:, 1:5].transpose(0, 3, 1, 2))
    framed = applied(letterbox=[6, 8], layout="nhwc")
    assert np.array_equal(framed[:, :, 2:6], IMAGES)
    assert (framed[:, :, [0, 1, 6, 7]] == 114).all()
    with pytest.raises(UsageError, match="has no middle of 7x7"):
        applied(center_crop=7)


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic", "area"])
def test_a_flat_image_stays_flat_whichever_the_interpolation(interpolation: str) -> None:
    flat = np.full((1, 6, 4, 2), 77, np.uint8)
    assert (applied(flat, resize=[9, 3], interpolation=interpolation) == 77).all()


def test_samples_of_several_sizes_have_to_be_brought_to_one() -> None:
    photographs = ragged([IMAGES[0], IMAGES[1, :4]])
    assert applied(photographs, resize=[4, 4]).shape == (2, 3, 4, 4)
    with pytest.raises(UsageError, match="the samples differ in size") as refused:
        applied(photographs)
    assert "--resize" in (refused.value.hint or "")


def test_what_is_no_image_keeps_its_shape_and_tokens_their_type() -> None:
    features = np.ones((2, 5), np.float64)
    assert np.array_equal(applied(features, scale=0.5), np.full((2, 5), 0.5, np.float32))
    tokens = np.arange(6, dtype=np.int64).reshape(2, 3)
    assert applied(tokens, scale=0.5) is tokens


def test_integers_are_rounded_and_kept_in_their_range() -> None:
    fed = applied(np.array([[0, 100, 255]], np.uint8), mean=[128], dtype="int8")
    assert (fed.dtype, fed.tolist()) == (np.int8, [[-128, -28, 127]])


@pytest.mark.parametrize(
    ("told", "size", "corners"),
    [
        ({}, (6, 4), (1, 2, 3, 4)),
        ({"resize": [12, 12]}, (6, 4), (3, 4, 9, 8)),
        ({"center_crop": [4, 4]}, (6, 4), (1, 1, 3, 3)),
        ({"letterbox": [12, 12]}, (6, 4), (4, 4, 8, 8)),
    ],
)
def test_where_a_box_comes_to_lie(
    told: dict[str, Any], size: tuple[int, int], corners: tuple[int, ...]
) -> None:
    placement = Preprocessing.from_dict(told).placement(*size)
    assert placement.corners(np.array([[1, 2, 3, 4]], np.float32)).tolist() == [list(corners)]


def test_is_stored_and_read_back_and_has_one_hash() -> None:
    told = Preprocessing(resize=(96, 96), scale=Fraction(1, 255), mean=(0.5,), channels="bgr")
    assert told.to_dict() == {
        "resize": [96, 96],
        "channels": "bgr",
        "scale": "1/255",
        "mean": [0.5],
    }
    assert Preprocessing.from_dict(told.to_dict()) == told
    assert told.described() == "resize 96x96, channels bgr, scale 1/255, mean 0.5"
    assert Preprocessing().described() == "raw"
    other = Preprocessing.from_dict(dict(reversed(told.to_dict().items())))
    assert told.sha256 == other.sha256 != Preprocessing().sha256


@pytest.mark.parametrize(
    "told",
    [
        {"size": 3},
        {"resize": [1, 2, 3]},
        {"resize": 0},
        {"resize": "big"},
        {"center_crop": [1, 2, 3]},
        {"letterbox": 4, "resize": 4},
        {"interpolation": "lanczos"},
        {"channels": "xyz"},
        {"layout": "chw"},
        {"dtype": "complex64"},
        {"fill": 256},
        {"scale": 0},
        {"scale": "1/0"},
        {"std": [0]},
        {"mean": [float("nan")]},
        {"mean": [1, 2], "std": [1, 2, 3]},
    ],
)
def test_refuses_what_cannot_be(told: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Preprocessing.from_dict(told)


def test_grey_images_may_be_given_three_equal_channels() -> None:
    grey = np.arange(12, dtype=np.uint8).reshape(1, 3, 4, 1)
    fed = Preprocessing(channels="grey-to-rgb").apply({"": grey})[""]
    assert (fed == grey.transpose(0, 3, 1, 2)).all()
    assert fed.shape == (1, 3, 3, 4)


def test_grey_samples_and_constants_of_three_colours_name_the_flag() -> None:
    grey = np.zeros((2, 8, 8, 1), np.uint8)
    with pytest.raises(UsageError, match="1 channel are normalised by 3 constants") as caught:
        Preprocessing.normalized((0.1, 0.2, 0.3), (1, 1, 1)).apply({"": grey})
    assert "--channels grey-to-rgb" in caught.value.hint
