"""What is no valid ONNX graph is refused when it is read, by the name of the node.

What is valid passes in any order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models.qdq_models import S8, U8, Graph

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import serialize
from edgeq.formats.onnx_validation import check_graph, error_context, in_order
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def model() -> onnx.ModelProto:
    graph = Graph(np.random.default_rng(0))
    image = graph.input("image", ["N", 3, 6, 6], S8)
    conv = graph.weighted(
        "Conv",
        image,
        "conv",
        (4, 3, 3, 3),
        U8,
        per_channel=True,
        relu=True,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    )
    graph.op("MaxPool", [conv], "pool", U8, kernel_shape=[2, 2], strides=[2, 2])
    return graph.proto("pool_dequantized")


def node(proto: onnx.ModelProto, op_type: str) -> onnx.NodeProto:
    found: onnx.NodeProto = next(node for node in proto.graph.node if node.op_type == op_type)
    return found


def constant(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    found: onnx.TensorProto = next(
        tensor for tensor in proto.graph.initializer if tensor.name == name
    )
    return found


def dangling(proto: onnx.ModelProto) -> None:
    node(proto, "Relu").input[0] = "nowhere"


def computed_twice(proto: onnx.ModelProto) -> None:
    node(proto, "MaxPool").output[0] = node(proto, "Conv").output[0]


def cyclic(proto: onnx.ModelProto) -> None:
    node(proto, "Conv").input[0] = "pool_dequantized"


def unknown_operator(proto: onnx.ModelProto) -> None:
    node(proto, "MaxPool").op_type = "Nonsense"


def too_few_operands(proto: onnx.ModelProto) -> None:
    del node(proto, "Conv").input[1:]


def wrong_attribute(proto: onnx.ModelProto) -> None:
    node(proto, "Conv").attribute[0].CopyFrom(helper.make_attribute("kernel_shape", "three"))


def misfit_scales(proto: onnx.ModelProto) -> None:
    constant(proto, "conv.weight_scale").CopyFrom(
        numpy_helper.from_array(np.ones(3, np.float32), "conv.weight_scale")
    )


def huge_constant(proto: onnx.ModelProto) -> None:
    del constant(proto, "conv.weight_quantized").dims[:]
    constant(proto, "conv.weight_quantized").dims.extend([2**40, 2**40])


def negative_input(proto: onnx.ModelProto) -> None:
    proto.graph.input[0].type.tensor_type.shape.dim[1].dim_value = -3


def one_name_for_two(proto: onnx.ModelProto) -> None:
    proto.graph.initializer.append(constant(proto, "pool_scale"))


def no_output(proto: onnx.ModelProto) -> None:
    del proto.graph.output[:]


def unknown_opset(proto: onnx.ModelProto) -> None:
    proto.opset_import[0].version = 2**40


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (dangling, "Relu.*reads 'nowhere'.*nothing computes"),
        (computed_twice, "MaxPool.*another origin"),
        (cyclic, "cycle"),
        (unknown_operator, "Nonsense"),
        (too_few_operands, "Conv.*input size"),
        (wrong_attribute, "Conv.*kernel_shape"),
        (misfit_scales, r"DequantizeLinear.*scales of the shape \(3,\)"),
        (huge_constant, "conv.weight_quantized.*1099511627776"),
        (negative_input, "image.*-3"),
        (one_name_for_two, "two initialisers"),
        (no_output, "0 outputs"),
        (unknown_opset, "opset 1099511627776"),
    ],
)
def test_what_is_no_graph_is_refused_by_name(
    damage: Callable[[onnx.ModelProto], None], words: str, tmp_path: Path
) -> None:
    proto = model()
    damage(proto)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    with pytest.raises(ArtefactError, match=words):
        read_as_qdq(tmp_path / "model.onnx")


def test_a_pad_with_too_few_widths_is_refused_by_name() -> None:
    graph = Graph(np.random.default_rng(0))
    image = graph.input("image", ["N", 3, 6, 6], S8)
    padded = graph.op("Pad", [image, graph.constant("widths", np.array([1, 1, 1]))], "pad", S8)
    with pytest.raises(ArtefactError, match="Pad 'pad/Pad' has 3 widths for 4 axes"):
        read_qdq(ir.from_proto(graph.proto(padded)))


def test_what_the_reader_stumbles_over_is_the_models_fault() -> None:
    graph = Graph(np.random.default_rng(0))
    image = graph.input("image", ["N", 3, 6, 6], S8)
    ends = [graph.constant(name, np.array(at)) for name, at in (("from", [0, 0]), ("to", [2]))]
    cut = graph.op("Slice", [image, *ends], "cut", S8)
    with pytest.raises(ArtefactError, match=r"contradicts itself.*Slice"):
        read_qdq(ir.from_proto(graph.proto(cut)))


def test_a_sound_model_passes_and_stays(tmp_path: Path) -> None:
    proto = model()
    check_graph(proto, "it")
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    assert [one.name for one in read_as_qdq(tmp_path / "model.onnx").graph] == [
        one.name for one in proto.graph.node
    ]


def test_nodes_in_any_order_are_sorted(tmp_path: Path) -> None:
    proto = model()
    nodes = list(proto.graph.node)
    del proto.graph.node[:]
    proto.graph.node.extend(reversed(nodes))
    assert not in_order(proto.graph)
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    found = read_as_qdq(tmp_path / "model.onnx")
    assert in_order(onnx.load_model_from_string(serialize(found)).graph)
    assert len(read_qdq(found).ops) == 2


def test_operators_of_other_makers_are_theirs_to_check() -> None:
    proto = model()
    node(proto, "MaxPool").domain = "com.example"
    proto.opset_import.append(helper.make_opsetid("com.example", 1))
    check_graph(proto, "it")


def test_an_unforeseen_failure_is_the_models_where_it_contradicts_itself(tmp_path: Path) -> None:
    proto = model()
    proto.graph.node.append(
        helper.make_node("MaxPool", ["image"], ["pooled"], name="deep", kernel_shape=[2, 2, 2])
    )
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("pooled", TensorProto.FLOAT, None))
    (tmp_path / "model.onnx").write_bytes(proto.SerializeToString())
    broken = read_as_qdq(tmp_path / "model.onnx")
    with (
        pytest.raises(ArtefactError, match=r"contradicts itself.*kernel_shape"),
        error_context(broken),
    ):
        raise IndexError("list index out of range")


def test_an_unforeseen_failure_on_a_valid_model_is_ours(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(model().SerializeToString())
    sound = read_as_qdq(tmp_path / "model.onnx")
    with pytest.raises(IndexError), error_context(sound):
        raise IndexError("list index out of range")
    with pytest.raises(ArtefactError, match="as it was"), error_context(sound):
        raise ArtefactError("as it was", hint="nothing")
