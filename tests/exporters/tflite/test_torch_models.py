"""Torch networks of each trade, exported by torch, quantised by ONNX Runtime, written as TFLite.

Every operator within 1 LSB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
from tests.support.models.qdq_models import KERNELS, lsb_of, onnx_integers, operators
from tests.support.runtimes.calibration import Feeds
from torch import nn
from torch.nn import functional

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.qdq.ir import QdqTensor
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from pathlib import Path

# torch and onnxruntime speak of their own plans and preprocessing
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
]


class Mobile(nn.Module):
    """Inverted residual with squeeze and excitation as in MobileNetV3, and two decoders."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8), nn.Hardswish())
        self.depth = nn.Sequential(
            nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.BatchNorm2d(8), nn.ReLU6()
        )
        self.squeeze = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(8, 4, 1),
            nn.ReLU(),
            nn.Conv2d(4, 8, 1),
            nn.Hardsigmoid(),
        )
        self.up = nn.ConvTranspose2d(8, 8, 2, 2)
        self.head = nn.Sequential(
            nn.Conv2d(16, 8, 1), nn.LeakyReLU(0.1), nn.Conv2d(8, 5, 1), nn.SiLU()
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        a = self.stem(x)
        a = a + self.depth(a) * self.squeeze(a)
        up = functional.interpolate(a, scale_factor=2.0, mode="nearest")
        both = torch.cat([up, self.up(a)], dim=1)
        result: torch.Tensor = self.head(functional.max_pool2d(both, 2)).amax(dim=(2, 3))
        return result


class Attention(nn.Module):
    """One block of a transformer without its normalisation, which is no matter of integers."""

    def __init__(self) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12)
        self.wide, self.narrow = nn.Linear(12, 24), nn.Linear(24, 12)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        x = x + torch.softmax(q @ k.transpose(1, 2) * 0.3, dim=-1) @ v
        result: torch.Tensor = x + self.narrow(functional.gelu(self.wide(x)))
        return result


class Audio(nn.Module):
    """Convolutions over time, one of them causal and gated."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Conv1d(4, 8, 3, padding=1), nn.Conv1d(8, 16, 3, dilation=2)
        self.last = nn.Conv1d(8, 3, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = functional.elu(self.first(x))
        a, b = self.second(functional.pad(x, (4, 0))).chunk(2, dim=1)
        result: torch.Tensor = self.last(torch.tanh(a) * torch.sigmoid(b)).sum(dim=2)
        return result


class Message(nn.Module):
    """A message along each edge, added up at the nodes."""

    def __init__(self) -> None:
        super().__init__()
        self.lift, self.out = nn.Linear(5, 8), nn.Linear(8, 3)
        self.register_buffer("sender", torch.tensor([0, 1, 2, 3, 3, 2]))
        self.register_buffer("receiver", torch.tensor([1, 2, 3, 0, 1, 0]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        h = torch.relu(self.lift(x))
        sender, receiver = self.get_buffer("sender"), self.get_buffer("receiver")
        messages = h[sender] - h[receiver]
        index = receiver[:, None].expand(6, 8)
        h = h + torch.zeros(4, 8).scatter_add(0, index, messages)
        result: torch.Tensor = self.out(h)
        return result


class Shapes(nn.Module):
    """Convolutions with all their parameters, and whatever only moves numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.pad = nn.ZeroPad2d((1, 0, 2, 1))
        self.grouped = nn.Conv2d(4, 8, 3, stride=(1, 2), padding=(0, 1), groups=2)
        self.dilated = nn.Conv2d(8, 8, 3, padding=2, dilation=2)
        self.slopes, self.spread = nn.PReLU(8), nn.ConvTranspose2d(8, 6, 3, stride=1, padding=1)
        self.rest = nn.Sequential(
            nn.Identity(), nn.Dropout(0.5), nn.Flatten(), nn.Linear(6 * 4 * 5, 10)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.grouped(self.pad(x)))
        x = torch.clamp(self.dilated(x), -0.5, 0.75)
        x = self.spread(self.slopes(x))
        x = functional.interpolate(x, scale_factor=2.0, mode="bilinear", align_corners=False)
        x = functional.avg_pool2d(x[:, :, :16], 2)
        x = x.permute(0, 1, 3, 2).reshape(1, 6, 8, 5)[:, :, ::2]
        result: torch.Tensor = functional.log_softmax(self.rest(x.unsqueeze(1).squeeze(1)), dim=-1)
        return result


