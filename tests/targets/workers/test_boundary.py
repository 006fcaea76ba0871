"""What stands between edgeq and a model that runs elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import pytest
from onnx import TensorProto, helper

from edgeq.errors import ArtefactError
from edgeq.targets.workers.boundary import read, spec_of

if TYPE_CHECKING:
    from pathlib import Path


def test_pixels_that_the_graph_makes_floats_of_are_fed_as_they_are(tmp_path: Path) -> None:
    nodes = [helper.make_node("Cast", ["x"], ["f"], to=1), helper.make_node("Relu", ["f"], ["y"])]
    ends = [
        helper.make_tensor_value_info(name, kind, [1, 3, 4, 4])
        for name, kind in (("x", TensorProto.UINT8), ("y", TensorProto.FLOAT))
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:])
    opset = helper.make_opsetid("", 21)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[opset]), tmp_path / "net.onnx")
    pixels = read(tmp_path / "net.onnx").pixels
    assert pixels == {"x"}
    told = {"name": "x", "shape": [1, 3, 4, 4], "dtype": "uint8"}
    spec = spec_of(told, {}, counts=True, pixels=pixels)
    assert (spec.dtype, spec.params, spec.shape) == ("uint8", None, (3, 4, 4))
    with pytest.raises(ArtefactError, match="'x' is uint8 without a scale"):
        spec_of(told, {}, counts=True)
