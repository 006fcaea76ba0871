"""Every target gets images with the right axes, also where sizes do not tell which is which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.qdq_models import S8, Graph

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

SIDE = 4  # as high and as wide as it has channels


def network(*, nhwc: bool) -> Graph:
    """A convolution of a cube, which is NHWC in the file where it is turned first."""
    graph = Graph()
    x = graph.input("x", [1, SIDE, SIDE, SIDE], S8)
    if nhwc:
        graph.scales["turned"] = graph.scales[x]
        x = graph.node("Transpose", [x], "turned", perm=[0, 3, 1, 2])
    pooled = graph.op(
        "GlobalAveragePool",
        [graph.weighted("Conv", x, "a", (6, SIDE, 3, 3), S8, levels=60, kernel_shape=[3, 3])],
        "pool",
        S8,
    )
    graph.node("Flatten", [pooled], "flat")
    return graph


@pytest.mark.parametrize("nhwc", [False, True])
@pytest.mark.parametrize("layout", ["nhwc", "nchw"])
def test_a_cube_is_channels_first_everywhere(tmp_path: Path, layout: Any, *, nhwc: bool) -> None:
    graph = network(nhwc=nhwc)
    onnx.save(graph.proto("flat"), tmp_path / "net.onnx")
    (tmp_path / "net.tflite").write_bytes(
        exporter.export(graph.output(), ExportOptions(io_layout=layout)).content
    )
    images = graph.rng.normal(0, 1, (3, SIDE, SIDE, SIDE)).astype(np.float32)
    plain = onnx.helper.make_model(
        network(nhwc=False).proto("flat").graph,
        opset_imports=[onnx.helper.make_opsetid("", 21)],
        ir_version=10,
    )
    onnx.save(plain, tmp_path / "plain.onnx")
    with TARGETS.load("ort-cpu-ref").open(tmp_path / "plain.onnx") as session:
        expected = session.run(images)
    for target, name in (
        *((target, "net.onnx") for target in ("ort-cpu-ref", "ort-cpu", "emulator")),
        *(
            (target, "net.tflite")
            for target in ("tflite", "tflite-builtin", "tflite-ref", "emulator")
        ),
    ):
        with TARGETS.load(target).open(tmp_path / name) as session:
            assert np.abs(session.run(images) - expected).max() <= 2.01 * S8.scale, (target, name)
