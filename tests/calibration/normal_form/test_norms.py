"""Norms become operators with integer kernels, and answer as the float model does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, inliner, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = 8


def network(nodes: list[Any], constants: dict[str, Any], shape: list[Any], opset: int) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", opset)]
    return ir.from_proto(helper.make_model(graph, opset_imports=opsets, ir_version=10))


def images(
    kind: str, rng: np.random.Generator, size: int, affine: bool, groups: int, opset: int = 21
) -> ir.Model:
    """A convolution, a norm over images, a Relu."""
    count = CHANNELS
    of_groups = kind == "GroupNormalization" and opset < 21  # since deprecated for that
    numbers = groups if of_groups else count
    scale = rng.uniform(0.5, 2, numbers) if affine else np.ones(numbers)
    shift = rng.normal(size=numbers) if affine else np.zeros(numbers)
    attributes: dict[str, Any] = {"num_groups": groups} if kind == "GroupNormalization" else {}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], pads=[1] * 4),
        helper.make_node(kind, ["a", "scale", "shift"], ["n"], name="norm", **attributes),
        helper.make_node("Relu", ["n"], ["y"]),
    ]
    constants = {
        "w": rng.normal(size=(count, 3, 3, 3)).astype(np.float32) / 4,
        "scale": scale.astype(np.float32),
        "shift": shift.astype(np.float32),
    }
    return network(nodes, constants, ["N", 3, size, size], opset)


def tokens(
    rng: np.random.Generator, count: int, affine: bool, products: int, axis: int
) -> ir.Model:
    """A product, a norm over the features of tokens, and products that read it, or none."""
    shape = [CHANNELS] if axis == -1 else [count, CHANNELS]
    scale = rng.uniform(0.5, 2, shape) if affine else np.ones(shape)
    inputs = ["a", "scale", "shift"] if affine else ["a", "scale"]
    readers = [helper.make_node("MatMul", ["n", "v"], [f"p{i}"]) for i in range(products)]
    last = [f"p{i}" for i in range(products)] or ["n"]
    end = helper.make_node("Add" if products > 1 else "Relu", last, ["y"])
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("LayerNormalization", inputs, ["n"], name="norm", axis=axis),
        *readers,
        end,
    ]
    constants = {
        "w": rng.normal(size=(6, CHANNELS)).astype(np.float32),
        "v": rng.normal(size=(CHANNELS, 5)).astype(np.float32),
        "scale": scale.astype(np.float32),
        "shift": rng.normal(size=shape).astype(np.float32),
    }
    if not affine:
        constants.pop("shift")
    if not products:
        constants.pop("v")
    return network(nodes, constants, ["N", count, 6], 21)


def check(model: ir.Model, samples: np.ndarray, folder: Path) -> None:
    """The quantised model answers as the float one, and TFLite's kernels as their emulation."""
    (folder / "float.onnx").write_bytes(serialize(model))
    made = quantize_onnx(model, [samples])
    assert not [node for node in made.graph if node.op_type.endswith("Normalization")]
    (folder / "net.onnx").write_bytes(serialize(made))
    exported = exporter.export(made, ExportOptions(io_layout="nchw"))
    assert exported.parity.different == ()
    assert exported.in_float is None
    (folder / "net.tflite").write_bytes(exported.content)
    found = {}
    for name, file in (
        ("float", "float.onnx"),
        ("ort", "net.onnx"),
        ("tflite-ref", "net.tflite"),
        ("emulator:tflite-reference", "net.tflite"),
    ):
        target = "ort-cpu-ref" if name in ("float", "ort") else name
        with TARGETS.load(target).open(folder / file) as session:
            found[name] = np.asarray(session.run(samples), np.float64)
    np.testing.assert_array_equal(found["tflite-ref"], found["emulator:tflite-reference"])
    for name in ("ort", "tflite-ref"):
        error = np.linalg.norm(found[name] - found["float"]) / np.linalg.norm(found["float"])
        assert error < 0.08, name


@settings(max_examples=12, deadline=None)
@given(
    kind=st.sampled_from(["InstanceNormalization", "GroupNormalization"]),
    seed=st.integers(0, 99),
    size=st.integers(2, 7),
    affine=st.booleans(),
    groups=st.sampled_from([1, 2, 4, 8]),
    opset=st.sampled_from([18, 21]),
)
def test_norms_over_images(
    kind: str,
    seed: int,
    size: int,
    affine: bool,
    groups: int,
    opset: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = np.random.default_rng(seed)
    model = images(kind, rng, size, affine, groups, opset)
    samples = rng.normal(size=(16, 3, size, size)).astype(np.float32)
    check(model, samples, tmp_path_factory.mktemp("norms"))


@settings(max_examples=12, deadline=None)
@given(
    seed=st.integers(0, 99),
    count=st.integers(1, 6),
    affine=st.booleans(),
    products=st.integers(0, 2),
    axis=st.sampled_from([-1, 1]),
)
def test_norms_over_tokens(
    seed: int,
    count: int,
    affine: bool,
    products: int,
    axis: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    rng = np.random.default_rng(seed)
    model = tokens(rng, count, affine, products, axis)
    samples = rng.normal(size=(16, count, 6)).astype(np.float32)
    check(model, samples, tmp_path_factory.mktemp("norms"))


def test_a_norm_written_out_by_its_definition(tmp_path: Path) -> None:
    """The definition flattens the scale, which is a constant, to a size that it computes."""
    rng = np.random.default_rng(0)
    model = ir.to_proto(tokens(rng, 5, affine=True, products=1, axis=-1))
    typed = onnx.shape_inference.infer_shapes(model)
    norm = [("", "LayerNormalization")]
    written = inliner.inline_selected_functions(typed, norm, inline_schema_functions=True)
    check(ir.from_proto(written), rng.normal(size=(16, 5, 6)).astype(np.float32), tmp_path)


def test_a_mean_of_what_was_normalised_is_noise() -> None:
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"]),
        helper.make_node("InstanceNormalization", ["a", "one", "zero"], ["n"]),
        helper.make_node("GlobalAveragePool", ["n"], ["y"]),
    ]
    rng = np.random.default_rng(0)
    constants = {
        "w": rng.normal(size=(CHANNELS, 3, 3, 3)).astype(np.float32),
        "one": np.ones(CHANNELS, np.float32),
        "zero": np.zeros(CHANNELS, np.float32),
    }
    model = network(nodes, constants, ["N", 3, 8, 8], 17)
    quantize_onnx(model, [rng.normal(size=(4, 3, 8, 8)).astype(np.float32)])


def test_one_whose_scale_is_computed_is_refused_by_name() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["a"]),
        helper.make_node("ReduceMean", ["a", "first"], ["scale"], keepdims=0),
        helper.make_node("LayerNormalization", ["a", "scale"], ["y"], name="norm"),
    ]
    constants = {"w": np.ones((6, CHANNELS), np.float32), "first": np.array([0, 1])}
    model = network(nodes, constants, [1, 4, 6], 21)
    with pytest.raises(Exception, match="LayerNormalization node 'norm'"):
        quantize_onnx(model, [np.ones((1, 4, 6), np.float32)])
