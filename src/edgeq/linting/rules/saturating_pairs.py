"""Pairs of products that saturate on x86 without VNNI."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem
from edgeq.linting.layer_bounds import pair_bounds
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel


class SaturatingPairs:
    """Sums can saturate on x86 processors without VNNI.

    There, ONNX Runtime adds pairs of products with saturation at 16
    bits. Layers with int8 weights whose pairs can leave that range answer otherwise there than
    anywhere else. Only ONNX files are concerned.
    """

    severity: ClassVar[Severity] = "note"
    summary: ClassVar[str] = "sums that can saturate on x86 processors without VNNI"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a layer."""
        if model.format != "onnx":
            return
        for layer in model.layers:
            pairs = pair_bounds(layer)
            if pairs is not None and pairs.beyond:
                yield Problem(
                    layer.node,
                    f"{counted(pairs.beyond, 'pair', of=pairs.total)} of products can "
                    f"leave 16 bits; the largest is {pairs.furthest:,}",
                    "edgeq export FILE --to onnx writes such weights as uint8, which cannot "
                    "saturate; edgeq audit counts what does on data",
                    float(pairs.beyond),
                    "pairs",
                )
