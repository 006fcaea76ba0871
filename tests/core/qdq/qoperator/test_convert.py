"""QOperator files mean QDQ files.

Integer for integer on ONNX Runtime, over whole ranges, and as its own quantizer writes them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from tests.support.checks.qoperator import full, grid
from tests.support.models.qoperator_models import everything, one_operator, quantized, run

from edgeq.errors import ArtefactError
from edgeq.qdq.ir import QdqConstant, QdqGraph
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.qdq.qoperator.operators import require_static
from edgeq.qdq.reader import read_qdq
from edgeq.qdq.segments import cut

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)

# ---- whole files ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("activations", "weights", "per_channel"),
    [("uint8", "uint8", False), ("int8", "int8", False), ("int8", "int8", True)],
)
def test_every_integer_of_a_file_by_onnx_runtimes_quantizer_is_kept(
    tmp_path: Path, activations: str, weights: str, per_channel: bool
) -> None:
    """Operator by operator, since these types have kernels that are exact everywhere."""
    net, output = everything()
    path = quantized(
        tmp_path,
        net.model(output),
        net.samples(8),
        activations=activations,
        weights=weights,
        per_channel=per_channel,
    )
    model, segments = onnx.load(path), cut(as_qdq(ir.load(path)))
    reals = {}
    for node in segments.model.graph:
        if (
            node.op_type == "QuantizeLinear"
            and node.inputs[0] is not None
            and not node.inputs[0].is_graph_input()
        ):
            reals[node.outputs[0].name or ""] = node.inputs[0].name or ""
    names = [place.output for place in segments.cuts]
    for sample in net.samples(4):
        expected = dict(zip(names, run(model, {"x": sample[None]}, names), strict=True))
        feeds = {"x": sample[None]} | {
            place.feed: expected[place.output] for place in segments.cuts if place.feed is not None
        }
        found = run(
            ir.to_proto(segments.model), feeds, [*names, *(reals[name] for name in names[1:])]
        )
        assert np.array_equal(found[0], expected[names[0]])
        for place, integers, real in zip(
            segments.cuts[1:], found[1 : len(names)], found[len(names) :], strict=True
        ):
            position = real / place.params.scale
            tie = np.abs(position - np.floor(position) - 0.5) < 1e-3
            assert np.array_equal(integers[~tie], expected[place.output][~tie]), place.name
            assert np.abs(integers.astype(int) - expected[place.output]).max() <= 1, place.name


@pytest.mark.parametrize("per_channel", [False, True])
def test_the_view_of_a_file_is_that_of_the_same_network_as_qdq(
    tmp_path: Path, per_channel: bool
) -> None:
    net, output = everything()
    views: list[QdqGraph] = [
        read_qdq(
            ir.load(
                quantized(
                    tmp_path, net.model(output), net.samples(8), per_channel=per_channel, form=form
                )
            )
        )
        for form in (QuantFormat.QOperator, QuantFormat.QDQ)
    ]
    counted = [
        sorted(op.op_type for op in view.ops if op.op_type != "Requantize") for view in views
    ]
    assert counted[0] == counted[1]
    dots = [[op for op in view.ops if op.op_type in ("Conv", "Gemm", "MatMul")] for view in views]
    for one, other in zip(*dots, strict=True):
        for first, second in zip(one.inputs[1:], other.inputs[1:], strict=True):
            assert isinstance(first, QdqConstant)
            assert isinstance(second, QdqConstant)
            assert np.array_equal(first.values, second.values)
            assert first.params is not None
            assert second.params is not None
            assert np.allclose(first.params.scale, second.params.scale, rtol=2e-7, atol=0)
            assert np.array_equal(first.params.zero_point, second.params.zero_point)


def test_a_file_without_qoperators_is_left_as_it_is(tmp_path: Path) -> None:
    net, output = everything()
    model = ir.from_proto(net.model(output))
    assert as_qdq(model) is model


def test_the_model_given_is_left_as_it_is_and_names_of_integers_stay(tmp_path: Path) -> None:
    net, output = everything()
    model = ir.load(quantized(tmp_path, net.model(output), net.samples(4)))
    before = ir.to_proto(model).SerializeToString()
    found = as_qdq(model)
    assert ir.to_proto(model).SerializeToString() == before
    integers = {value.name for node in model.graph for value in node.outputs}
    assert integers <= {value.name for node in found.graph for value in node.outputs}
    assert {"conv0", "conv0_dequantized"} <= {
        value.name for node in found.graph for value in node.outputs
    }


def test_one_tensor_read_twice_has_one_dequantiser(tmp_path: Path) -> None:
    net, output = everything()
    found = as_qdq(ir.load(quantized(tmp_path, net.model(output), net.samples(4))))
    sources = [node.inputs[0] for node in found.graph if node.op_type == "DequantizeLinear"]
    assert len(set(sources)) == len(sources)


def test_an_operator_without_a_name_is_called_after_its_result() -> None:
    x = full("uint8")[None]
    model = one_operator(
        "QLinearSigmoid",
        [("x", None), *grid("uint8", "x", 0.04, 100), *grid("uint8", "y", 1 / 256, 0)],
        {"x": x},
    )
    model.graph.node[0].name = ""
    assert [op.name for op in read_qdq(ir.from_proto(model)).ops] == ["y"]


# ---- what has no form ----------------------------------------------------------------------------


def dynamic() -> onnx.ModelProto:
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"], name="quantise"),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["sums"], name="product"),
        helper.make_node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "s"], ["y"]),
    ]
    ends = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]),
    )
    weights = numpy_helper.from_array(np.full((8, 4), 127, np.int8), "w")
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "dynamic", [ends[0]], [ends[1]], [weights]),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    return model


def test_dynamic_quantisation_is_refused_by_name() -> None:
    with pytest.raises(ArtefactError) as caught:
        read_qdq(ir.from_proto(dynamic()), float_fallback=True)
    assert "DynamicQuantizeLinear 'quantise'" in caught.value.what
    assert "MatMulInteger 'product'" in caught.value.what
    assert "edgeq calibrate" in caught.value.hint


def conv(**attributes: Any) -> onnx.ModelProto:
    w = np.ones((4, 4, 1, 1), np.int8)
    inputs = [
        ("x", None),
        *grid("uint8", "x", 0.02, 7),
        ("w", w),
        ("ws", np.array(0.1, np.float32)),
        ("wz", np.zeros((), np.int8)),
    ]
    return one_operator(
        "QLinearConv",
        [*inputs, *grid("uint8", "y", 0.4, 90)],
        {"x": np.zeros((1, 4, 4, 4), np.uint8)},
        **attributes,
    )


def softmax(**attributes: Any) -> onnx.ModelProto:
    inputs = [("x", None), *grid("uint8", "x", 0.1, 9), *grid("uint8", "y", 1 / 256, 0)]
    return one_operator(
        "QLinearSoftmax", inputs, {"x": np.zeros((2, 3, 4), np.uint8)}, **attributes
    )


def computed_scale() -> onnx.ModelProto:
    model = conv(domain="")
    model.graph.initializer.remove(
        next(each for each in model.graph.initializer if each.name == "x_scale")
    )
    model.graph.input.append(helper.make_tensor_value_info("s", TensorProto.FLOAT, []))
    model.graph.node.insert(0, helper.make_node("Abs", ["s"], ["x_scale"]))
    return model


def gemm(alpha: float) -> onnx.ModelProto:
    inputs = [
        ("x", None),
        *grid("uint8", "x", 0.1, 9),
        ("w", np.ones((4, 4), np.int8)),
        ("ws", np.array(0.1, np.float32)),
        ("wz", np.zeros((), np.int8)),
    ]
    return one_operator(
        "QGemm", inputs, {"x": np.zeros((2, 4), np.uint8)}, output=TensorProto.FLOAT, alpha=alpha
    )


def where() -> onnx.ModelProto:
    inputs = [
        ("c", np.ones((1, 4), bool)),
        ("x", None),
        *grid("uint8", "x", 0.1, 9),
        ("z", None),
        *grid("uint8", "z", 0.1, 9),
        *grid("uint8", "y", 0.1, 9),
    ]
    return one_operator(
        "QLinearWhere", inputs, {"x": np.zeros((1, 4), np.uint8), "z": np.zeros((1, 4), np.uint8)}
    )


@pytest.mark.parametrize(
    ("model", "what"),
    [
        (conv(channels_last=1), "QLinearConv 'node' has its channels last"),
        (softmax(axis=1, opset=12), "QLinearSoftmax 'node' takes all axes from its own on as one"),
        (computed_scale(), "QLinearConv 'node' computes its scale or zero point while it runs"),
        (gemm(-1.0), "QGemm 'node' multiplies its operands by -1.0"),
        (where(), "QLinearWhere 'node' is an operator on integers that edgeq does not know"),
    ],
    ids=["channels_last", "softmax", "scale", "alpha", "where"],
)
def test_what_has_no_form_is_refused_by_name(model: onnx.ModelProto, what: str) -> None:
    graph = as_qdq(ir.from_proto(model)).graph
    assert [node.op_type for node in graph] == [node.op_type for node in model.graph.node]
    with pytest.raises(ArtefactError, match=what):
        require_static(graph)


def test_an_operator_of_that_name_in_another_domain_is_none_of_ours() -> None:
    model = ir.from_proto(conv(domain="someone.else"))
    assert as_qdq(model) is model
    require_static(model.graph)
