"""Modules of torch that a trace goes through compute the same, and their parameters are trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from edgeq.errors import UsageError
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

FRAMES = torch.randn(5, 4, 6, generator=torch.Generator().manual_seed(0))
CAUSAL = nn.Transformer.generate_square_subsequent_mask(4)
IMAGES = torch.randn(5, 4, 6, 6, generator=torch.Generator().manual_seed(0))


class First(nn.Module):
    """The first result of a module that gives several."""

    def __init__(self, inner: nn.Module, *, twice: bool = False, **options: Any) -> None:
        super().__init__()
        self.inner, self.twice, self.options = inner, twice, options

    def forward(self, x: Tensor) -> Tensor:
        given = (x, x, x) if isinstance(self.inner, nn.MultiheadAttention) else (x,)
        out: Tensor = self.inner(*given, **self.options)[0]
        return out


class Whole(First):
    """All that a module gives, called with options."""

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x, **self.options)
        return out


class Decoded(nn.Module):
    """A causal decoder of what it reads, beside itself."""

    def __init__(self) -> None:
        super().__init__()
        layer = nn.TransformerDecoderLayer(6, 2, 8, batch_first=True)
        self.inner = nn.TransformerDecoder(layer, 1, nn.LayerNorm(6))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.inner(x, x.relu(), tgt_mask=CAUSAL, tgt_is_causal=True)
        return out


class LastState(nn.Module):
    """What a recurrent module hands on, a state that is given included."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: Tensor) -> Tensor:
        _, state = self.inner(x)
        out, _ = self.inner(x, state)
        return torch.cat([out, (state[1] if isinstance(state, tuple) else state)[-1][:, None]], 1)


class Cross(nn.Module):
    """Attention between two tensors."""

    def __init__(self, **options: Any) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True, **options)

    def forward(self, x: Tensor) -> Tensor:
        out, weights = self.attention(x[:, 1:], x, x)
        return torch.cat([out, weights[:, :, :3].mT.relu()], -1)


class Beside(nn.Module):
    """Attention that leaves out the same frames of each sample."""

    def __init__(self, padding: Tensor) -> None:
        super().__init__()
        self.attention, self.padding = nn.MultiheadAttention(6, 2, batch_first=True), padding

    def forward(self, x: Tensor) -> Tensor:
        padding = self.padding.expand(x.shape[0], -1)
        out: Tensor = self.attention(x, x, x, key_padding_mask=padding)[0]
        return out


class Padded(nn.Module):
    """Attention that leaves out frames which begin with zero."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(6, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.attention(x, x, x, key_padding_mask=x[:, :, 0] == 0)[0]
        return out


OF_FRAMES = {
    "gru": First(nn.GRU(6, 5, batch_first=True)),
    "gru without bias": First(nn.GRU(6, 5, bias=False, batch_first=True)),
    "gru of two layers, both ways": First(nn.GRU(6, 5, 2, batch_first=True, bidirectional=True)),
    "lstm": First(nn.LSTM(6, 5, batch_first=True)),
    "lstm, frames first": First(nn.LSTM(6, 5, 2)),
    "rnn": First(nn.RNN(6, 5, batch_first=True)),
    "rnn of relu": First(nn.RNN(6, 5, nonlinearity="relu", batch_first=True)),
    "states of gru": LastState(nn.GRU(6, 5, batch_first=True)),
    "states of lstm": LastState(nn.LSTM(6, 5, batch_first=True)),
    "attention": First(nn.MultiheadAttention(6, 2, batch_first=True)),
    "attention, tokens first": First(nn.MultiheadAttention(6, 2), need_weights=False),
    "attention with a mask": First(
        nn.MultiheadAttention(6, 2, batch_first=True), attn_mask=torch.ones(4, 4).triu()
    ),
    "attention, causal": First(
        nn.MultiheadAttention(6, 2, batch_first=True), attn_mask=CAUSAL, is_causal=True
    ),
    "attention of places that count": First(
        nn.MultiheadAttention(6, 2, batch_first=True), attn_mask=CAUSAL.isinf()
    ),
    "attention beside padding": Beside(torch.tensor([[False, False, True, False]])),
    "attention between two": Cross(),
    "attention of other sizes": Cross(kdim=6, vdim=6, bias=True),
    "encoder layer": nn.TransformerEncoderLayer(6, 2, 8, batch_first=True),
    "causal encoder layer": Whole(
        nn.TransformerEncoderLayer(6, 2, 8, batch_first=True), src_mask=CAUSAL, is_causal=True
    ),
    "decoder": Decoded(),
    "encoder": nn.TransformerEncoder(
        nn.TransformerEncoderLayer(6, 2, 8, norm_first=True, batch_first=True, activation="gelu"),
        2,
        nn.LayerNorm(6),
        enable_nested_tensor=False,
    ),
}
OF_IMAGES = {
    "group norm": nn.GroupNorm(2, 4),
    "group norm without factors": nn.Sequential(
        nn.Conv2d(4, 4, 1), nn.GroupNorm(2, 4, affine=False)
    ),
    "instance norm": nn.InstanceNorm2d(4, affine=True),
}


@pytest.mark.parametrize("name", [*OF_FRAMES, *OF_IMAGES])
def test_it_computes_the_same_and_is_trained(name: str) -> None:
    torch.manual_seed(0)
    network, x = (OF_FRAMES | OF_IMAGES)[name], FRAMES if name in OF_FRAMES else IMAGES
    turned = [_Turned()] * ("first" in name)
    network = nn.Sequential(*turned, network, *turned).eval()
    for parameter in network.parameters():
        if parameter.ndim == 1:
            nn.init.normal_(parameter)
    with torch.no_grad():
        torch.testing.assert_close(trace(network, x)(x), network(x))
        torch.testing.assert_close(trace(network, x, norms_in_integers=True)(x), network(x))
    model = quantize(network, Scheme(), x).train()
    model(x).square().mean().backward()
    untrained = [n for n, p in model.named_parameters() if p.grad is None and p.requires_grad]
    assert untrained == []


class _Turned(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.transpose(0, 1)


@pytest.mark.parametrize(
    ("network", "example", "message"),
    [
        (First(nn.LSTM(6, 5, proj_size=2, batch_first=True)), FRAMES, "proj_size"),
        (First(nn.GRU(6, 5, batch_first=True)), FRAMES[:, 0], "a tensor of 2 axes"),
        (First(nn.MultiheadAttention(6, 2, add_zero_attn=True)), FRAMES, "add_zero_attn"),
        (Beside(torch.ones(1, 4).bool()), FRAMES, "leaves out all places of a row"),
        (Padded(), FRAMES, "a key_padding_mask that the network computes"),
        (nn.InstanceNorm2d(4, track_running_stats=True), IMAGES, "running statistics"),
    ],
)
def test_what_has_no_such_form_is_named(network: nn.Module, example: Tensor, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        trace(nn.Sequential(network), example)
