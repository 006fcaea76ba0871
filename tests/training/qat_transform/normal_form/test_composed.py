"""Functions that are several others compute the same as those; what has no such form is named."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(0))


class Of(nn.Module):
    """A function of images and of constants."""

    row: Tensor

    def __init__(self, function: Callable[[Any, Tensor], Tensor]) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(1)
        self.function = function
        self.token = nn.Parameter(torch.randn(1, 1, 6, 6, generator=generator))
        self.register_buffer("row", torch.randn(4, 6, generator=generator))
        self.conv = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(self, self.conv(x))


COMPOSED: dict[str, Callable[[Any, Tensor], Tensor]] = {
    "a list of chunks": lambda _, x: torch.cat([*x.chunk(2, 1)][::-1], 1),
    "uneven chunks": lambda _, x: torch.cat(list(x.chunk(4, -1))[1:], -1),
    "tensor_split": lambda _, x: torch.cat(x.tensor_split(4, 2)[1:], 2),
    "tensor_split at places": lambda _, x: x.tensor_split((1, 3), 2)[1],
    "chunks as they are": lambda _, x: torch.cat(x.chunk(2, 1), 2),
    "unbind": lambda _, x: x.unbind(1)[0] + x.unbind(1)[-1],
    "parts of parts": lambda _, x: x.chunk(4, 1)[::-1][1] + x.unbind(2)[1:3][0][:, :1, None],
    "select": lambda _, x: x.select(1, 2) * x.select(-1, 0)[:, :1],
    "narrow": lambda _, x: x.narrow(2, 1, 3),
    "stack": lambda _, x: torch.stack([x, x.relu()], 2),
    "roll": lambda _, x: torch.roll(x, (2, -1), (2, 3)),
    "repeat": lambda _, x: x.repeat(1, 2, 1, 3),
    "expand for a product": lambda _, x: x * x.mean((2, 3), keepdim=True).expand(-1, -1, 6, 6),
    "expand": lambda _, x: x.amax((1,), keepdim=True).expand(-1, 3, -1, -1),
    "attention": lambda _, x: F.scaled_dot_product_attention(x, x.relu(), x),
    "attention with a mask": lambda net, x: F.scaled_dot_product_attention(
        x, x, x, attn_mask=net.token[0, 0]
    ),
    "einsum": lambda _, x: torch.einsum("bchw,bcdw->bhcd", x, x.relu()),
    "einsum of a sum": lambda _, x: torch.einsum("bihd,bjhd->bhij", x, x),
    "einsum with a constant": lambda net, x: torch.einsum("bchw,cw->bhc", x, net.row),
    "quotient": lambda _, x: x / (x.abs().sum(1, keepdim=True) + 1),
    "power": lambda _, x: x.relu() ** 2 + torch.pow(x, 3),
    "max": lambda _, x: x.max(1)[0] + x.max(dim=2, keepdim=True).values[:, 0],
    "glu": lambda _, x: F.glu(x, 1),
    "pixel_unshuffle": lambda _, x: F.pixel_unshuffle(x, 2),
    "channel_shuffle": lambda _, x: F.channel_shuffle(x, 2),
    "movedim": lambda _, x: torch.movedim(x, 1, -1),
    "movedim of two": lambda _, x: x.movedim((1, 3), (2, 1)),
    "mT": lambda _, x: x @ x.mT,
    "a token in front": lambda net, x: torch.cat(
        (net.token.expand(x.shape[0], -1, -1, -1), x), dim=1
    ),
    "constants around": lambda net, x: torch.cat(
        (net.row.repeat(x.shape[0], 1, 1), x[:, 0], x[:, 1], net.row[None].expand(len(x), -1, -1)),
        1,
    ),
    "padding with a number": lambda _, x: F.pad(x, (1, 0, 2, 0), value=0.5),
    "zeros of the batch's size": lambda _, x: x + torch.zeros(x.size(0), 4, 6, 6),
    "means of any axes": lambda _, x: x.mean(1) + x.mean((-1, 1), keepdim=True)[:, 0],
}


@pytest.mark.parametrize("name", COMPOSED)
def test_it_computes_the_same(name: str) -> None:
    network = Of(COMPOSED[name])
    torch.testing.assert_close(trace(network, IMAGES)(IMAGES), network(IMAGES))
    model = quantize(network, Scheme(), IMAGES).train()
    model(IMAGES).square().mean().backward()
    if "token" in name:
        assert model.token.grad is not None


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda _, x: torch.roll(x, 1), "rolls over all axes"),
        (lambda _, x: F.scaled_dot_product_attention(x, x, x, enable_gqa=True), "enable_gqa"),
        (lambda _, x: torch.einsum("bchw->bhwc", x), "einsum of 'bchw->bhwc'"),
        (lambda _, x: torch.einsum("bchw,bchv->bh", x, x), "einsum"),
        (lambda _, x: x.max(1)[1], "where a maximum is"),
        (lambda net, x: torch.cat((x, net.token.expand(len(x), -1, -1, -1), x), 1), "between two"),
        (lambda _, x: x.mean(0, keepdim=True), "reduces the batch"),
        (lambda _, x: x.sum(), "or all of it"),
        (lambda _, x: torch.pow(2, x), "power that the network computes"),
    ],
)
def test_what_has_no_form_is_named(function: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trace(Of(function), IMAGES)


def test_sizes_are_asked_for() -> None:
    with pytest.raises(UsageError, match="give an example"):
        trace(Of(lambda _, x: torch.stack([x, x], 1)))
