"""Sums on an accumulator that shows.

Narrower than they need, or fed with pairs of products that saturate.

What a saturating sum comes to depends on the order of its additions. Here it starts from the bias,
cut to the range, and products are added one by one as a loop over rows, columns and input channels
of the filter meets them, channels innermost. Almost all of them are still added by matrix products:
a block of taps is only walked through for those sums that its positive or its negative products
alone could carry out of range.

``vpmaddubsw``, which AVX2 has in place of a dot product, multiplies unsigned by signed bytes and
adds neighbours with saturation at 16 bits; the results then go to 32-bit accumulators (Intel SDM,
PMADDUBSW). It sees activations and weights as they are stored, so their zero points are not taken
off before but after: out of the bias, by sums of rows and columns.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch.nn import functional as F

from edgeq.targets.emulator.program import OverflowStats

if TYPE_CHECKING:
    from torch import Tensor

    from edgeq.targets.emulator.hardware.machine import HardwareProfile

PAIR_RANGE = (-(2**15), 2**15 - 1)
_BLOCK = 32  # taps added at once
_SUMS = 1 << 18  # of a slice of rows: 2 MiB of float64
_WALKED = 1 << 20  # products of sums that are walked through at once
_FLOAT32 = 2**24


def accumulate(
    rows: Tensor,
    weights: Tensor,
    start: Tensor | None,
    profile: HardwareProfile,
    zero_point: int = 0,
    weight_zero: tuple[int, ...] = (0,),
) -> tuple[Tensor, OverflowStats]:
    """``start + rows @ weights.T`` as a machine adds; an ``Accumulate`` of ``numerics``.

    Args:
        rows: whole numbers, (samples, taps): activations with the zero point taken off.
        weights: whole numbers, (channels, taps).
        start: what the accumulators hold at first, (channels,) or None for zeros.
        profile: width, overflow and pairing.
        zero_point: of the stored activations, which pairs are made of.
        weight_zero: of the stored weights likewise: one, or one of each channel.
    """
    if profile.products == "pairs-int16":
        sums, stats = _in_pairs(rows, weights, start, zero_point, weight_zero)
        wrapped, beyond = wrap(sums, profile)
        return wrapped, OverflowStats(
            stats.sums, stats.steps, beyond.overflowed, stats.pairs, stats.wrong + beyond.wrong
        )
    if profile.overflow == "wrap":
        wrapped, stats = wrap(exact(rows, weights, start), profile)
        return wrapped, OverflowStats(
            stats.sums, stats.sums * rows.shape[1], stats.overflowed, 0, stats.wrong
        )
    return _saturated(rows, weights, start, accumulator_range(profile))


def accumulator_range(profile: HardwareProfile) -> tuple[int, int]:
    """The smallest and the largest sum that an accumulator holds."""
    half: int = 2 ** (profile.accumulator_bits - 1)
    return -half, half - 1


def exact(rows: Tensor, weights: Tensor, start: Tensor | None) -> Tensor:
    """``start + rows @ weights.T`` without any overflow, int64.

    In float32 where its 24 bits hold all sums, else in float64.
    """
    bound = (
        float(rows.abs().amax()) * float(weights.abs().sum(1).amax())
        if rows.numel() and weights.numel()
        else 0.0
    )
    kind = torch.float32 if bound < _FLOAT32 else torch.float64
    sums = (rows.to(kind) @ weights.to(kind).T).to(torch.int64)
    return sums if start is None else sums + start.to(torch.int64)


def wrap(sums: Tensor, profile: HardwareProfile) -> tuple[Tensor, OverflowStats]:
    """Exact sums modulo the accumulator's width; the same as wrapping after each addition.

    Args:
        sums: int64, of any shape.
        profile: the accumulator.

    Returns:
        The sums that the accumulator holds in the end, int64, and how many of them differ; steps
        are not counted here.
    """
    low, high = accumulator_range(profile)
    over = int(((sums < low) | (sums > high)).sum())
    held = torch.remainder(sums - low, high - low + 1) + low if over else sums
    return held, OverflowStats(sums=sums.numel(), overflowed=over, wrong=over)


def pairs_can_saturate(weights: Tensor, largest: int = 255) -> bool:
    """Whether there is an input at all for which two neighbouring products leave 16 bits.

    Args:
        weights: whole numbers, (channels, taps).
        largest: the largest activation as stored.
    """
    return bool(_suspects(*_neighbours(weights), largest).any())


# ---- saturating sums -----------------------------------------------------------------------------


def _saturated(
    rows: Tensor, weights: Tensor, start: Tensor | None, bounds: tuple[int, int]
) -> tuple[Tensor, OverflowStats]:
    taps, channels = rows.shape[1], weights.shape[0]
    whole = (torch.zeros(channels) if start is None else start).to(torch.float64)
    first = whole.clamp(*bounds)
    values, filters = rows.to(torch.float64), weights.to(torch.float64)
    sums = torch.empty((len(rows), channels), dtype=torch.int64)
    overflowed = 0
    step = max(1, _SUMS // max(1, channels))
    for begin in range(0, len(rows), step):
        part = slice(begin, begin + step)
        held = first.repeat(len(values[part]), 1)
        hit = (first != whole).repeat(len(values[part]), 1)
        for tap in range(0, taps, _BLOCK):
            held = _add_block(
                held, hit, values[part, tap : tap + _BLOCK], filters[:, tap : tap + _BLOCK], bounds
            )
        sums[part] = held.to(torch.int64)
        overflowed += int(hit.sum())
    wrong = int((sums != exact(rows, weights, start)).sum())
    return sums, OverflowStats(
        sums=sums.numel(), steps=sums.numel() * taps, overflowed=overflowed, wrong=wrong
    )


def _add_block(
    held: Tensor, hit: Tensor, rows: Tensor, weights: Tensor, bounds: tuple[int, int]
) -> Tensor:
    """The sums after some more taps; notes in ``hit`` which of them were cut."""
    total, reach = rows @ weights.T, rows.abs() @ weights.abs().T
    most, least = held + (reach + total) / 2, held - (reach - total) / 2
    after = held + total
    suspects = ((most > bounds[1]) | (least < bounds[0])).nonzero()
    for some in suspects.split(_WALKED // _BLOCK):
        sample, channel = some.unbind(1)
        after[sample, channel], hit[sample, channel] = _walk(
            held[sample, channel], hit[sample, channel], rows[sample] * weights[channel], bounds
        )
    return after


def _walk(
    held: Tensor, hit: Tensor, products: Tensor, bounds: tuple[int, int]
) -> tuple[Tensor, Tensor]:
    """Add products, (sums, taps), one by one with saturation."""
    for product in products.unbind(1):
        free = held + product
        held = free.clamp(*bounds)
        hit = hit | (free != held)
    return held, hit


# ---- pairs of products that saturate -------------------------------------------------------------


def _in_pairs(
    rows: Tensor,
    weights: Tensor,
    start: Tensor | None,
    zero_point: int,
    weight_zero: tuple[int, ...],
) -> tuple[Tensor, OverflowStats]:
    stored = rows + zero_point
    largest = int(stored.amax()) if stored.numel() else 0
    sums = exact(rows, weights, start)
    even, odd = _neighbours(weights + torch.tensor(weight_zero, dtype=weights.dtype).reshape(-1, 1))
    before, after = (each.contiguous() for each in _neighbours(stored))
    lost = torch.zeros(sums.shape, dtype=torch.int64)
    pairs = 0
    for pair, suspects in enumerate(_suspects(even, odd, largest).T):
        channels = suspects.nonzero().squeeze(1)
        if not len(channels):
            continue
        products = torch.outer(before[:, pair], even[channels, pair]) + torch.outer(
            after[:, pair], odd[channels, pair]
        )
        excess = products - products.clamp(*PAIR_RANGE)
        pairs += int((excess != 0).sum())
        lost[:, channels] += excess.to(torch.int64)
    steps = sums.numel() * even.shape[1]
    return sums - lost, OverflowStats(
        sums=sums.numel(), steps=steps, pairs=pairs, wrong=int((lost != 0).sum())
    )


def _neighbours(values: Tensor) -> tuple[Tensor, Tensor]:
    """The first and the second of each two columns; an odd last column stands beside a zero."""
    full = F.pad(values, (0, values.shape[1] % 2))
    return full[:, ::2], full[:, 1::2]


def _suspects(even: Tensor, odd: Tensor, largest: int) -> Tensor:
    """Which pairs of weights, (channels, pairs), can leave 16 bits for inputs up to ``largest``."""
    most = (even.clamp(min=0) + odd.clamp(min=0)) * largest
    least = (even.clamp(max=0) + odd.clamp(max=0)) * largest
    return (most > PAIR_RANGE[1]) | (least < PAIR_RANGE[0])
