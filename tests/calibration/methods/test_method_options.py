"""What is typed of methods: settings that cannot be, names twice, what does nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import helper

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from tests.calibration.conftest import Build


@pytest.mark.parametrize(
    ("typed", "told"),
    [
        ("adaround:", "no setting of the form KEY=VALUE"),
        ("adaround:steps=", "no setting of the form KEY=VALUE"),
        ("adaround:steps", "no setting of the form KEY=VALUE"),
        ("adaround:steps=inf", "'inf', which is no int"),
        ("adaround:nothing=1", "has no setting 'nothing'"),
    ],
)
def test_settings_that_cannot_be(typed: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        CalibrationConfig(methods=(typed,))


def test_settings_are_finite() -> None:
    with pytest.raises(UsageError, match="'nan', which is no float"):
        CalibrationConfig(observer="percentile:percent=nan")


def test_a_method_named_twice() -> None:
    with pytest.raises(UsageError, match="'adaround' is named twice"):
        CalibrationConfig(methods=("adaround", "bias-correction", "adaround:steps=10"))


def test_methods_are_a_sequence_and_keep_samples() -> None:
    with pytest.raises(UsageError, match="the text 'gptq', and a sequence") as caught:
        CalibrationConfig(methods="gptq")  # type: ignore[arg-type]
    assert "methods=('gptq',)" in caught.value.hint
    with pytest.raises(UsageError, match="method_samples is 0"):
        CalibrationConfig(weight_bits=4, method_samples=0)


def test_a_method_that_does_nothing_says_so(build: Build) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["y"])]
    model = build(nodes, {"w": np.ones((3, 3, 1, 1), np.float32)}, ["n", 3, 4, 4])
    images = np.random.default_rng(0).normal(size=(8, 3, 4, 4)).astype(np.float32)
    told: list[str] = []
    config = CalibrationConfig(methods=("equalize", "bias-correction"))
    quantize_onnx(model, [images], config, tell=told.append)
    assert told[0].endswith("; nothing in this model was changed by it")
    assert told[1] == (
        "bias-correction: corrected the biases of 0 of 1 layer, for the others have none; nothing "
        "in this model was changed by it"
    )


@pytest.mark.parametrize("bits", [2, 8])
def test_a_network_of_zeros(build: Build, bits: int) -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("Relu", ["a"], ["r"]),
        helper.make_node("Conv", ["r", "w"], ["b"]),
        helper.make_node("Conv", ["b", "w"], ["y"]),
    ]
    model = build(nodes, {"w": np.zeros((3, 3, 1, 1), np.float32)}, ["n", 3, 4, 4])
    images = np.random.default_rng(0).normal(size=(8, 3, 4, 4)).astype(np.float32)
    told: list[str] = []
    config = CalibrationConfig(weight_bits=bits, act_bits=bits, methods=())
    quantize_onnx(model, [images], config, tell=told.append)
    assert told[-1] == "output 'y': equal to float, on 4 of 8 samples of the calibration"
