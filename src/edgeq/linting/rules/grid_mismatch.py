"""Integers that are written on one grid and read on another."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel
    from edgeq.quant import QuantParams


class GridMismatch:
    """Integers are read on another grid than they were written on.

    A DequantizeLinear has another scale or zero point than the QuantizeLinear whose integers it
    reads; or a TFLite operator that only moves integers, such as RESHAPE or MAX_POOL_2D, has
    another grid on its output than on its input. The integers then stand for other numbers than
    those that were put in.
    """

    severity: ClassVar[Severity] = "error"
    summary: ClassVar[str] = "integers written on one grid and read on another"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a place."""
        for handover in model.handovers:
            written, read = handover.written, handover.read
            if _same(written, read):
                continue
            ratio = float(np.max(np.atleast_1d(read.scale)) / np.max(np.atleast_1d(written.scale)))
            yield Problem(
                handover.node,
                f"its integers are written on {_shown(written)} and read on {_shown(read)}",
                "give both the same scale, zero point and type, or put a QuantizeLinear between",
                ratio,
                "times the scale",
            )


def _same(a: QuantParams, b: QuantParams) -> bool:
    return (
        a.dtype == b.dtype
        and np.array_equal(a.scale, b.scale)
        and np.array_equal(a.zero_point, b.zero_point)
    )


def _shown(grid: QuantParams) -> str:
    if grid.axis is not None:
        return f"{grid.scale.size} scales from {grid.scale.min():.6g}, {grid.dtype}"
    return f"scale {float(grid.scale):.9g}, zero point {int(grid.zero_point)}, {grid.dtype}"
