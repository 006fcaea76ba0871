"""Activations of 16 bits, for the whole network or for layers by pattern.

Held to what 8 bits are held to: not a number changed in TFLite, each operator within a step of ONNX
Runtime, and the emulator's integers equal to the reference kernels'.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper
from tests.support.runtimes.emulation import differing

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.grids import activation_grid, constant_grid
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.verify import verify_arrays
from edgeq.errors import UnknownName, UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.network.layer_rules import LayerRule
from edgeq.network.placement import GridSpec
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

Build = Callable[..., ir.Model]
WIDE: dict[str, Any] = {"act_bits": 16, "boundary_bits": 16}
CONFIGS: dict[str, dict[str, Any]] = {
    "all": WIDE,
    "what layers read": {"act_bits": 16},
    "what no layer reads": {"boundary_bits": 16},
    "the middle layer": {"layers": (LayerRule("mid*", act_bits=16, weight_bits=4),)},
    "all but the middle layer": {
        **WIDE,
        "layers": (LayerRule("middle", act_bits=8, per_channel=False),),
    },
}


@pytest.fixture
def net(build: Build) -> ir.Model:
    """SiLU, HardSwish, Tanh, a product, a constant sum, a shuffle, attention, and a classifier."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    window: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    return build(
        [
            node("Conv", ["x", "w1"], ["c1"], "first", **window),
            node("Sigmoid", ["c1"], ["s1"]),
            node("Mul", ["c1", "s1"], ["a1"]),
            node("Conv", ["a1", "w2", "b2"], ["c2"], "middle", **window),
            node("HardSwish", ["c2"], ["a2"]),
            node("Add", ["a2", "shift"], ["a3"]),
            node("Tanh", ["a3"], ["t3"]),
            node("Mul", ["a3", "t3"], ["m3"]),
            node("DepthToSpace", ["m3"], ["d3"], blocksize=2, mode="CRD"),
            node("Conv", ["d3", "w4"], ["c4"], "third", **window),
            node("Reshape", ["c4", "tokens"], ["q"]),
            node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
            node("MatMul", ["q", "k"], ["scores"]),
            node("Softmax", ["scores"], ["shares"], axis=-1),
            node("MatMul", ["shares", "q"], ["mixed"]),
            node("Concat", ["mixed", "q"], ["both"], axis=1),
            node("ReduceMean", ["both", "last"], ["pooled"], keepdims=0),
            node("Gemm", ["pooled", "w5"], ["y"], "classifier"),
        ],
        {
            "w1": rng.normal(0, 0.4, (8, 3, 3, 3)).astype(np.float32),
            "w2": rng.normal(0, 0.2, (8, 8, 3, 3)).astype(np.float32),
            "b2": rng.normal(0, 0.2, 8).astype(np.float32),
            "shift": rng.normal(0, 0.5, (1, 8, 1, 1)).astype(np.float32),
            "w4": rng.normal(0, 0.3, (4, 2, 3, 3)).astype(np.float32),
            "tokens": np.array([0, 4, 144], np.int64),
            "last": np.array([2], np.int64),
            "w5": rng.normal(0, 0.5, (8, 5)).astype(np.float32),
        },
        [1, 3, 6, 6],
    )


def samples(count: int, seed: int = 0) -> list[np.ndarray[Any, np.dtype[np.float32]]]:
    rng = np.random.default_rng(seed)
    return [rng.normal(0, 1, (1, 3, 6, 6)).astype(np.float32) for _ in range(count)]


@pytest.mark.parametrize("name", CONFIGS)
def test_it_is_exact_in_tflite_and_emulated(name: str, net: ir.Model, tmp_path: Path) -> None:
    made = quantize_onnx(net, samples(6), CalibrationConfig(**CONFIGS[name]))
    exported = exporter.export(made, ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
    verify_arrays(made, exported, samples(1, seed=1)).require()
    path = tmp_path / "net.tflite"
    path.write_bytes(exported.content)
    real, emulated = TARGETS.load("tflite-ref"), TARGETS.load("emulator:tflite-reference")
    assert differing(path, real, emulated, samples(1, seed=1)[0]) == {}


def test_it_is_nearer_to_float_than_8_bits(net: ir.Model) -> None:
    told: list[str] = []
    for config in ({}, WIDE):
        quantize_onnx(net, samples(6), CalibrationConfig(**config), tell=told.append)
    narrow, wide = (float(line.split(" dB")[0].split()[-1]) for line in told if "SQNR" in line)
    assert wide > narrow + 10  # what the softmax and the weights of 8 bits leave


def test_softmax_reads_and_writes_8_bits(net: ir.Model) -> None:
    made = quantize_onnx(net, samples(2), CalibrationConfig(**WIDE))
    kinds = {value.name: value.dtype for node in made.graph for value in node.outputs}
    assert kinds["scores_to_shares_quantized"] == ir.DataType.UINT8
    assert kinds["shares_quantized"] == ir.DataType.UINT8
    assert kinds["scores_quantized"] == ir.DataType.INT16


@given(st.floats(-1e6, 1e6, width=32), st.floats(-1e6, 1e6, width=32), st.booleans())
@settings(max_examples=30)
def test_a_grid_of_16_bits_lies_around_zero_and_holds_its_range(
    first: float, second: float, signed: bool
) -> None:
    low, high = sorted((first, second))
    grid = activation_grid(GridSpec("t", 16, signed=signed, inner=True), low, high)
    assert (grid.dtype, int(grid.zero_point), grid.is_sub_range) == ("int16", 0, False)
    ends = np.array([low, high], np.float32)
    error = np.abs(grid.dequantize(grid.quantize(ends)) - ends)
    assert (error <= 0.5 * float(grid.scale) * (1 + 1e-2)).all()


def test_constants_beside_16_bits_have_16() -> None:
    values = np.array([-0.3, 0.0, 1.0], np.float32)
    grid = constant_grid(values, wide=True)
    assert grid.dtype == "int16"
    assert np.abs(grid.dequantize(grid.quantize(values)) - values).max() <= 2.0**-16


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        (LayerRule("mid*", activations="lsq"), "names a method of activations"),
        (LayerRule("mid*", weight_bits=1), "weight_bits of the layers 'mid"),
        (LayerRule("mid*", act_bits=1), "act_bits of the layers 'mid"),
    ],
)
def test_rules_that_calibration_cannot_follow_are_refused(rule: LayerRule, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        CalibrationConfig(layers=(rule,))


def test_a_rule_of_an_unknown_weight_method_is_refused() -> None:
    with pytest.raises(UnknownName):
        CalibrationConfig(layers=(LayerRule("mid*", weights="lsq"),))


def test_a_rule_that_matches_no_layer_names_layers(net: ir.Model) -> None:
    config = CalibrationConfig(layers=(LayerRule("midle", act_bits=16),))
    with pytest.raises(UsageError, match="no layer is called 'midle'") as told:
        quantize_onnx(net, samples(1), config)
    assert "middle" in (told.value.hint or "")
