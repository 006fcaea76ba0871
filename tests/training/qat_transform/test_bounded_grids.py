"""Attention that is about the same everywhere keeps a grid that integer kernels can write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from edgeq.exporters.torch.lower import lower
from edgeq.qdq.ort_x86.softmax import check_softmax, smallest_scale
from edgeq.training.qat_transform import quantize
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
