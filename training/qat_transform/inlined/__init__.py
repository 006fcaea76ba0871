"""Modules of torch that a trace goes through, as what they compute.

Their parameters stay theirs: a function here reads them from the module that it is given.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from edgeq.training.qat_transform.inlined.attention import (
    attend,
    decode,
    decode_layer,
    encode,
    encode_layer,
)
from edgeq.training.qat_transform.inlined.embedding import pick, pick_bag
from edgeq.training.qat_transform.inlined.norms import (
    normalize_by_root,
    normalize_groups,
    normalize_instances,
    normalize_layer,
)
from edgeq.training.qat_transform.inlined.recurrent import run_gru, run_lstm, run_rnn

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

INLINED: Mapping[type[nn.Module], Callable[..., Any]] = {
    nn.Embedding: pick,
    nn.EmbeddingBag: pick_bag,
    nn.GRU: run_gru,
    nn.GroupNorm: normalize_groups,
    nn.InstanceNorm1d: normalize_instances,
    nn.InstanceNorm2d: normalize_instances,
    nn.LSTM: run_lstm,
    nn.MultiheadAttention: attend,
    nn.RMSNorm: normalize_by_root,
    nn.RNN: run_rnn,
    nn.TransformerDecoder: decode,
    nn.TransformerDecoderLayer: decode_layer,
    nn.TransformerEncoder: encode,
    nn.TransformerEncoderLayer: encode_layer,
}
"""What each type computes: a function of the module and of what it is called with."""

NORMS: Mapping[type[nn.Module], Callable[..., Any]] = {nn.LayerNorm: normalize_layer}
"""Those that are gone through only where norms are computed in integers."""
