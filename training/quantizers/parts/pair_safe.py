"""Weight scales with which no pair of products leaves 16 bits.

:mod:`edgeq.qdq.ort_x86.saturation` says which kernels add them in pairs.

Two neighbours of one sign must not come to more than a limit, 128 where activations fill 8 bits. A
scale grows in the channels where they do, and by no more than it must.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

_FINER = 1 + 2.0**-9
# from the min scale that could do to one that does: (limit + 1) / limit is at most 1.0079, and 1 +
# 2^-9 to the fifth is 1.0098
_TRIES = 6


@torch.no_grad()
def raised(scale: Tensor, weight: Tensor, most: int, limit: int) -> Tensor:
    """The scales with which no pair of neighbours comes to more than a limit.

    Args:
        scale: in real units, shape () or (out,), float32.
        weight: (out, in / groups, ...) of a convolution or (out, in).
        most: the largest magnitude of an integer, where weights are clipped.
        limit: of the sum of two positive, or two negative, neighbours in integers; more than
            ``most``.

    Returns:
        Of the shape of ``scale``, none smaller.
    """
    rows = _in_kernel_order(weight.detach().float())
    rows = rows.reshape(1, -1) if scale.ndim == 0 else rows
    # the padding lets no pair cross from the one half into the other
    signed = torch.cat([rows, -rows], 1).clamp(min=0)
    given = scale.reshape(-1, 1)
    if (
        scale.device.type == "cpu"
        and not torch.compiler.is_compiling()
        and bool(_safe(signed, given, most, limit).all())
    ):
        return scale  # elsewhere the question takes longer than the answer saves
    smaller, larger = (
        torch.minimum(signed[:, ::2], signed[:, 1::2]),
        torch.maximum(signed[:, ::2], signed[:, 1::2]),
    )
    # Either both fit, or the larger one is clipped and the smaller one takes what is left.
    least = torch.minimum((smaller + larger) / (limit + 1), smaller / (limit - most + 0.5)).amax(
        1, keepdim=True
    )
    found = torch.maximum(given, least * _FINER ** (_TRIES - 1))
    for tries in reversed(range(_TRIES - 1)):
        finer = torch.maximum(given, least * _FINER**tries)
        found = torch.where(_safe(signed, finer, most, limit), finer, found)
    return torch.where(_safe(signed, given, most, limit), given, found).reshape(scale.shape)


def _in_kernel_order(weight: Tensor) -> Tensor:
    """Rows of which each two neighbours, from the first, are a pair.

    Of both orders where they differ, as in :mod:`edgeq.qdq.ort_x86.saturation`.
    """
    channels_last = weight.movedim(1, -1)
    across = channels_last.flatten(1)
    across = F.pad(across, (0, across.shape[1] % 2))
    if weight.shape[1] % 2 == 0 or weight[0, 0].numel() == 1:
        return across
    return torch.cat([across, F.pad(channels_last, (0, 1)).flatten(1)], 1)


def _safe(signed: Tensor, scale: Tensor, most: int, limit: int) -> Tensor:
    """Which rows have no pair beyond the limit, (rows, 1)."""
    integers = (signed / scale).clamp(max=most).round()
    return (integers[:, ::2] + integers[:, 1::2]).amax(1, keepdim=True) <= limit
