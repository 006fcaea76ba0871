"""Grids that a few numbers would spoil: of softmax, and of reciprocals."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeq.calibration.quantize import quantize_onnx
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.exporters.torch.lower import lower
from edgeq.qdq.ort_x86.softmax import check_softmax, smallest_scale
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from torch import fx

TOKENS, CHANNELS = 17, 8


class Attention(nn.Module):
    """Scores of almost 0: each token looks at all others alike."""

    def __init__(self) -> None:
        super().__init__()
        self.queries, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        q = self.queries(x)
        shares: Tensor = torch.softmax(1e-3 * (q @ q.transpose(1, 2)), -1) @ q
        answer: Tensor = self.last(shares)
        return answer


def test_its_step_is_one_that_the_kernels_can_write() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, TOKENS, CHANNELS)
    model: fx.GraphModule = quantize(Attention(), Scheme(), x)
    model.train()(x)
    quantizer: Any = model.get_submodule("quantizers.softmax")
    grid = quantizer.quant_params()
    assert (
        float(grid.scale) > 1.2 / TOKENS / 255
    )  # more than what its largest value alone would ask for
    assert float(grid.scale) >= smallest_scale(TOKENS) * (1 - 1e-6)
    check_softmax(lower(model.eval(), (TOKENS, CHANNELS)))


class Quotient(nn.Module):
    """A sum over another one that may be nothing, as in EfficientViT's attention."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(CHANNELS, CHANNELS), nn.Linear(CHANNELS, CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        q = torch.relu(self.first(x))
        answer: Tensor = self.last(q * q / (q.sum(-1, keepdim=True) + 1e-6))
        return answer


def test_a_reciprocal_ends_where_its_divisor_is_one_step() -> None:
    torch.manual_seed(0)
    x = torch.randn(4, TOKENS, CHANNELS)
    network = Quotient()
    with torch.no_grad():
        network.first.bias.fill_(-0.5)  # so that some tokens have nothing
        model = quantize(network, Scheme(), x)
        model.train()(x)
        model.eval()
        grids: Any = model.quantizers
        assert float(grids["reciprocal"].alpha) > 1e5
        most = float(grids["reciprocal"].scale * grids["reciprocal"].qmax)
        torch.testing.assert_close(most, 1 / float(grids["sum_1"].scale))
        off, answer = model(x) - network(x), network(x)
    assert float(off.square().mean()) < 0.01 * float(answer.square().mean())
    lowered = lower(model, (TOKENS, CHANNELS))
    exported = tflite.export(lowered, ExportOptions())
    assert exported.parity.different == ()
    floats = lower(trace(network, x), (TOKENS, CHANNELS))
    exported = tflite.export(quantize_onnx(floats, [x.numpy()]), ExportOptions())
    assert exported.parity.different == ()
