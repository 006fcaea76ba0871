"""Which weights the portable dialect stores as uint8, in graphs read as a whole or not."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes.avx2 import PROCESSORS, answers
from tests.support.runtimes.devices import reference

from edgeq.data import load
from edgeq.deploy.evaluation.audit import audit
from edgeq.deploy.evaluation.saturation.pair_saturation import Samples, layers_at_risk
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

STEP = 1.0  # of the convolutions' results


def unreadable() -> onnx.ModelProto:
    """Layers of all kinds in front of an operator with a subgraph, as in detection networks."""
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], Grid(1.0))
    risky = graph.weighted("Conv", x, "risky", (8, 4, 3, 3), Grid(16.0), levels=127, relu=True)
    safe = graph.weighted("Conv", risky, "safe", (4, 8, 1, 1), Grid(16.0), levels=64, relu=True)
    moved = graph.node("Flatten", [safe], "moved")
    graph.scales[moved] = graph.scales[safe]
    graph.weighted("Gemm", moved, "dense", (5, 64), Grid(64.0, 128), transB=1, levels=64)
    graph.weighted("Gemm", moved, "wide", (5, 64), Grid(64.0, 128), transB=1, levels=127)
    graph.weighted(
        "MatMul", moved, "turned", (64, 5), Grid(64.0, 128), levels=64, channel_axis=1, bias=False
    )
    shared = graph.small("shared.weight", (5, 64), 0.01)
    graph.op("Gemm", [moved, shared], "kept", Grid(64.0, 128), transB=1)
    branches = {
        f"{name}_branch": helper.make_graph(
            [helper.make_node("Identity", [f"{source}_dequantized"], [f"{source}_taken"])],
            name,
            [],
            [helper.make_tensor_value_info(f"{source}_taken", TensorProto.FLOAT, None)],
        )
        for name, source in (("then", "dense"), ("else", "wide"))
    }
    graph.constant("always", np.array(True))
    graph.node("If", ["always"], "chosen", **branches)
    graph.node(
        "Sum",
        [
            "chosen",
            "dense_dequantized",
            "wide_dequantized",
            "turned_dequantized",
            "kept_dequantized",
        ],
        "y",
    )
    return graph.proto("y")


def kinds(model: onnx.ModelProto) -> dict[str, str]:
    """The type of each layer's stored weights."""
    names = {
        each.name: TensorProto.DataType.Name(each.data_type).lower()
        for each in model.graph.initializer
    }
    return {
        name.split(".")[0]: kind
        for name, kind in names.items()
        if name.endswith(".weight_quantized")
    }


def portable(model: onnx.ModelProto) -> onnx.ModelProto:
    written = exporter.export(ir.from_proto(model), ExportOptions())
    assert written.parity.different == ()
    return onnx.load_model_from_string(written.content)


def samples() -> Any:
    return np.random.default_rng(0).uniform(0, 255, (4, 4, 6, 6)).astype(np.float32)


def test_layers_that_are_safe_by_themselves_keep_int8_weights_in_a_graph_that_cannot_be_read() -> (
    None
):
    model = unreadable()
    with pytest.raises(ArtefactError, match="subgraph"):
        read_qdq(ir.from_proto(model), float_fallback=True)
    made = portable(model)
    assert kinds(made) == {
        "risky": "uint8", "safe": "int8", "dense": "int8", "wide": "uint8",
        "turned": "int8", "shared": "uint8"
    }  # fmt: skip
    before, after = (
        reference(each.SerializeToString(), {"x": samples()}, ["y"])[0] for each in (model, made)
    )
    assert np.array_equal(before, after)


def test_weights_with_a_reader_of_which_nothing_is_known_are_uint8() -> None:
    for index, reader in enumerate(("Gemm", "Mul")):
        model = unreadable()
        constant = next(node for node in model.graph.node if "dense.weight" in node.output)
        attributes: dict[str, Any] = {"transB": 1} if reader == "Gemm" else {}
        extra = helper.make_node(reader, ["raw", constant.output[0]], ["more"], **attributes)
        model.graph.node.append(extra)
        model.graph.input.append(helper.make_tensor_value_info("raw", TensorProto.FLOAT, [5, 64]))
        model.graph.output.append(helper.make_tensor_value_info("more", TensorProto.FLOAT, None))
        assert kinds(portable(model))["dense"] == "uint8", index


@pytest.mark.parametrize("processor", PROCESSORS)
def test_such_a_file_is_exact_on_kernels_that_add_pairs(
    processor: Sequence[str], tmp_path: Path
) -> None:
    model, x = unreadable(), samples()
    found = answers(processor, tmp_path, {"plain": (model, x), "portable": (portable(model), x)})
    wanted = reference(model.SerializeToString(), {"x": x}, ["y"])[0]
    assert np.abs(found["portable"] - wanted).max() <= 64
    assert np.abs(found["plain"] - wanted).max() > 64


def test_an_audit_names_the_layers_of_such_a_file(tmp_path: Path) -> None:
    onnx.save(unreadable(), tmp_path / "net.onnx")
    capabilities = TARGETS.load("ort-cpu").capabilities
    risky = {layer.layer for layer in layers_at_risk(tmp_path / "net.onnx", capabilities)}
    assert risky == {"risky_sum/Conv", "wide/Gemm", "kept/Gemm"}
    assert [layer.layer for layer in audit(tmp_path / "net.onnx", "ort-cpu").saturating] == [
        "risky_sum/Conv"
    ], "the others run in float"
    onnx.save(portable(unreadable()), tmp_path / "portable.onnx")
    assert layers_at_risk(tmp_path / "portable.onnx", capabilities) == ()


@pytest.mark.parametrize("zero_points", [1, 10], ids=["per tensor", "per channel"])
@pytest.mark.parametrize("data", [None, "digits"])
def test_an_audit_names_products_that_quantise_as_they_run(
    data: str | None, zero_points: int, tmp_path: Path
) -> None:
    weights = np.full((64, 10), 127, np.int8)
    weights[:, 1] = 30  # a pair comes to 15,300
    nodes = [
        helper.make_node("Flatten", ["x"], ["flat"]),
        helper.make_node("DynamicQuantizeLinear", ["flat"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z", "wz"], ["sums"], name="product"),
        helper.make_node("Cast", ["sums"], ["y"], to=TensorProto.FLOAT),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 1, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 10])],
        [
            numpy_helper.from_array(weights, "w"),
            numpy_helper.from_array(np.zeros(zero_points, np.int8), "wz"),
        ],
    )
    path = tmp_path / "net.onnx"
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    samples = None if data is None else Samples(load(data), load(data).test.take(np.arange(4)))
    found = audit(path, "ort-cpu", samples=samples)
    assert [(each.layer, each.op_type, each.extreme) for each in found.saturating] == [
        ("product", "MatMulInteger", 2 * 255 * 127)
    ]
    assert found.saturating[0].pairs == 9 * 32
    assert "edgeq calibrate" in found.remedy
