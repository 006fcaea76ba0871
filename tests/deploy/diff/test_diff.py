"""``edgeq.diff``: each planted difference is found with its tensor, channel, index and size."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.lint_models import as_tflite, network, with_constants, with_tensors

import edgeq
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.diff.compare import FileDiff


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
    assert found.numbers > 40 * 27
    assert "equal" in repr(found)


def test_integers_are_found_by_channel_and_index(tmp_path: Path) -> None:
    def fault(constants: dict[str, np.ndarray]) -> None:
        constants["c.weight_quantized"][3, 1, 0, 2] += 5
        constants["c.weight_quantized"][7, 0, 0, 0] -= 1

    found = compared(network(), with_constants(network(), fault), tmp_path)
    (one,) = found.differences
    assert (one.kind, one.tensor) == ("integers", "c.weight_quantized")
    assert (one.count, one.channels, one.index, one.largest) == (2, (3, 7), (3, 1, 0, 2), 5)
    assert "by at most 5 LSB" in one.what
    assert found.to_dict()["differences"]
    assert "c.weight_quantized" in found._repr_html_()


def test_grids_and_the_numbers_that_make_them(tmp_path: Path) -> None:
    def fault(constants: dict[str, np.ndarray]) -> None:
        constants["c_scale"] = np.array(0.1, np.float32)

    found = compared(network(), with_constants(network(), fault), tmp_path)
    grids = [each for each in found.differences if each.kind == "grid"]
    assert {each.tensor for each in grids} == {"c_quantized"}
    assert grids[0].largest == pytest.approx(1)
    assert "scale 0.0500000007 and zero point 0, then 0.100000001 and 0" in grids[0].what


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
    told = {(each.kind, each.what) for each in found.differences}
    assert ("operator", "Relu is only in a.onnx") in told
    assert any(kind == "attribute" and "strides" in what for kind, what in told)


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
    assert set(by_kind) == {"grid", "integers"}
    assert (by_kind["grid"].tensor, by_kind["grid"].channels) == ("c.weight", (9,))
    assert (by_kind["integers"].tensor, by_kind["integers"].channels) == ("d.weight", (1,))
    assert (by_kind["integers"].count, by_kind["integers"].largest) == (1, 2)


def test_two_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is a onnx file and"):
        compared(network(), as_tflite(network()), tmp_path)
