"""QDQ graphs that cover each decision of ONNX Runtime's optimiser on x86.

With int8 and with uint8 activations.
"""

from __future__ import annotations

import numpy as np
from tests.support.models.qdq_models import Graph, Grid


def grid(
    kind: str, scale: float = 0.05, zero: int = 0, clip: tuple[int, int] | None = None
) -> Grid:
    return Grid(
        scale,
        zero - 128 * (kind == "int8"),
        kind,
        None if clip is None else (clip[0] - 128, clip[1] - 128) if kind == "int8" else clip,
    )


def chain(kind: str) -> Graph:
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], grid(kind, zero=128))
    first = graph.weighted("Conv", x, "first", (8, 4, 3, 3), grid(kind), relu=True, pads=[1] * 4)
    pooled = graph.op(
        "GlobalAveragePool",
        [graph.op("MaxPool", [first], "largest", grid(kind), kernel_shape=[2, 2])],
        "mean",
        grid(kind),
    )
    graph.weighted(
        "Gemm",
        graph.op("Flatten", [pooled], "flat", grid(kind)),
        "last",
        (5, 8),
        grid(kind, zero=128),
        transB=1,
    )
    return graph


def residual(kind: str) -> Graph:
    """Each branch point is read twice."""
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], grid(kind, zero=128))
    stem = graph.weighted("Conv", x, "stem", (4, 4, 1, 1), grid(kind))
    branch = graph.weighted(
        "Conv", stem, "branch", (4, 4, 3, 3), grid(kind, zero=100), pads=[1] * 4
    )
    total = graph.op("Add", [stem, branch], "total", grid(kind, zero=100))
    graph.weighted("Conv", total, "last", (4, 4, 1, 1), grid(kind))
    return graph


def all_read_twice(kind: str) -> Graph:
    """A sum of tensors that all stay as they are is fused in int8 too."""
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], grid(kind, zero=128))
    one, other = (graph.op("Sigmoid", [x], name, grid(kind, 1 / 256)) for name in ("one", "other"))
    sums = [graph.op("Add", [one, other], name, grid(kind, 1 / 128)) for name in ("a", "b")]
    graph.op(
        "Mul",
        [graph.op("Mul", sums, "c", grid(kind)), graph.op("Mul", sums, "d", grid(kind))],
        "e",
        grid(kind),
    )
    return graph


def mixed(kind: str) -> Graph:
    other = "int8" if kind == "uint8" else "uint8"
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], grid(kind, zero=128))
    y = graph.weighted("Conv", x, "y", (4, 4, 1, 1), grid(other))
    z = graph.op(
        "Concat", [y, graph.op("LeakyRelu", [y], "z", grid(kind))], "joined", grid(kind), axis=1
    )
    graph.op("AveragePool", [z], "pooled", grid(other), kernel_shape=[2, 2])
    return graph


def clipped(kind: str) -> Graph:
    """Bounds that a quantiser makes idle, some that it does not, and an integer Clip."""
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], grid(kind, zero=128))
    relu = graph.weighted("Conv", x, "relu", (4, 4, 1, 1), grid(kind), relu=True)
    bare = graph.weighted("Conv", relu, "bare", (4, 4, 1, 1), grid(kind, zero=100), relu=True)
    narrow = graph.weighted("Conv", bare, "narrow", (4, 4, 1, 1), grid(kind, clip=(0, 15)))
    x = graph.weighted("Conv", narrow, "next", (4, 4, 1, 1), grid(kind))
    for name, scale in (("equal", 6 / 255), ("inside", 7 / 255), ("outside", 5 / 255)):
        weights = graph.small(f"{name}.weight", (4, 4, 1, 1), 0.002)
        graph.node("Conv", [x, weights], f"{name}_sum")
        bounds = [graph.number(f"{name}.low", 0.0), graph.number(f"{name}.high", 6.0)]
        x = graph.op("Clip", [f"{name}_sum", *bounds], name, grid(kind, scale))
    return graph


def others(kind: str) -> Graph:
    """Operators without an integer kernel, other weight types, unquantised data movement."""
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], grid(kind, zero=128))
    x = graph.op(
        "Sub",
        [x, graph.stored("offset", np.ones((1, 4, 1, 1), kind), 0.1)],
        "difference",
        grid(kind, zero=128),
    )
    x = graph.op(
        "Add",
        [x, graph.stored("more", np.ones((1, 4, 1, 1), np.uint8), 0.1)],
        "sum",
        grid(kind, zero=128),
    )
    x = graph.op(
        "Add",
        [x, graph.stored("less", np.ones((1, 4, 1, 1), np.int8), 0.1)],
        "sums",
        grid(kind, zero=128),
    )
    x = graph.op(
        "ConvTranspose",
        [x, graph.small("spread.weight", (4, 4, 2, 2), 0.01)],
        "spread",
        grid(kind, zero=128),
        strides=[2, 2],
    )
    weights = graph.stored(
        "bytes.weight", np.arange(64, dtype=np.uint8).reshape(4, 4, 2, 2), 0.01, zero=128
    )
    x = graph.op("Conv", [x, weights], "bytes", grid(kind, zero=128))
    graph.op("ReduceMean", [x, graph.ints("axes", [2, 3])], "mean", grid(kind), keepdims=0)
    return graph


def products(kind: str) -> Graph:
    graph = Graph()
    x = graph.input("x", [1, 6, 6], grid(kind, zero=128))
    once = graph.op("Softmax", [x], "once", grid(kind, 1 / 256), axis=-1)
    graph.scales[once] = 1 / 256
    rows = graph.weighted(
        "MatMul", once, "rows", (6, 6), grid(kind, zero=9), bias=False, channel_axis=1
    )
    turned = graph.op("Transpose", [rows], "turned", grid(kind, zero=9), perm=[0, 2, 1])
    graph.op(
        "MatMul",
        [graph.op("MatMul", [rows, turned], "square", grid(kind, 0.5)), turned],
        "cube",
        grid(kind, 3.0),
    )
    return graph


def ends(kind: str) -> Graph:
    """Two outputs, one of them of a tensor that is read again."""
    graph = chain(kind)
    graph.weighted("Gemm", "flat_dequantized", "second", (3, 8), grid(kind, zero=128), transB=1)
    return graph


def interpolated(kind: str) -> Graph:
    """Between grids that differ interpolation is in float."""
    graph = Graph()
    x = graph.input("x", [1, 4, 6, 6], grid(kind, zero=128))
    x = graph.op(
        "Resize",
        [x, "", graph.scales_of("factors", [1, 1, 2, 2])],
        "larger",
        grid(kind, 0.04, 120),
        mode="linear",
    )
    graph.op("Sigmoid", [x], "y", grid(kind, 1 / 256))
    return graph


MAKERS = (interpolated, chain, residual, all_read_twice, mixed, clipped, others, products, ends)


def outputs_of(graph: Graph) -> list[str]:
    """The last tensor, and that which stands beside it in :func:`ends`."""
    last = graph.nodes[-1].output[0]
    return [last, "last_dequantized"] if last == "second_dequantized" else [last]