class Labels(nn.Module):
    """A segmentation by batched products: means, the largest, and the labels of positions."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Conv2d(3, 6, 3, padding=1)
        self.register_buffer("order", torch.tensor([3, 0, 2, 5]))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = torch.tanh(self.embed(x))
        away = x - x.mean(dim=(2, 3), keepdim=True)
        picked = away[:, self.get_buffer("order")].flatten(2)
        scores = (
            picked.transpose(1, 2) @ away.flatten(2)[:, :4, :5]
            - away.flatten(2).amax(dim=2, keepdim=True)[:, :1]
        )
        result: torch.Tensor = (
            (scores + picked.sum(dim=1).unsqueeze(2)).argmax(dim=2).to(torch.int32)
        )
        return result


NETWORKS: dict[str, tuple[type[nn.Module], tuple[int, ...]]] = {
    "mobile": (Mobile, (1, 3, 16, 16)),
    "attention": (Attention, (1, 6, 12)),
    "audio": (Audio, (1, 4, 20)),
    "message": (Message, (4, 5)),
    "shapes": (Shapes, (1, 4, 8, 8)),
    "labels": (Labels, (1, 3, 6, 6)),
}
IN_FLOAT = {"Constant", "LogSoftmax", "ArgMax", "Cast"}
"""What stands behind the last quantiser."""
EXPECTED = {
    "mobile": {
        "DEPTHWISE_CONV_2D",
        "RESIZE_NEAREST_NEIGHBOR",
        "TRANSPOSE_CONV",
        "HARD_SWISH",
        "LEAKY_RELU",
        "REDUCE_MAX",
        "CONCATENATION",
    },
    "attention": {"BATCH_MATMUL", "SOFTMAX", "FULLY_CONNECTED"},
    "audio": {"CONV_2D", "TANH", "LOGISTIC", "MUL", "SLICE"},
    "shapes": {
        "PAD",
        "CONV_2D",
        "PRELU",
        "RESIZE_BILINEAR",
        "AVERAGE_POOL_2D",
        "STRIDED_SLICE",
        "FULLY_CONNECTED",
        "LOG_SOFTMAX",
    },
    "labels": {"TANH", "SUB", "MEAN", "REDUCE_MAX", "GATHER", "BATCH_MATMUL", "ADD", "ARG_MAX"},
    "message": {"GATHER", "BATCH_MATMUL", "SUB", "FULLY_CONNECTED"},
}


def _batches(name: str, shape: tuple[int, ...]) -> Feeds:
    rng = np.random.default_rng(1)
    return Feeds({name: rng.normal(0, 1, shape).astype(np.float32)} for _ in range(8))


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[str, onnx.ModelProto]:
    """Each network, quantised."""
    return {
        name: quantized(tmp_path_factory.mktemp(name), build, shape)
        for name, (build, shape) in NETWORKS.items()
    }


def quantized(folder: Path, build: type[nn.Module], shape: tuple[int, ...]) -> onnx.ModelProto:
    torch.manual_seed(0)
    plain, path = folder / "float.onnx", folder / "qdq.onnx"
    program = torch.onnx.export(
        build().eval(), (torch.zeros(shape),), dynamo=True, verbose=False, opset_version=20
    )
    assert program is not None
    program.save(plain)
    name = onnx.load(plain).graph.input[0].name
    options = {"ActivationSymmetric": False, "WeightSymmetric": True}
    types = (QuantType.QUInt8, QuantType.QInt8)
    supported = [*{node.op_type for node in onnx.load(plain).graph.node} - IN_FLOAT]
    quantize_static(
        plain,
        path,
        _batches(name, shape),
        quant_format=QuantFormat.QDQ,
        op_types_to_quantize=supported,
        activation_type=types[0],
        weight_type=types[1],
        extra_options=options,
    )
    return onnx.load(path)


@pytest.mark.parametrize("name", NETWORKS)
def test_every_number_arrives(networks: dict[str, onnx.ModelProto], name: str) -> None:
    exported = exporter.export(ir.from_proto(networks[name]), ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
    assert set(operators(exported.content)) >= EXPECTED[name]


@pytest.mark.parametrize("kernels", KERNELS)
@pytest.mark.parametrize("name", NETWORKS)
def test_every_operator_is_within_a_step(
    networks: dict[str, onnx.ModelProto], name: str, kernels: str
) -> None:
    proto = networks[name]
    view = read_qdq(ir.from_proto(proto))
    image = np.random.default_rng(5).normal(0, 1, NETWORKS[name][1]).astype(np.float32)
    where = {tensor: value for value, tensor in reversed(list(view.integers.items()))}
    known = onnx_integers(proto, {proto.graph.input[0].name: image}, [*where.values()])
    integers = {tensor: known[value] for tensor, value in where.items()}
    compared = 0
    for op in view.ops:
        if all(o.name in integers for o in (*op.inputs, op.output) if isinstance(o, QdqTensor)):
            assert np.abs(lsb_of(op, integers, kernels)).max() <= 1, op.name
            compared += 1
    # the others move numbers that the ONNX file does not hold as integers
    assert compared >= 0.7 * len(view.ops)
