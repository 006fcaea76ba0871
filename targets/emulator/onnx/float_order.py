"""The order in which ONNX Runtime's CPU kernels add in float32, which decides results near ties.

A QDQ model asks for float arithmetic between its integers, and float sums depend on their order.
MLAS, ONNX Runtime's kernel library, has a fixed one for x86 with FMA and one thread: matrix
products run through blocks of their inner dimension, one fused multiplication and addition after
the other, and add up the blocks; a product with a single row takes other ways. They were read from
its sources and found again bit for bit by experiment; a test does that experiment anew.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch

if TYPE_CHECKING:
    from torch import Tensor

_STRIDE = 128  # MLAS_SGEMM_STRIDEN and MLAS_SGEMM_STRIDEK
_LEAST_STRIDE = 16
_LANES = 8


class Order(Protocol):
    """A way to add up products."""

    def __call__(self, x: Tensor, w: Tensor, start: Tensor | None, place: Tensor) -> Tensor:
        """``start + (x * w).sum(0)`` in float32.

        Args:
            x: float32, (taps, sums).
            w: float32, (taps, sums).
            start: float32, (sums,): what is there before; None for nothing.
            place: int64, (sums,): the column of the matrix product that each sum is.
        """
        ...


def block_size(columns: int, taps: int) -> int:
    """How many taps MLAS adds up before it stores, for a product with so many columns."""
    stride_n = stride_k = _STRIDE
    if columns >= taps:
        while stride_k // 2 >= taps:
            stride_k //= 2
        return stride_k
    while stride_n > _LEAST_STRIDE and stride_n // 2 >= columns:
        stride_n, stride_k = stride_n // 2, stride_k * 2
    return stride_k


def order_of(rows: int, columns: int, taps: int, *, transposed: bool) -> Order:
    """How MLAS adds for a product of (rows, taps) with (taps, columns).

    Args:
        rows: of the first matrix and the result.
        columns: of the second and the result.
        taps: what is summed over.
        transposed: whether the second matrix is stored by columns.
    """
    if rows == 1:
        return Lanes(columns) if transposed else quads
    if columns == 1:
        return Lanes(rows) if not transposed else Blocks(block_size(columns, taps))
    return Blocks(block_size(columns, taps))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Fused multiplication and addition from 0 on in each block of taps.

    Then the blocks are added to what is there.
    """

    size: int

    def __call__(self, x: Tensor, w: Tensor, start: Tensor | None, place: Tensor) -> Tensor:  # noqa: ARG002
        """See :class:`Order`."""
        total = start
        for first in range(0, len(x), self.size):
            block = chain(x[first : first + self.size], w[first : first + self.size])
            total = block if total is None else total + block
        return total if total is not None else x.new_zeros(x.shape[1])


@dataclass(frozen=True, slots=True)
class Nested:
    """Each run of ``size`` taps in its own order, then the runs one by one, as col2im adds."""

    size: int
    inner: Order

    def __call__(self, x: Tensor, w: Tensor, start: Tensor | None, place: Tensor) -> Tensor:
        """See :class:`Order`."""
        total = x.new_zeros(x.shape[1]) if start is None else start
        for first in range(0, len(x), self.size):
            total = total + self.inner(
                x[first : first + self.size], w[first : first + self.size], None, place
            )
        return total


def chain(x: Tensor, w: Tensor) -> Tensor:
    """One fused multiplication and addition after the other.

    The product exact in float64, the sum rounded to float32.
    """
    products = x.to(torch.float64).mul_(w)
    total = products[0].to(torch.float32)
    for product in products[1:]:
        total = product.add_(total).to(torch.float32)
    return total


def quads(x: Tensor, w: Tensor, start: Tensor | None, place: Tensor) -> Tensor:  # noqa: ARG001
    """Four taps, then two, then one at a time.

    Multiplied and added without fusing, each group by itself first.
    """
    products, total, tap = x * w, start, 0
    while tap < len(products):
        size = next(each for each in (4, 2, 1) if tap + each <= len(products))
        group = products[tap]
        for product in products[tap + 1 : tap + size]:
            group = group + product
        total = group if total is None else total + group
        tap += size
    return total if total is not None else x.new_zeros(x.shape[1])


@dataclass(frozen=True, slots=True)
class Lanes:
    """Eight interleaved sums, not fused, which are then added across.

    In one of three ways, by the column's place among ``columns``.
    """

    columns: int

    def __call__(self, x: Tensor, w: Tensor, start: Tensor | None, place: Tensor) -> Tensor:
        """See :class:`Order`."""
        products = x * w
        lanes = x.new_zeros(_LANES, x.shape[1])
        for first in range(0, len(products), _LANES):
            part = products[first : first + _LANES]
            lanes[: len(part)] = lanes[: len(part)] + part
        a, b, c, d, e, f, g, h = lanes
        in_fours = (((a + b) + c) + d) + (((e + f) + g) + h)
        in_twos = ((a + c) + (e + g)) + ((b + d) + (f + h))
        alone = ((a + b) + (c + d)) + ((e + f) + (g + h))
        fours = self.columns // 4 * 4
        twos = fours + (self.columns - fours) // 2 * 2
        total = torch.where(place < fours, in_fours, torch.where(place < twos, in_twos, alone))
        return total if start is None else start + total
