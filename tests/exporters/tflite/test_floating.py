"""Float networks as TFLite, against the float network on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import read
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path


def test_a_transposed_convolution_that_strides(tmp_path: Path) -> None:
    """TRANSPOSE_CONV has its bias where no other layer has it."""
    random = np.random.default_rng(0)
    weight = random.normal(size=(3, 2, 2, 2)).astype(np.float32)
    bias = random.normal(size=2).astype(np.float32)
    images = random.normal(size=(4, 3, 5, 5)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 5, 5])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2, 10, 10])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    opsets = [helper.make_opsetid("", 17)]
    source = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), source)
    exported = exporter.export(read(source), ExportOptions())
    assert exported.parity.different == ()
    (tmp_path / "net.tflite").write_bytes(exported.content)
    with TARGETS.load("ort-cpu-ref").open(source) as session:
        wanted = session.run(images)
    with TARGETS.load("tflite-ref").open(tmp_path / "net.tflite") as session:
        found = session.run(images)
    if found.shape != wanted.shape:
        found = found.transpose(0, 3, 1, 2)
    # sums of twelve products in float32, in another order
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-5)


def test_an_output_that_is_a_constant_is_named(tmp_path: Path) -> None:
    source = tmp_path / "net.onnx"
    kinds = {"x": TensorProto.FLOAT, "y": TensorProto.FLOAT}
    x, y = (helper.make_tensor_value_info(name, kind, [1, 4]) for name, kind in kinds.items())
    constant = numpy_helper.from_array(np.ones((1, 4), np.float32), "y")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["z"])], "net", [x], [y], [constant])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10), source
    )
    with pytest.raises(ArtefactError, match="the output 'y' is a constant"):
        exporter.export(read(source), ExportOptions())
