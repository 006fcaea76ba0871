"""Which layers' weights must keep pairs of products within 16 bits, and each one's limit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import nn

from edgeq.errors import UsageError
from edgeq.qdq.ort_x86.saturation import pair_limit
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.quantizers.lsq import Lsq
from edgeq.training.quantizers.max_abs import MaxAbs

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeq.training.layers import QuantLayer
    from edgeq.training.quantizers.parts.protocol import GridQuantizer

_WITH_ANY_SCALE = (MaxAbs, Lsq, LearnedClip)


def limit_pairs(layers: Iterable[QuantLayer]) -> None:
    """Give each weight quantiser the smallest limit of the layers that it quantises for.

    Left out is what kernels compute without pairs, which is depthwise convolutions; transposed
    ones, whose order is that of other channels, and which an export stores as uint8 where they can
    saturate; and methods whose scales are not free.

    Args:
        layers: of one network, each with its input's quantiser.
    """
    for layer in layers:
        clip: Any = layer.quantizer.clip
        if not isinstance(clip, _WITH_ANY_SCALE) or not _adds_pairs(layer.layer):
            continue
        limit = pair_limit(_greatest(layer.source))
        if limit is not None and limit < 2 * clip.qmax:
            clip.pair_limit = limit if clip.pair_limit is None else min(limit, clip.pair_limit)


def _adds_pairs(layer: nn.Module) -> bool:
    if isinstance(layer, nn.Conv2d):
        return layer.weight.shape[1] > 1 or layer.groups != layer.weight.shape[0]
    return isinstance(layer, nn.Linear)


def _greatest(source: GridQuantizer | None) -> int:
    """The largest unsigned byte that a grid stores; 0 for one of 16 bits, or of no file."""
    try:
        params = None if source is None else source.quant_params()
    except UsageError:
        return 0
    return 0 if params is None or params.dtype != "uint8" else params.qmax
