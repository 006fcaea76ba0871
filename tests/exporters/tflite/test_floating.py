"""Float networks as TFLite, against the float network on ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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


@pytest.mark.parametrize(
    ("kind", "shape", "filters", "attributes"),
    [
        ("ConvTranspose", (3, 5, 5), (3, 2, 2, 2), {"strides": [2, 2]}),
        ("ConvTranspose", (3, 5, 5), (3, 2, 3, 3), {"pads": [1, 0, 1, 2]}),
        ("ConvTranspose", (3, 9), (3, 2, 2), {"strides": [2]}),
        ("ConvTranspose", (3, 9), (3, 2, 3), {"strides": [2], "pads": [1, 1]}),
        ("ConvTranspose", (4, 9), (4, 3, 3), {"group": 2}),
        ("Conv", (4, 9), (3, 4, 3), {"pads": [1, 1], "strides": [2]}),
        ("Conv", (4, 9), (8, 1, 3), {"group": 4}),
        ("Conv", (4, 9), (6, 2, 3), {"group": 2, "dilations": [2]}),
    ],
)
@pytest.mark.parametrize("relu", [False, True], ids=["", "relu"])
def test_convolutions_of_all_kinds(
    tmp_path: Path,
    kind: str,
    shape: tuple[int, ...],
    filters: tuple[int, ...],
    attributes: dict[str, Any],
    *,
    relu: bool,
) -> None:
    """Over one dimension and two, grouped, transposed; TRANSPOSE_CONV has its bias elsewhere."""
    random = np.random.default_rng(0)
    out = filters[1] * attributes.get("group", 1) if kind == "ConvTranspose" else filters[0]
    weight, bias, samples = (
        random.normal(size=size).astype(np.float32) for size in (filters, out, (4, *shape))
    )
    nodes = [helper.make_node(kind, ["x", "w", "b"], ["c"], name="conv", **attributes)]
    nodes += [helper.make_node("Relu" if relu else "Identity", ["c"], ["y"])]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", *[None] * len(shape)])],
        [numpy_helper.from_array(weight, "w"), numpy_helper.from_array(bias, "b")],
    )
    opsets = [helper.make_opsetid("", 17)]
    source = tmp_path / "net.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), source)
    exported = exporter.export(read(source), ExportOptions())
    assert exported.parity.different == ()
    assert (exported.parity.weights, exported.parity.biases) == (weight.size, out)
    (tmp_path / "net.tflite").write_bytes(exported.content)
    with TARGETS.load("ort-cpu-ref").open(source) as session:
        wanted = session.run(samples)
    with TARGETS.load("tflite-ref").open(tmp_path / "net.tflite") as session:
        found = session.run(samples)
    if found.shape != wanted.shape:
        found = np.moveaxis(found, -1, 1)
    # sums of at most 27 products in float32, in another order
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
