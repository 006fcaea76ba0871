"""Quantisers of QONNX and Brevitas become ONNX's own, with the integers that they mean."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.support.models.qoperator_models import run

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import read
from edgeq.formats.onnx_validation import check_graph
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.normal_form.quant_nodes import QUANT_DOMAINS, with_onnx_quantizers
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.qdq.reader import read_qdq

DOMAIN = QUANT_DOMAINS[0]


def _node(name: str, source: str, grid: dict[str, Any], **attributes: Any) -> tuple[Any, list[Any]]:
    """A quantiser, and the constants of its grid."""
    op_type, domain = attributes.pop("op_type", "Quant"), attributes.pop("domain", DOMAIN)
    constants = [numpy_helper.from_array(np.asarray(v), f"{name}_{k}") for k, v in grid.items()]
    inputs = [source, *(constant.name for constant in constants)]
    return helper.make_node(
        op_type, inputs, [name], name=name, domain=domain, **attributes
    ), constants


def _grid(scale: Any, zero: float = 0.0, bits: float = 8.0) -> dict[str, Any]:
    return {"scale": np.float32(scale), "zero": np.float32(zero), "bits": np.float32(bits)}


def _model(
    parts: list[tuple[Any, list[Any]]],
    constants: list[Any],
    opset: int = 17,
    shape: tuple[int, ...] = (1, 4, 5, 5),
) -> onnx.ModelProto:
    nodes = [node for node, _ in parts]
    graph = helper.make_graph(
        nodes,
        "quant",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(nodes[-1].output[0], TensorProto.FLOAT, None)],
        [*constants, *(constant for _, own in parts for constant in own)],
    )
    imports = [helper.make_opsetid("", opset), helper.make_opsetid(DOMAIN, 1)]
    model: onnx.ModelProto = helper.make_model(graph, opset_imports=imports, ir_version=8)
    return model


def _bounds(bits: int, *, signed: bool, narrow: bool) -> tuple[int, int]:
    if signed:
        return -(2 ** (bits - 1)) + narrow, 2 ** (bits - 1) - 1
    return 0, 2**bits - 1 - narrow


@settings(max_examples=40, deadline=None)
@given(
    bits=st.integers(2, 16),
    signed=st.booleans(),
    narrow=st.booleans(),
    part=st.floats(0, 1),
    scale=st.sampled_from([0.5, 0.03, 1.7]),
    opset=st.sampled_from([11, 17, 21]),
)
def test_an_activation_lands_on_the_integers_of_its_quantiser(
    bits: int, signed: bool, narrow: bool, part: float, scale: float, opset: int
) -> None:
    low, high = _bounds(bits, signed=signed, narrow=narrow)
    zero = round(low + part * (high - low))
    quant = _node("y", "x", _grid(scale, zero, bits), signed=int(signed), narrow=int(narrow))
    model = ir.from_proto(_model([quant], [], opset))
    found: onnx.ModelProto = ir.to_proto(as_qdq(model))
    check_graph(found, "the QDQ form")
    (output,) = read_qdq(model).outputs
    grid = output.tensor.params
    assert (grid.qmin, grid.qmax, int(grid.zero_point)) == (low, high, zero)
    if bits > 8 and grid.is_sub_range:
        return  # ONNX Runtime clips no integers of 16 bits
    # away from ties, which are rounded before or behind the zero point
    steps = np.random.default_rng(bits).integers(2 * low - 5, 2 * high + 5, (1, 4, 5, 5))
    x = ((steps + 0.25) * np.float32(scale)).astype(np.float32)
    wanted = (np.clip(np.rint(x / np.float32(scale) + zero), low, high) - zero) * np.float32(scale)
    np.testing.assert_allclose(run(found, {"x": x}, ["y"])[0], wanted, rtol=1e-6, atol=0)


@pytest.mark.parametrize("domain", QUANT_DOMAINS)
@pytest.mark.parametrize("axis", [None, 0, 1])
@pytest.mark.parametrize(
    ("rounding", "function"),
    [
        ("ROUND", np.rint),
        ("CEIL", np.ceil),
        ("FLOOR", np.floor),
        ("ROUND_TO_ZERO", np.trunc),
        ("UP", lambda v: np.sign(v) * np.ceil(np.abs(v))),
        ("HALF_UP", lambda v: np.sign(v) * np.floor(np.abs(v) + 0.5)),
        ("HALF_DOWN", lambda v: np.sign(v) * np.ceil(np.abs(v) - 0.5)),
    ],
)
def test_constants_become_integers_by_the_rounding_asked_for(
    domain: str, axis: int | None, rounding: str, function: Any
) -> None:
    weights = np.array([[0.5, -0.5, 1.5], [2.5, -2.5, 40.0]], np.float32)
    shape = [1, 1]
    if axis is not None:
        shape[axis] = weights.shape[axis]
    scale = np.full(shape, 1.0, np.float32) if axis is not None else np.float32(1.0)
    grid = {"scale": scale, "zero": np.float32(0), "bits": np.float32(4)}
    quant = _node("w", "k", grid, signed=1, narrow=1, rounding_mode=rounding, domain=domain)
    gemm: tuple[Any, list[Any]] = (helper.make_node("MatMul", ["x", "w"], ["y"], name="mm"), [])
    model = _model([quant, gemm], [numpy_helper.from_array(weights, "k")], shape=(1, 2))
    found = with_onnx_quantizers(ir.from_proto(model))
    stored = next(node for node in found.graph if node.op_type == "DequantizeLinear").inputs[0]
    assert stored is not None
    assert stored.const_value is not None
    integers = stored.const_value.numpy()
    assert integers.dtype == np.int8
    assert np.array_equal(integers, np.clip(function(weights), -7, 7))


def test_a_network_of_brevitas_without_an_import_is_read(tmp_path: Any) -> None:
    """As it is written: weights, a bias of 32 bits, activations of 4 and 8 bits."""
    rng = np.random.default_rng(0)
    weights = rng.standard_normal((3, 4, 3, 3)).astype(np.float32)
    scales = np.full((3, 1, 1, 1), 0.25, np.float32)
    kinds = {"domain": "onnx.brevitas"}
    bias_scale = np.float32(0.5) * scales.reshape(3)
    parts = [
        _node("xq", "x", _grid(0.5), signed=1, **kinds),
        _node("wq", "w", {**_grid(1, 0, 4), "scale": scales}, signed=1, narrow=1, **kinds),
        _node("bq", "b", {**_grid(1, 0, 32), "scale": bias_scale}, signed=1, **kinds),
        (helper.make_node("Conv", ["xq", "wq", "bq"], ["c"], name="conv"), []),
        (helper.make_node("Relu", ["c"], ["r"], name="relu"), []),
        _node("y", "r", _grid(0.125, 0, 4), signed=0, **kinds),
    ]
    constants = [
        numpy_helper.from_array(weights, "w"),
        numpy_helper.from_array(np.array([1.0, -3.125, 0.125], np.float32), "b"),
    ]
    model = _model(parts, constants)
    del model.opset_import[1:]
    onnx.save(model, tmp_path / "brevitas.onnx")
    view = read_qdq(read(tmp_path / "brevitas.onnx"))
    (conv,) = [op for op in view.ops if op.op_type == "Conv"]
    source, kernel, bias = conv.inputs
    assert isinstance(kernel, QdqConstant)
    assert isinstance(bias, QdqConstant)
    assert np.array_equal(kernel.values, np.clip(np.rint(weights / 0.25), -7, 7))
    assert kernel.params is not None
    assert kernel.params.axis == 0
    assert np.array_equal(bias.values, [8, -25, 1])
    assert bias.params is not None
    assert bias.params.dtype == "int32"
    assert (conv.output.params.qmin, conv.output.params.qmax) == (0, 15)
    assert conv.output.name == "y"
    assert source is not None


def test_bipolar_weights_are_plus_and_minus_one() -> None:
    weights = np.array([[0.0, -0.1], [3.0, -7.0]], np.float32)
    quant = _node("w", "k", {"scale": np.float32(0.5)}, op_type="BipolarQuant")
    gemm: tuple[Any, list[Any]] = (helper.make_node("MatMul", ["x", "w"], ["y"], name="mm"), [])
    model = _model([quant, gemm], [numpy_helper.from_array(weights, "k")], shape=(1, 2))
    found: onnx.ModelProto = ir.to_proto(as_qdq(ir.from_proto(model)))
    assert np.array_equal(
        run(found, {"x": np.eye(2, dtype=np.float32)[:1]}, ["y"])[0], [[0.5, -0.5]]
    )


@pytest.mark.parametrize(
    ("grid", "attributes", "said"),
    [
        (_grid(0.5, 0, 8), {"rounding_mode": "FLOOR"}, "rounds activations by FLOOR"),
        (_grid(0.5, 0.5, 8), {}, "zero point that is no integer"),
        (_grid(0.5, 300, 8), {}, "zero point that is no integer"),
        (_grid(0.5, 0, 20), {}, "gives activations 20 bits"),
        (_grid(0.5, 0, 2.5), {}, "width of"),
        (_grid(0.0, 0, 8), {}, "no.* positive number|not a positive number"),
        ({**_grid(1), "scale": np.ones((1, 4, 5, 1), "f4")}, {}, "more than one axis"),
        ({"scale": np.float32(1)}, {"op_type": "BipolarQuant"}, "one bit"),
        (_grid(0.5), {"op_type": "Trunc"}, "cuts bits off"),
        (_grid(0.5), {"op_type": "FloatQuant"}, "small floats"),
    ],
)
def test_what_has_no_such_form_is_refused_by_name(
    grid: dict[str, Any], attributes: dict[str, Any], said: str
) -> None:
    model = _model([_node("y", "x", grid, signed=1, **attributes)], [])
    with pytest.raises(ArtefactError, match=said) as caught:
        read_qdq(ir.from_proto(model))
    assert "'y'" in caught.value.what
    assert caught.value.hint


def test_a_scale_that_is_computed_is_refused() -> None:
    quant, constants = _node("y", "x", _grid(0.5), signed=1)
    double = helper.make_node("Abs", ["y_scale"], ["s"])
    quant.input[1] = "s"
    model = _model([(double, []), (quant, constants)], [])
    with pytest.raises(ArtefactError, match="computes its scale"):
        read_qdq(ir.from_proto(model))
