"""Torch's tables of rows, as one function of the table and the numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import UsageError
from edgeq.network.rows import pick_rows

if TYPE_CHECKING:
    from torch import Tensor, nn


def pick(module: nn.Embedding, numbers: Tensor) -> Tensor:
    """What nn.Embedding computes."""
    _refuse_bound(module)
    padding = -1 if module.padding_idx is None else module.padding_idx
    rows: Tensor = pick_rows(module.weight, numbers, padding)
    return rows


def pick_bag(module: nn.EmbeddingBag, numbers: Tensor, offsets: Tensor | None = None) -> Tensor:
    """What nn.EmbeddingBag computes of as many numbers for each sample."""
    _refuse_bound(module)
    if offsets is not None or module.padding_idx is not None:
        raise UsageError(
            "an EmbeddingBag with offsets or padding_idx has bags of different sizes",
            hint="give (batch, numbers), as many for each sample, and leave padding_idx out",
        )
    rows: Tensor = pick_rows(module.weight, numbers)
    if module.mode == "max":
        return rows.amax(1)
    return rows.sum(1) if module.mode == "sum" else rows.mean(1)


def _refuse_bound(module: nn.Embedding | nn.EmbeddingBag) -> None:
    if module.max_norm is not None:
        raise UsageError(
            "an embedding with max_norm changes its table while it is read",
            hint="leave max_norm out",
        )
