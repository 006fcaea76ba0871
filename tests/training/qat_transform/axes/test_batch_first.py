"""Networks that move the batch's axis about compute the same with the batch in front."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn

from edgeq.errors import UsageError
from edgeq.training.qat_transform.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Callable

TOKENS = torch.randn(5, 8, 12, generator=torch.Generator().manual_seed(0))
IMAGES = torch.randn(5, 4, 8, 8, generator=torch.Generator().manual_seed(0))


class Of(nn.Module):
    table: Tensor

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        self.function = function
        self.wide, self.norm = nn.Linear(12, 36), nn.LayerNorm(12)
        self.register_buffer("table", torch.randn(1, 8, 8))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, x)


def heads(net: Any, x: Tensor) -> Tensor:
    b, n, c = x.shape
    q, k, v = net.wide(x).reshape(b, n, 3, 2, c // 2).permute(2, 0, 3, 1, 4).unbind(0)
    weights = ((q @ k.transpose(-2, -1)) / 3 + net.table).softmax(-1)
    out: Tensor = (weights @ v).transpose(1, 2).reshape(b, n, c)
    return out


def windows(net: Any, x: Tensor) -> Tensor:
    b, n, c = x.shape
    x = x.view(b, n // 4, 4, c).reshape(-1, 4, c)
    x = torch.relu(net.norm(x)) + x.mean(1, keepdim=True)
    x = torch.cat([x[:, 1:], x[:, :1]], dim=1)
    return x.view(b, n, c)


def sequence_first(net: Any, x: Tensor) -> Tensor:
    x = x.transpose(0, 1)
    out: Tensor = torch.stack([net.norm(x[0]), net.norm(x[-1])], 1)
    return out


def all_pixels(net: Any, x: Tensor) -> Tensor:
    out: Tensor = net.norm(x.reshape(-1, 12)).view(x.shape[0], -1, 12)[:, None].amax(-1)
    return out


def shuffled(_: Any, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    x = x.reshape(b * c // 2, 2, h * w).permute(1, 0, 2).reshape(2, -1, c // 2, h, w)
    return torch.cat((x[0], x[1]), 1)


def unfolded(_: Any, x: Tensor) -> Tensor:
    b, c, h, w = x.shape
    y = x.reshape(b * c * h // 2, 2, w // 2, 2).transpose(1, 2)
    y = y.reshape(b, c, h * w // 4, 4).transpose(1, 3).reshape(b * 4, h * w // 4, c)
    return y.softmax(1).view(b, 4, h * w // 4, c).transpose(1, 3)


@pytest.mark.parametrize("function", [heads, windows, sequence_first, all_pixels])
def test_tokens(function: Callable[[Any, Tensor], Tensor]) -> None:
    network = Of(function)
    torch.testing.assert_close(trace(network, TOKENS)(TOKENS), network(TOKENS))


@pytest.mark.parametrize("function", [shuffled, unfolded])
def test_images(function: Callable[[Any, Tensor], Tensor]) -> None:
    network = Of(function)
    torch.testing.assert_close(trace(network, IMAGES)(IMAGES), network(IMAGES))


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _, x: x.transpose(0, 1), "moves the batch's axis, and output computes"),
        (lambda _, x: x.transpose(0, 1).softmax(1).transpose(0, 1), "moves the batch's axis"),
        (lambda _, x: x.transpose(0, 1)[:, :2].transpose(0, 1), "moves the batch's axis"),
        (lambda _, x: x.transpose(0, 1) @ x.transpose(0, 1).mT, "moves the batch's axis"),
        (lambda _, x: x.transpose(0, 2).mean(2), "moves the batch's axis"),
        (lambda _, x: x.reshape(7, -1), "may mix samples"),
    ],
)
def test_what_mixes_samples_is_refused(function: Any, message: str) -> None:
    square = torch.randn(7, 7, 7)
    with pytest.raises(UsageError, match=message):
        trace(Of(function), square)
