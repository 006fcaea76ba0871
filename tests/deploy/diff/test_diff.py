"""``edgeq.diff``: each planted difference is found with its tensor, channel, index and size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.faults.planting import Planting
from tests.support.models.lint_models import as_tflite, network, with_constants, with_tensors

import edgeq

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.diff.run import FileDiff


def compared(first: onnx.ModelProto | bytes, second: onnx.ModelProto | bytes, to: Path) -> FileDiff:
    paths = []
    for name, model in (("a", first), ("b", second)):
        path = to / f"{name}.{'tflite' if isinstance(model, bytes) else 'onnx'}"
        content = model if isinstance(model, bytes) else model.SerializeToString()
        path.write_bytes(content)
        paths.append(path)
    return edgeq.diff(*paths)


@pytest.mark.parametrize("model", [network(), as_tflite(network())])
def test_a_file_equals_itself(model: onnx.ModelProto | bytes, tmp_path: Path) -> None:
    found = compared(model, model, tmp_path)
    assert found.equal
    assert found.operators >= 2
    assert found.layers == 2
    assert "the same numbers in 2 layers" in repr(found)


def test_integers_are_found_by_channel(tmp_path: Path) -> None:
    def fault(constants: dict[str, np.ndarray]) -> None:
        constants["c.weight_quantized"][3, 1, 0, 2] += 5
        constants["c.weight_quantized"][7, 0, 0, 0] -= 1

    found = compared(network(), with_constants(network(), fault), tmp_path)
    (one,) = found.differences
    assert (one.kind, one.channels, one.steps) == ("weights", (3, 7), 5)
    assert "2 of 1,080 integers differ, by up to 5" in one.detail
    assert found.to_dict()["differences"]
    assert "integers differ" in found._repr_html_()


def test_an_operator_more_is_told_at_what_it_stands_in_front_of(tmp_path: Path) -> None:
    more = Planting(network())
    at = next(i for i, node in enumerate(more.graph.node) if node.op_type == "Conv")
    reader = more.graph.node[at].name
    node = onnx.helper.make_node("Neg", [more.graph.node[at].input[0]], ["negated"], "more")
    more.graph.node[at].input[0] = "negated"
    more.insert(at, node)
    (one,) = compared(network(), more.model, tmp_path).differences
    assert (one.kind, one.where) == ("operator added", reader)
    assert "Neg 'more'" in one.detail


def test_constants_beside_layers(tmp_path: Path) -> None:
    def with_table(last: int) -> onnx.ModelProto:
        model = network()
        model.graph.initializer.append(
            onnx.numpy_helper.from_array(np.array([0, last], np.int64), "rows")
        )
        (result,) = model.graph.output
        model.graph.node.append(
            onnx.helper.make_node("Gather", [result.name, "rows"], ["few"], "pick", axis=1)
        )
        model.graph.output[0].CopyFrom(
            onnx.helper.make_tensor_value_info("few", onnx.TensorProto.FLOAT, None)
        )
        return model

    (one,) = compared(with_table(1), with_table(2), tmp_path).differences
    assert (one.kind, one.where) == ("constant", "rows")
    assert "1 of 2 numbers differs, by up to 1; the first at [1]: 1 became 2" in one.detail


def test_other_names_make_no_difference(tmp_path: Path) -> None:
    renamed = network()
    for node in renamed.graph.node:
        node.name = f"renamed {node.name}"
    assert compared(network(), renamed, tmp_path).equal


def test_operators_that_only_one_has_and_other_attributes(tmp_path: Path) -> None:
    other = network()
    relu = next(node for node in other.graph.node if node.op_type == "Relu")
    before = next(node for node in other.graph.node if node.output[0] == relu.input[0])
    before.output[0] = relu.output[0]
    other.graph.node.remove(relu)
    convolution = next(node for node in other.graph.node if node.op_type == "Conv")
    convolution.attribute.append(onnx.helper.make_attribute("strides", [2, 2]))
    found = compared(network(), other, tmp_path)
    told = {(each.kind, each.detail) for each in found.differences}
    assert ("operator missing", "Relu is only in the first file") in told
    assert any(kind == "attribute" and "strides" in how for kind, how in told)


def test_tflite_files(tmp_path: Path) -> None:
    clean = as_tflite(network())

    def fault(tensors: dict[str, Any], model: Any) -> None:
        weights = tensors["d.weight"]
        stored = np.array(model.buffers[weights.buffer].data, np.uint8).view(np.int8)
        stored[41] += 2
        model.buffers[weights.buffer].data = stored.view(np.uint8)
        scales = np.array(tensors["c.weight"].quantization.scale, np.float32)
        scales[9] *= 2
        tensors["c.weight"].quantization.scale = scales

    found = compared(clean, with_tensors(clean, fault), tmp_path)
    by_kind = {each.kind: each for each in found.differences}
    assert set(by_kind) == {"weight scale", "weights"}
    assert by_kind["weight scale"].channels == (9,)
    assert by_kind["weight scale"].factor == 2
    assert (by_kind["weights"].channels, by_kind["weights"].steps) == ((1,), 2)


def test_two_formats(tmp_path: Path) -> None:
    assert compared(network(), as_tflite(network()), tmp_path).equal
