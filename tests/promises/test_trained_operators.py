"""What ``edgeq calibrate`` and ``edgeq export`` take, ``edgeq.quantize`` takes as torch writes it.

Each operator of the table that ``edgeq operators`` prints, and each that calibration rewrites, has
a line of torch here. It is quantised for training, and written as TFLite in integers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.calibration.operators import REWRITTEN
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.operators import operators
from edgeq.exporters.torch.lower import lower
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = torch.randn(3, 3, 8, 8, generator=torch.Generator().manual_seed(0))
FRAMES = {"batch_first": True}


def frames(x: Tensor) -> Tensor:
    return x.flatten(2).transpose(1, 2)


TORCH: dict[str, Callable[[Any, Tensor], Any]] = {
    "Abs": lambda net, x: x.abs(),
    "Add": lambda net, x: x + x.relu(),
    "And": lambda net, x: torch.where((x > 0) & (x < 1), x, 0.5 * x),
    "AveragePool": lambda net, x: F.avg_pool2d(x, 2),
    "BatchNormalization": lambda net, x: net.norm(x.relu()),
    "Cast": lambda net, x: x.float() + x,
    "Ceil": lambda net, x: x.ceil(),
    "Celu": lambda net, x: F.celu(x),
    "Clip": lambda net, x: x.clamp(-0.4, 0.6),
    "Concat": lambda net, x: torch.cat([x.relu(), x], 1),
    "Conv": lambda net, x: net.conv(x),
    "ConvTranspose": lambda net, x: net.up(x),
    "Cos": lambda net, x: x.cos(),
    "DepthToSpace": lambda net, x: F.pixel_shuffle(torch.cat([x, x], 1), 2),
    "Div": lambda net, x: x / x.exp(),
    "Dropout": lambda net, x: net.drop(x) + x,
    "Elu": lambda net, x: F.elu(x),
    "Equal": lambda net, x: torch.where(x.round() == 1, 0.5 * x, x),
    "Erf": lambda net, x: x.erf(),
    "Exp": lambda net, x: x.exp(),
    "Expand": lambda net, x: x.mean((2, 3), keepdim=True).expand(-1, -1, 3, 3),
    "Flatten": lambda net, x: net.dense(x.flatten(1)),
    "Floor": lambda net, x: x.floor(),
    "GRU": lambda net, x: net.gru(frames(x[:, :, :2, :2]))[0],
    "Gather": lambda net, x: x[:, [3, 1, 0]],
    "GatherND": lambda net, x: x[:, torch.tensor([2, 0])],
    "Gelu": lambda net, x: F.gelu(x),
    "Gemm": lambda net, x: net.dense(x.reshape(x.shape[0], -1)),
    "GlobalAveragePool": lambda net, x: F.adaptive_avg_pool2d(x, 1),
    "GlobalMaxPool": lambda net, x: F.adaptive_max_pool2d(x, 1),
    "Greater": lambda net, x: x * (x > 0.1).float(),
    "GreaterOrEqual": lambda net, x: x * (x >= 0.1),
    "GroupNormalization": lambda net, x: net.groups(x),
    "HardSigmoid": lambda net, x: F.hardsigmoid(x),
    "HardSwish": lambda net, x: F.hardswish(x),
    "Identity": lambda net, x: net.same(x) + x,
    "InstanceNormalization": lambda net, x: F.instance_norm(x),
    "LSTM": lambda net, x: net.lstm(frames(x[:, :, :2, :2]))[0],
    "LayerNormalization": lambda net, x: F.layer_norm(frames(x), (4,)),
    "LeakyRelu": lambda net, x: F.leaky_relu(x),
    "Less": lambda net, x: torch.where(x < 0, -x, x),
    "LessOrEqual": lambda net, x: x.masked_fill(x <= -0.5, -0.5),
    "Log": lambda net, x: (x.abs() + 1).log(),
    "LogSoftmax": lambda net, x: x.log_softmax(1),
    "MatMul": lambda net, x: x @ x.transpose(2, 3),
    "Max": lambda net, x: x.clamp(min=0.1),
    "MaxPool": lambda net, x: F.max_pool2d(x, 2),
    "Min": lambda net, x: x.clamp(max=0.1),
    "Mish": lambda net, x: F.mish(x),
    "Mul": lambda net, x: x * x.sigmoid() * x,
    "Neg": lambda net, x: -x,
    "Not": lambda net, x: torch.where(torch.logical_not(x > 0), x, 0.5 * x),
    "Or": lambda net, x: torch.where((x > 1) | (x < -1), 0.5 * x, x),
    "PRelu": lambda net, x: net.slopes(x),
    "Pad": lambda net, x: F.pad(x, (1, 0, 2, 0)),
    "Pow": lambda net, x: x**2,
    "RNN": lambda net, x: net.rnn(frames(x[:, :, :2, :2]))[0],
    "Reciprocal": lambda net, x: (x.abs() + 1).reciprocal(),
    "ReduceL1": lambda net, x: x.norm(p=1, dim=1),
    "ReduceL2": lambda net, x: torch.linalg.vector_norm(x, dim=1, keepdim=True),
    "ReduceMax": lambda net, x: x.amax(1),
    "ReduceMean": lambda net, x: x.mean(1),
    "ReduceMin": lambda net, x: x.min(1)[0] + x.amin(1),
    "ReduceSum": lambda net, x: x.sum(1),
    "ReduceSumSquare": lambda net, x: x.square().sum(1),
    "Relu": lambda net, x: x.relu(),
    "Reshape": lambda net, x: x.reshape(x.shape[0], 2, -1),
    "Resize": lambda net, x: F.interpolate(x, scale_factor=2, mode="bilinear"),
    "Round": lambda net, x: x.round(),
    "Selu": lambda net, x: F.selu(x),
    "Sigmoid": lambda net, x: x.sigmoid(),
    "Sign": lambda net, x: x.sign(),
    "Sin": lambda net, x: x.sin(),
    "Slice": lambda net, x: x[:, :, 1:5, 2:],
    "Softmax": lambda net, x: x.softmax(1),
    "Softplus": lambda net, x: F.softplus(x),
    "Softsign": lambda net, x: F.softsign(x),
    "SpaceToDepth": lambda net, x: F.pixel_unshuffle(x, 2),
    "Split": lambda net, x: torch.add(*x.chunk(2, 1)),
    "Sqrt": lambda net, x: x.abs().sqrt(),
    "Squeeze": lambda net, x: x.mean((2, 3), keepdim=True).squeeze(-1),
    "Sub": lambda net, x: x.relu() - x,
    "Sum": lambda net, x: x.relu() + x + x,
    "Swish": lambda net, x: F.silu(x),
    "Tanh": lambda net, x: x.tanh(),
    "ThresholdedRelu": lambda net, x: F.threshold(x, 0.2, 0.0),
    "Tile": lambda net, x: x.repeat(1, 1, 2, 1),
    "Transpose": lambda net, x: x.transpose(2, 3),
    "Unsqueeze": lambda net, x: x.unsqueeze(1),
    "Upsample": lambda net, x: F.interpolate(x, scale_factor=2),
    "Where": lambda net, x: torch.where(x > 0, x, torch.zeros_like(x)),
}
ELSEWHERE = {
    # written out before they are calibrated; training has the parts
    *("Attention", "CastLike", "CenterCropPad", "ReduceLogSum", "ReduceLogSumExp"),
    *("MeanVarianceNormalization", "RMSNormalization", "Shrink"),
    "ArgMax",  # whoever reads the answers of training takes it
    "ScatterElements",  # of graph networks; tests/contract/test_graph_networks.py
    "ScatterND",  # torch writes into a part of a tensor, which training refuses by name
}
_EACH = 12  # operators of a network
GROUPS = [list(TORCH)[start : start + _EACH] for start in range(0, len(TORCH), _EACH)]


class Several(nn.Module):
    """One convolution, and an output of each of some operators that read it."""

    def __init__(self, names: list[str]) -> None:
        super().__init__()
        self.names = names
        self.first, self.conv = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 2, 1)
        self.up, self.dense = nn.ConvTranspose2d(4, 4, 2, 2), nn.Linear(256, 4)
        self.norm, self.groups = nn.BatchNorm2d(4), nn.GroupNorm(2, 4)
        self.gru, self.lstm, self.rnn = (kind(4, 3, **FRAMES) for kind in (nn.GRU, nn.LSTM, nn.RNN))
        self.slopes, self.drop, self.same = nn.PReLU(4), nn.Dropout(0.5), nn.Identity()

    def forward(self, x: Tensor) -> dict[str, Any]:
        c = self.first(x)
        return {name: TORCH[name](self, c) for name in self.names}


def test_every_operator_has_a_line_of_torch() -> None:
    written = {row.onnx for row in operators()}
    assert (written | set(REWRITTEN)) - ELSEWHERE == set(TORCH)


@pytest.mark.parametrize("names", GROUPS, ids=lambda names: names[0])
def test_what_is_calibrated_is_trained_and_exported(names: list[str]) -> None:
    torch.manual_seed(0)
    network = Several(names).eval()
    model = quantize(network, Scheme(), IMAGES).train()
    model(IMAGES)
    model.eval()
    with torch.no_grad():
        wanted, found = network(IMAGES), model(IMAGES)
    for name in names:
        signal, noise = wanted[name].square().sum(), (wanted[name] - found[name]).square().sum()
        assert noise < 0.1 * signal + 1e-3, name
    exported = exporter.export(lower(model, IMAGES.shape[1:]), ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
