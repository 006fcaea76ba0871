"""How tests read a graph built by hand as integer operators."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from tests.support.models.qdq_models import Graph, Grid

    from edgeq.qdq.ir import QdqGraph

SHAPE: list[int | str | None] = ["N", 4, 6, 6]


def conv(graph: Graph, source: str, name: str, grid: Grid, **options: Any) -> str:
    return graph.weighted(
        "Conv", source, name, (4, 4, 3, 3), grid, kernel_shape=[3, 3], pads=[1, 1, 1, 1], **options
    )


def read(graph: Graph, *outputs: str, opset: int = 21) -> QdqGraph:
    return read_qdq(graph.model(*(outputs or (graph.nodes[-1].output[0],)), opset=opset))
