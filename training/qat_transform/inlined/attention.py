"""Torch's own attention and transformer encoder."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable


def attend(
    module: nn.MultiheadAttention, query: Tensor, key: Tensor, value: Tensor, **given: Any
) -> tuple[Tensor, Tensor | None]:
    """What nn.MultiheadAttention computes, and the mean of its weights where they are asked for."""
    known = ("need_weights", "attn_mask", "average_attn_weights", "is_causal", "key_padding_mask")
    _refuse(module, given, known)
    if module.bias_k is not None or module.add_zero_attn:
        raise UsageError(
            "attention with add_bias_kv or add_zero_attn cannot be quantised",
            hint="leave them out",
        )
    heads, width = module.num_heads, module.head_dim
    projected = _projected(module, (query, key, value))
    apart = [
        each.reshape(each.shape[0], each.shape[1], heads, width).transpose(1, 2)
        for each in projected
    ]
    scores = (apart[0] * width**-0.5) @ apart[1].transpose(-2, -1)
    scores = _masked(module, scores, given.get("attn_mask"), "attn_mask")
    padding = given.get("key_padding_mask")
    if padding is not None:
        padding = padding[:, None, None]
    scores = _masked(module, scores, padding, "key_padding_mask")
    weights = F.dropout(scores.softmax(-1), module.dropout, module.training)
    merged = (weights @ apart[2]).transpose(1, 2).flatten(2)
    out = F.linear(merged, module.out_proj.weight, module.out_proj.bias)
    out = out if module.batch_first else out.transpose(0, 1)
    return out, weights.mean(1) if given.get("need_weights", True) else None


def _masked(module: nn.MultiheadAttention, scores: Tensor, mask: Any, name: str) -> Tensor:
    """Scores with what a mask adds, or without those that a mask of truths leaves out.

    ``is_causal`` only says of a mask that it is causal.
    """
    if mask is None:
        return scores
    dtype = mask.dtype
    if dtype is torch.bool and not isinstance(mask, Tensor):
        raise UsageError(
            f"{type(module).__name__} is called with a {name} that the network computes",
            hint="give the mask as an input of its own, in float32, of what is added: 0 where a "
            "place counts, -20 where it does not",
        )
    if isinstance(mask, Tensor) and mask.ndim == scores.ndim - 1:  # a mask for each head
        mask = mask.unflatten(0, (-1, module.num_heads))
    return scores.masked_fill(mask, -math.inf) if dtype is torch.bool else scores + mask


def _projected(module: nn.MultiheadAttention, tensors: tuple[Tensor, ...]) -> list[Tensor]:
    """Query, key and value, the batch in front.

    What reads one tensor is computed by one layer; where the three differ and torch holds one
    weight for all, each takes its part of that layer's result.
    """
    first = {id(each): each if module.batch_first else each.transpose(0, 1) for each in tensors}
    biases = [None] * 3 if module.in_proj_bias is None else list(module.in_proj_bias.chunk(3))
    if module.in_proj_weight is None:
        weights = (module.q_proj_weight, module.k_proj_weight, module.v_proj_weight)
        return [
            F.linear(first[id(each)], weight, None) + (0.0 if bias is None else bias)
            for each, weight, bias in zip(tensors, weights, biases, strict=True)
        ]
    made = {
        key: F.linear(each, module.in_proj_weight, module.in_proj_bias).chunk(3, -1)
        for key, each in first.items()
    }
    return [made[id(each)][at] for at, each in enumerate(tensors)]


def _forwarded(
    module: nn.TransformerEncoderLayer | nn.TransformerDecoderLayer, x: Tensor, kept: nn.Module
) -> Tensor:
    """The two layers behind attention; ``kept`` is the drop-out behind them."""
    activation: Callable[[Tensor], Tensor] = module.activation
    out: Tensor = kept(module.linear2(module.dropout(activation(module.linear1(x)))))
    return out


def encode_layer(module: nn.TransformerEncoderLayer, src: Tensor, **given: Any) -> Tensor:
    """What nn.TransformerEncoderLayer computes."""
    _refuse(module, given, ("src_mask", "src_key_padding_mask", "is_causal"))
    masks = {
        "attn_mask": given.get("src_mask"),
        "key_padding_mask": given.get("src_key_padding_mask"),
    }

    def attended(x: Tensor) -> Tensor:
        found: Tensor = module.self_attn(x, x, x, need_weights=False, **masks)[0]
        kept: Tensor = module.dropout1(found)
        return kept

    if module.norm_first:
        x = src + attended(module.norm1(src))
        return x + _forwarded(module, module.norm2(x), module.dropout2)
    x = module.norm1(src + attended(src))
    out: Tensor = module.norm2(x + _forwarded(module, x, module.dropout2))
    return out


def decode_layer(
    module: nn.TransformerDecoderLayer, tgt: Tensor, memory: Tensor, **given: Any
) -> Tensor:
    """What nn.TransformerDecoderLayer computes."""
    _refuse(module, given, _OF_DECODERS)

    def attended(layer: nn.MultiheadAttention, kept: nn.Module, side: str, *read: Tensor) -> Tensor:
        masks = {
            "attn_mask": given.get(f"{side}_mask"),
            "key_padding_mask": given.get(f"{side}_key_padding_mask"),
        }
        found: Tensor = kept(layer(*read, need_weights=False, **masks)[0])
        return found

    def own(x: Tensor) -> Tensor:
        return attended(module.self_attn, module.dropout1, "tgt", x, x, x)

    def other(x: Tensor) -> Tensor:
        layer = module.multihead_attn
        return attended(layer, module.dropout2, "memory", x, memory, memory)

    if module.norm_first:
        x = tgt + own(module.norm1(tgt))
        x = x + other(module.norm2(x))
        return x + _forwarded(module, module.norm3(x), module.dropout3)
    x = module.norm1(tgt + own(tgt))
    x = module.norm2(x + other(x))
    out: Tensor = module.norm3(x + _forwarded(module, x, module.dropout3))
    return out


def decode(module: nn.TransformerDecoder, tgt: Tensor, memory: Tensor, **given: Any) -> Tensor:
    """What nn.TransformerDecoder computes."""
    _refuse(module, given, _OF_DECODERS)
    for layer in module.layers:
        tgt = layer(tgt, memory, **given)
    return tgt if module.norm is None else module.norm(tgt)


_OF_DECODERS = (
    "tgt_mask",
    "memory_mask",
    "tgt_key_padding_mask",
    "memory_key_padding_mask",
    "tgt_is_causal",
    "memory_is_causal",
)


def encode(module: nn.TransformerEncoder, src: Tensor, **given: Any) -> Tensor:
    """What nn.TransformerEncoder computes."""
    _refuse(module, given, ("mask", "src_key_padding_mask", "is_causal"))
    padding = given.get("src_key_padding_mask")
    for layer in module.layers:
        src = layer(src, src_mask=given.get("mask"), src_key_padding_mask=padding)
    return src if module.norm is None else module.norm(src)


def _refuse(module: nn.Module, given: dict[str, Any], known: tuple[str, ...]) -> None:
    odd = [
        name
        for name, value in given.items()
        if name not in known and value is not None and value is not False
    ]
    if odd:
        raise UsageError(
            f"{type(module).__name__} is called with {odd[0]}",
            hint="leave it out; masks are understood",
        )
