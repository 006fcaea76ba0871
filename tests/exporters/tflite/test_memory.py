"""What a conversion takes in memory beside the file, for a model whose weights are most of it."""

from __future__ import annotations

import tracemalloc
from typing import TYPE_CHECKING

import numpy as np
from tests.support.models.qdq_models import S8, U8, Graph

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.files import write_bytes
from edgeq.qdq.qoperator.convert import read_as_qdq

if TYPE_CHECKING:
    from pathlib import Path

CHANNELS = 256


def large() -> Graph:
    """Six convolutions, some 3.5 MB of weights."""
    graph = Graph()
    source = graph.input("x", ["N", CHANNELS, 4, 4], S8)
    for i in range(6):
        shape = (CHANNELS, CHANNELS, 3, 3)
        source = graph.weighted(
            "Conv",
            source,
            f"c{i}",
            shape,
            U8,
            relu=True,
            per_channel=True,
            kernel_shape=[3, 3],
            pads=[1] * 4,
        )
    return graph


def test_a_conversion_takes_less_than_four_times_the_model(tmp_path: Path) -> None:
    path = tmp_path / "large.onnx"
    graph = large()
    write_bytes(path, graph.proto(graph.nodes[-1].output[0]).SerializeToString())
    del graph
    # what is imported and kept the first time is no part of it
    exporter.export(read_as_qdq(path), ExportOptions())
    tracemalloc.start()
    try:
        exported = exporter.export(read_as_qdq(path), ExportOptions())
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert exported.parity.different == ()
    # the parsed file, which this does not see, is gone before the peak
    assert peak < 3.5 * path.stat().st_size


def test_a_file_larger_than_was_reckoned_is_whole() -> None:
    graph = Graph()
    name = "x" * 40_000  # names are not reckoned with
    graph.op("Relu", [graph.input(name, ["N", 4], S8)], f"y{name}", U8)
    content = exporter.export(graph.output(), ExportOptions()).content
    assert content[4:8] == b"TFL3"
    assert np.frombuffer(content, np.uint8).size > 80_000
    assert exporter.export(graph.output(), ExportOptions()).parity.different == ()
