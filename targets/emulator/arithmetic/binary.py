"""Binary layers as machines for them compute: the bits that differ, counted.

With -1 and +1 written as one bit, a sum of products of ``n`` pairs is ``n - 2 popcount(x XOR w)``
(Courbariaux et al. 2016; Rastegari et al. 2016, XNOR-Net). What is neither, such as the zeros of
padding or of activations that are 0 and 1, has its bit in a second word, the mask, and takes no
part: ``popcount(m) - 2 popcount((x XOR w) AND m)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

if TYPE_CHECKING:
    from torch import Tensor

_WORD = 32  # bits of an int64 that are used, so that shifts to the right never meet a sign
_COMPARED = 1 << 20  # words compared at once


def is_binary(weights: Tensor, low: int, high: int) -> bool:
    """Whether a layer can be counted.

    Weights of -1 and +1 alone, activations of -1, 0 and +1 after their zero point is taken off.
    """
    return low >= -1 and high <= 1 and bool((weights.abs() == 1).all())


def binary_sums(rows: Tensor, weights: Tensor) -> Tensor:
    """``rows @ weights.T`` by XNOR and popcount.

    Args:
        rows: -1, 0 and +1, (samples, taps).
        weights: -1 and +1, (channels, taps).

    Returns:
        int64, (samples, channels).
    """
    negative, present = pack(rows < 0), pack(rows != 0)
    filters = pack(weights < 0)
    sums = torch.empty((len(rows), len(weights)), dtype=torch.int64)
    step = max(1, _COMPARED // max(1, filters.numel()))
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        differ = (negative[part, None] ^ filters[None]) & present[part, None]
        sums[part] = popcount(present[part]).sum(1)[:, None] - 2 * popcount(differ).sum(2)
    return sums


def pack(bits: Tensor) -> Tensor:
    """Rows of bits as words: (samples, taps) of bool to (samples, words) of int64.

    What fills the last word is 0.
    """
    full = F.pad(bits.to(torch.int64), (0, -bits.shape[1] % _WORD))
    words: Tensor = full.unflatten(1, (full.shape[1] // _WORD, _WORD))
    return (words << torch.arange(_WORD)).sum(2)


def popcount(words: Tensor) -> Tensor:
    """How many bits of each word are 1: added up in fields of 2, 4, 8 and then all bits."""
    pairs = words - ((words >> 1) & 0x55555555)
    nibbles = (pairs & 0x33333333) + ((pairs >> 2) & 0x33333333)
    octets = (nibbles + (nibbles >> 4)) & 0x0F0F0F0F
    return ((octets * 0x01010101) >> 24) & 0xFF
