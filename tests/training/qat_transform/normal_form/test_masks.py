"""Constant masks in front of a softmax, in whatever way a network writes them."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.torch.lower import lower
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

FRAMES = torch.randn(3, 5, 8, generator=torch.Generator().manual_seed(0))


class Attention(nn.Module):
    """Causal attention of two heads; ``mask`` is what is done to the scores."""

    mask: Tensor
    added: Tensor

    def __init__(self, masked: Callable[[Attention, Tensor], Tensor]) -> None:
        super().__init__()
        self.inside, self.masked = nn.Linear(8, 24), masked
        self.register_buffer("mask", torch.tril(torch.ones(8, 8)))
        bias = -0.5 * torch.arange(8.0).sub(torch.arange(8.0)[:, None]).abs()
        self.register_buffer("added", bias.masked_fill(self.mask == 0, -math.inf))

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            each.reshape(x.shape[0], x.shape[1], 2, 4).transpose(1, 2)
            for each in self.inside(x).chunk(3, -1)
        )
        weights = self.masked(self, q @ k.transpose(-2, -1) / 2).softmax(-1)
        out: Tensor = (weights @ v).transpose(1, 2).flatten(2)
        return out


def filled(net: Attention, scores: Tensor) -> Tensor:
    size = scores.size(-1)
    return scores.masked_fill(net.mask[:size, :size] == 0, -math.inf)


def chosen(net: Attention, scores: Tensor) -> Tensor:
    size = scores.size(-1)
    return torch.where(net.mask[:size, :size] > 0, scores, torch.finfo(torch.float32).min)


def added(net: Attention, scores: Tensor) -> Tensor:
    size = scores.size(-1)
    return scores + net.added[:size, :size]


class Fused(Attention):
    """The same by torch's own function."""

    def __init__(self, **options: bool) -> None:
        super().__init__(filled)
        self.options = options

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = (
            each.reshape(x.shape[0], x.shape[1], 2, 4).transpose(1, 2)
            for each in self.inside(x).chunk(3, -1)
        )
        size = x.shape[1]
        mask = None if self.options else self.mask[:size, :size].bool()
        made = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, **self.options)
        out: Tensor = made.transpose(1, 2).flatten(2)
        return out


CASES = {
    "masked_fill": Attention(filled),
    "where": Attention(chosen),
    "a sum with distances": Attention(added),
    "is_causal": Fused(is_causal=True),
    "truths": Fused(),
}


@pytest.mark.parametrize("case", CASES)
def test_the_same_is_computed_and_every_grid_is_as_fine_as_without(case: str) -> None:
    network = CASES[case].eval()
    with torch.no_grad():
        torch.testing.assert_close(trace(network, FRAMES)(FRAMES), network(FRAMES))
    model = quantize(network, Scheme(), FRAMES).train()
    model(FRAMES).square().mean().backward()
    model.eval()
    with torch.no_grad():
        off = (model(FRAMES) - network(FRAMES)).abs().max()
    assert off < 0.1
    exported = exporter.export(lower(model, FRAMES.shape[1:]), ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None


def test_what_the_network_computes_is_refused_with_what_would_work() -> None:
    network = Attention(lambda _, scores: scores.masked_fill(scores > 1, -math.inf))
    with pytest.raises(UsageError, match="fills with infinity where") as refused:
        quantize(network, Scheme(), FRAMES)
    assert "a number below all scores" in refused.value.hint
