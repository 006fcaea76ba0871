"""Random integer graphs, and kernels that compute them as badly as they may."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.qdq.ir import QdqConstant, QdqGraph, QdqOp, QdqOutput, QdqTensor
from edgeq.quant import QuantParams

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

    from edgeq.deploy.bounds.drift.propagate import Propagation
    from edgeq.qdq.ir import Activation

IMAGE = (1, 2, 6, 6)
CLASSES = 3


class Network:
    """Operators one after the other, of random weights and grids.

    Args:
        seed: of everything random.
    """

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng(seed)
        self.ops: list[QdqOp] = []
        self.input = QdqTensor("x", IMAGE, _grid(0.05, signed=True), -128, 127, "x")

    def tensor(self, shape: tuple[int, ...], scale: float, *, signed: bool) -> QdqTensor:
        """A tensor on a grid of its own."""
        grid = _grid(scale, signed=signed)
        return QdqTensor(f"t{len(self.ops)}", shape, grid, grid.qmin, grid.qmax)

    def conv(
        self, x: QdqTensor, channels: int, *, relu: bool, weight: np.ndarray | None = None
    ) -> QdqTensor:
        """A 3x3 convolution with a bias, behind a ReLU or not."""
        if weight is None:
            weight = self.random.integers(-127, 128, (channels, x.shape[1], 3, 3))
        scale = np.float32(self.random.uniform(0.001, 0.004))
        stored = QdqConstant("w", weight.astype(np.int8), QuantParams.of(float(scale)))
        step = float(np.float32(x.scale) * scale)
        bias = self.random.integers(-200, 200, len(weight)).astype(np.int32)
        out = self.tensor(
            (1, len(weight), *x.shape[2:]), float(self.random.uniform(0.01, 0.2)), signed=not relu
        )
        constants = (stored, QdqConstant("b", bias, QuantParams.of(step, 0, "int32")))
        attributes = {"pads": (1, 1, 1, 1), "kernel_shape": (3, 3)}
        kind: Activation = "relu" if relu else ""
        self.ops.append(QdqOp("Conv", out.name, (x, *constants), out, attributes, kind))
        return out

    def step(self, x: QdqTensor, most: int = 127) -> QdqTensor:
        """``x - K^T ReLU(K x)``, with the integers of K in both places."""
        channels = x.shape[1]
        weight = self.random.integers(-most, most + 1, (channels, channels, 3, 3))
        inner = self.conv(x, channels, relu=True, weight=weight)
        turned = -weight.swapaxes(0, 1)[:, :, ::-1, ::-1]
        return self.add(x, self.conv(inner, channels, relu=False, weight=turned.copy()))

    def add(self, a: QdqTensor, b: QdqTensor) -> QdqTensor:
        """Their sum."""
        out = self.tensor(a.shape, float(self.random.uniform(0.02, 0.1)), signed=True)
        self.ops.append(QdqOp("Add", out.name, (a, b), out))
        return out

    def pool(self, x: QdqTensor, kind: str) -> QdqTensor:
        """2x2 windows, on the same grid."""
        shape = (*x.shape[:2], x.shape[2] // 2, x.shape[3] // 2)
        out = QdqTensor(f"t{len(self.ops)}", shape, x.params, x.low, x.high)
        attributes = {"kernel_shape": (2, 2), "strides": (2, 2)}
        self.ops.append(QdqOp(kind, out.name, (x,), out, attributes))
        return out

    def head(self, x: QdqTensor) -> QdqGraph:
        """Mean over the image, and a fully connected layer."""
        mean = QdqTensor(f"t{len(self.ops)}", (*x.shape[:2], 1, 1), x.params, x.low, x.high)
        self.ops.append(QdqOp("GlobalAveragePool", mean.name, (x,), mean))
        flat = QdqTensor(f"t{len(self.ops)}", x.shape[:2], x.params, x.low, x.high)
        self.ops.append(QdqOp("Flatten", flat.name, (mean,), flat))
        weight = self.random.integers(-127, 128, (CLASSES, x.shape[1])).astype(np.int8)
        out = self.tensor((1, CLASSES), 0.02, signed=True)
        stored = QdqConstant("w", weight, QuantParams.of(0.01))
        self.ops.append(QdqOp("Gemm", out.name, (flat, stored), out, {"transB": 1}))
        return QdqGraph(
            tuple(self.ops), (self.input,), (QdqOutput("y", out),), dynamic_batch=True, metadata={}
        )


def _grid(scale: float, *, signed: bool) -> QuantParams:
    return QuantParams.of(scale, 0, "int8" if signed else "uint8")


def random_graph(seed: int) -> QdqGraph:
    """Two to five layers, steps and pools in random order."""
    net = Network(seed)
    x = net.conv(net.input, int(net.random.integers(2, 4)), relu=True)
    for _ in range(net.random.integers(1, 4)):
        match net.random.integers(5):
            case 0:
                x = net.conv(x, int(net.random.integers(2, 4)), relu=True)
            case 1 if x.shape[2] > 1:
                x = net.pool(x, "MaxPool")
            case 2 if x.shape[2] > 1:
                x = net.pool(x, "AveragePool")
            case 3:
                x = net.add(x, net.conv(x, x.shape[1], relu=False))
            case _:
                x = net.step(x)
    return net.head(x)


def deployed(propagation: Propagation, images: Tensor, seed: int, off: int) -> Mapping[str, Tensor]:
    """Every tensor, by kernels that miss the nearest integer by ``off``, always or up to it."""
    random = np.random.default_rng(seed)
    graph = propagation.graph
    (source,) = graph.inputs
    found = {source.name: _stored(source, images, torch.zeros(()))}
    for op in graph.operators:
        name = op.output.name
        exact = op.effect.values([found[each.name] for each in op.operands])
        if op.op_type in ("MaxPool", "Flatten"):
            found[name] = exact
            continue
        if random.integers(2):
            miss = torch.full(exact.shape, float(random.choice([-off, off])))
        else:
            miss = torch.from_numpy(
                random.integers(-off, off + 1, tuple(exact.shape)).astype(float)
            )
        found[name] = _stored(op.output, exact, miss)
    return found


def _stored(tensor: QdqTensor, x: Tensor, miss: Tensor) -> Tensor:
    step, zero = float(tensor.scale), tensor.zero_point
    return ((x / step).round() + miss).clamp(tensor.low - zero, tensor.high - zero) * step
