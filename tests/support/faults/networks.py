"""Networks in which faults are planted: small, quantised, at random weights."""

from __future__ import annotations

import os
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from tests.support.checks.exactness import roughen
from tests.support.faults.seeds import seeded
from tests.support.models.qdq_models import Graph, Grid

import edgeq
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.models import zoo
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from edgeq.data import DataSource

SHAPES: dict[str, tuple[int, ...]] = {
    "small": (4, 8, 8),
    "resnet8": (3, 16, 16),
    "stable-resnet8": (3, 16, 16),
    "mobilenetv2": (3, 16, 16),
    "yolo-tiny": (1, 32, 32),
    "gru-denoiser": (1, 6, 12),
    "mobilenetv3-small": (1, 16, 16),
    "mlperf-resnet8": (3, 32, 32),
    "mixed": (3, 16, 16),
}
"""The shape of a sample of each network."""


def small(*, levels: int = 64) -> onnx.ModelProto:
    """Four convolutions, an addition and a classifier."""
    graph = Graph(rng=np.random.default_rng(seeded(0)))
    x = graph.input("x", [1, *SHAPES["small"]], Grid(0.03, 120))
    pads: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "per_channel": True}
    a = graph.weighted("Conv", x, "a", (8, 4, 3, 3), Grid(0.05), relu=True, levels=levels, **pads)
    b = graph.weighted("Conv", a, "b", (8, 8, 3, 3), Grid(0.06, 100), levels=levels, **pads)
    c = graph.op("Add", [a, b], "c", Grid(0.08, 90))
    d = graph.weighted("Conv", c, "d", (8, 8, 3, 3), Grid(0.05), relu=True, levels=levels, **pads)
    p = graph.op("GlobalAveragePool", [d], "p", Grid(0.05))
    graph.node("Flatten", [p], "f")
    f = graph.quantize("f", Grid(0.05))
    graph.weighted("Gemm", f, "y", (5, 8), Grid(0.1, 128), channel_axis=0, levels=levels, transB=1)
    return graph.proto("y_dequantized")


def mixed() -> onnx.ModelProto:
    """Pools, gates, joins, differences, an enlarged image and tokens: what the others lack."""
    graph = Graph(rng=np.random.default_rng(seeded(0)))
    pads: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    layer: dict[str, Any] = {"per_channel": True, **pads}
    x = graph.input("x", [1, *SHAPES["mixed"]], Grid(0.03, 120))
    a = graph.weighted("Conv", x, "a", (8, 3, 3, 3), Grid(0.04, 60), strides=[2, 2], **layer)
    m = graph.op("MaxPool", [a], "m", Grid(0.04, 60), **pads)
    v = graph.op("AveragePool", [a], "v", Grid(0.04, 60), **pads)
    k = graph.op("Concat", [m, v], "k", Grid(0.04, 60), axis=1)
    c = graph.weighted("Conv", k, "c", (8, 16, 1, 1), Grid(0.05, 110), per_channel=True)
    h = graph.op("HardSwish", [c], "h", Grid(0.04, 20))
    s = graph.op("Sigmoid", [c], "s", Grid(1 / 256))
    g = graph.op("Mul", [h, s], "g", Grid(0.03, 10))
    d = graph.op("Sub", [g, a], "d", Grid(0.05, 120))
    small: dict[str, Any] = {"kernel_shape": [2, 2], "strides": [2, 2]}
    q = graph.op("MaxPool", [d], "q", Grid(0.05, 120), **small)
    sizes = graph.scales_of("u_scales", [1, 1, 2, 2])
    linear: dict[str, Any] = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
    u = graph.op("Resize", [q, "", sizes], "u", Grid(0.05, 120), **linear)
    e = graph.op("Add", [d, u], "e_sum", Grid(0.08, 110))
    r = graph.weighted("Conv", e, "r", (16, 8, 3, 3), Grid(0.05), relu=True, **layer)
    b = graph.op("DepthToSpace", [r], "b", Grid(0.05), blocksize=2)
    w = graph.weighted("Conv", b, "w", (8, 4, 3, 3), Grid(0.05, 100), strides=[2, 2], **layer)
    z = graph.op("Reshape", [w, graph.ints("z_sizes", [1, 8, 64])], "z", Grid(0.05, 100))
    t = graph.op("Transpose", [z], "t", Grid(0.05, 100), perm=[0, 2, 1])
    y = graph.weighted("MatMul", t, "y", (8, 8), Grid(0.04, 128), bias=False, channel_axis=1)
    o = graph.op("Softmax", [y], "o", Grid(1 / 256), axis=-1)
    n = graph.op("Transpose", [o], "n", Grid(1 / 256), perm=[0, 2, 1])
    back = graph.op("Reshape", [n, graph.ints("i_sizes", [1, 8, 8, 8])], "i", Grid(1 / 256))
    j = graph.op("Add", [back, w], "j", Grid(0.05), relu=True)
    ceiled: dict[str, Any] = {"kernel_shape": [3, 3], "strides": [2, 2]}
    last = graph.op("AveragePool", [j], "last", Grid(0.05), **ceiled)
    p = graph.op("GlobalAveragePool", [last], "p", Grid(0.03))
    graph.node("Flatten", [p], "f")
    f = graph.quantize("f", Grid(0.03))
    graph.weighted("Gemm", f, "answer", (5, 8), Grid(0.1, 128), channel_axis=0, transB=1)
    return graph.proto("answer_dequantized")


def mlperf() -> onnx.ModelProto:
    """MLPerf Tiny's resnet8, its tensors under canonical names, each grid stored once."""
    folder = os.environ.get("EDGEQ_DATA")
    if not folder:
        pytest.skip("EDGEQ_DATA is not set, so that MLPerf Tiny's resnet8 is missing")
    model = onnx.load(Path(folder) / "models" / "resnet8-qdq.onnx")
    written = {}
    for node in model.graph.node:
        if node.op_type == "QuantizeLinear":
            written[node.output[0]] = node
        elif node.op_type == "DequantizeLinear" and node.input[0] in written:
            quantizer = written[node.input[0]]
            node.input[1:] = quantizer.input[1:]
            node.input[0] = f"{quantizer.input[0]}_quantized"
    for node in written.values():
        node.output[0] = f"{node.input[0]}_quantized"
    return model


@lru_cache
def network(name: str, weight_bits: int = 8, act_bits: int = 8) -> onnx.ModelProto:
    """A network of the zoo as a QDQ file whose pairs of products cannot saturate."""
    if name in ("small", "mixed"):
        return small() if name == "small" else mixed()
    if name.startswith("mlperf"):
        return mlperf()
    torch.manual_seed(seeded(0))
    shape = SHAPES[name]
    classes = 12 if name.startswith("gru") else 10
    made = zoo.build(name, classes=classes, in_channels=shape[0], image_size=(shape[1], shape[2]))
    trained = roughen(quantize(made, Scheme(weight_bits, act_bits), torch.randn(4, *shape)), shape)
    return onnx.load_from_string(serialize(lower(trained, shape)))


@lru_cache
def samples(shape: tuple[int, ...], count: int = 4) -> DataSource:
    """Random samples of a shape, without labels."""
    rng = np.random.default_rng(seeded(5))
    if shape == SHAPES["mlperf-resnet8"]:  # pixels as they are
        return edgeq.load_data({"test": rng.integers(0, 256, (count, *shape)).astype(np.float32)})
    return edgeq.load_data({"test": rng.normal(0, 1, (count, *shape)).astype(np.float32)})
