"""tflite-runtime and TensorFlow hold LiteRT's interpreter: on equal kernels, equal integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models

from edgeq.errors import UsageError
from edgeq.target import TARGETS
from edgeq.targets.tflite_alternatives import InterpreterTarget, tensorflow, tflite_runtime

if TYPE_CHECKING:
    from pathlib import Path

# TensorFlow takes seconds to import
PACKAGES = [tflite_runtime, pytest.param(tensorflow, marks=pytest.mark.slow)]


@pytest.mark.parametrize("target", PACKAGES, ids=lambda target: target.name)
@pytest.mark.parametrize(
    ("kernels", "ours"), [("builtin", "tflite-builtin"), ("reference", "tflite-ref")]
)
def test_equal_kernels_give_equal_integers(
    target: InterpreterTarget, kernels: str, ours: str, tmp_path: Path
) -> None:
    kind = target.variant(kernels)
    if not kind.probe().usable:
        pytest.skip(kind.probe().hint)
    model = tmp_path / "m.tflite"
    model.write_bytes(tflite_models.int8_model())
    images = onnx_models.images(4)
    with TARGETS.load(ours).open(model) as here, kind.open(model) as there:
        assert np.array_equal(here.run(images), there.run(images))
        assert there.facts["interpreter"] == target.name


def test_the_kernels_are_part_of_the_name() -> None:
    found = TARGETS.load("tflite-runtime:reference")
    assert found.capabilities.summary.endswith("reference kernels")
    assert found.capabilities.intermediates
    assert not tensorflow.capabilities.intermediates


def test_an_unknown_kernel_set_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"no kernel set 'fast'\n  hint: choose one of xnnpack, builtin, reference"
    ):
        TARGETS.load("tensorflow:fast")
