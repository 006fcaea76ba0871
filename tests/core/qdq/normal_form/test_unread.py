"""What nothing reads stays where sizes are followed: runtimes compute it, and tools show it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
from tests.support.models.qdq_models import Graph, Grid

from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from edgeq.qdq.ir import QdqGraph


def names(graph: QdqGraph) -> set[str]:
    return {op.output.name for op in graph.ops}


def test_a_branch_that_nothing_reads_stays() -> None:
    grid = Grid(scale=0.5, zero=0, dtype="uint8", clip=None)
    graph = Graph(np.random.default_rng(0))
    graph.input("image", ["N", 4, 6, 6], grid)
    graph.ints("axes", [1])
    graph.op("ReduceSum", ["image_dequantized", "axes"], "aside", grid)
    graph.op("Relu", ["image_dequantized"], "end", grid)
    model = ir.from_proto(graph.proto("end", opset=21))
    assert {"aside", "end"} <= names(read_qdq(model))
