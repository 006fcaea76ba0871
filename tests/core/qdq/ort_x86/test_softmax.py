"""A Softmax whose integer kernel overflows in ONNX Runtime is refused by name.

What the kernel can do is right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from tests.support.models.qdq_models import Graph, Grid

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter
from edgeq.targets import ort

if TYPE_CHECKING:
    from pathlib import Path

LEAST = {1: 1 / 148, 2: 1 / 296, 3: 1 / 445, 5: 1 / 741}
"""The smallest step of the result by the number of elements, as found on the runtime."""


def probabilities(count: int, scale: float) -> onnx.ModelProto:
    graph = Graph(np.random.default_rng(0))
    graph.input("x", ["N", 2, count], Grid(0.1, 100))
    graph.op("Softmax", ["x_dequantized"], "y", Grid(scale, 0), axis=-1)
    return graph.proto("y_dequantized")


@pytest.mark.parametrize("count", LEAST)
def test_the_least_scale_is_exact(count: int, tmp_path: Path) -> None:
    proto, path = probabilities(count, LEAST[count] * 1.01), tmp_path / "model.onnx"
    path.write_bytes(exporter.export(ir.from_proto(proto), ExportOptions()).content)
    fed = np.full((1, 2, count), -10, np.float32)
    fed[:, :, 0] = 15.5
    with ort.cpu.open(path) as session, ort.cpu_reference.open(path) as reference:
        np.testing.assert_allclose(session.run(fed), reference.run(fed), atol=1.01 * LEAST[count])


@pytest.mark.parametrize(
    ("count", "scale"),
    [*((count, scale * 0.98) for count, scale in LEAST.items()), (1, 1 / 256), (2, 1 / 512)],
)
def test_a_smaller_one_is_refused(count: int, scale: float, tmp_path: Path) -> None:
    proto, path = probabilities(count, scale), tmp_path / "model.onnx"
    onnx.save(proto, path)
    told = f"Softmax 'y/Softmax' over {count} elements? overflows in ONNX Runtime's integer kernel"
    with pytest.raises(ArtefactError, match=told):
        exporter.export(ir.from_proto(proto), ExportOptions())
    with pytest.raises(ArtefactError, match=told):
        ort.cpu.open(path)
    with pytest.raises(ArtefactError, match=told):
        ort.cpu.plan(path)
    ort.cpu_reference.open(path).close()
