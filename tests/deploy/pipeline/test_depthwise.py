"""Depthwise kernels may have more bits than other weights, and have where few bits are asked for.

They are few, and their bits are then those of the file that is exported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.models.onnx_models import four_layers

import edgeq
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import load, normalize
from edgeq.network.layer_rules import LayerRule
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from pathlib import Path

FOUR = CalibrationConfig(weight_bits=4)


@pytest.mark.parametrize(
    ("config", "bits"),
    [
        (FOUR, 8),
        (CalibrationConfig(weight_bits=4, depthwise_bits=5), 5),
        (CalibrationConfig(weight_bits=8, depthwise_bits=4), 4),
        (CalibrationConfig("minmax", weight_bits=4), 4),
        (CalibrationConfig("minmax", weight_bits=4, depthwise_bits=8), 8),
        (CalibrationConfig(weight_bits=4, layers=(LayerRule("depth*", weight_bits=3),)), 3),
        (CalibrationConfig(weight_bits=4, layers=(LayerRule("depth*", act_bits=16),)), 8),
    ],
)
def test_depthwise_kernels_have_their_own_width(
    config: CalibrationConfig, bits: int, tmp_path: Path
) -> None:
    digits, told = load("digits"), list[str]()
    images = normalize(digits.train.images[:32], digits)
    made = quantize_onnx(
        ir.load(four_layers(tmp_path / "x.onnx")), [images], config, tell=told.append
    )
    weights = {
        op.name: op.inputs[1].values.astype(int)
        for op in read_qdq(made).ops
        if op.op_type in ("Conv", "Gemm") and isinstance(op.inputs[1], QdqConstant)
    }
    found = {name: int(np.abs(each).max()).bit_length() + 1 for name, each in weights.items()}
    inner = config.weight_bits
    assert found == {"stem": 8, "depthwise": bits, "pointwise": inner, "classifier": 8}
    sizes = {name: each.size for name, each in weights.items()}
    share = f"{100 * sizes['depthwise'] / sum(sizes.values()):.1f} % of all weights"
    ruled = any(rule.weight_bits for rule in config.layers)
    line = f"depthwise kernels have {bits} bits ({share}); --depthwise-bits {inner} for all"
    assert any("have weights of 8 bits: stem, classifier;" in each for each in told) == (inner < 8)
    assert (line in told) == (bits != inner and not ruled)


def test_the_file_has_no_number_but_the_models(tmp_path: Path) -> None:
    float_model = four_layers(tmp_path / "x.onnx")
    done = edgeq.calibrate(float_model, "digits", tmp_path / "x4.onnx", config=FOUR, samples=32)
    exported = edgeq.export(done.path, path=tmp_path / "x4.tflite")
    assert exported.parity.different == ()
