"""Pairs of products that saturate on x86 without VNNI."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem
from edgeq.qdq.ort_x86.saturation import PAIR_RANGE, in_kernel_order, unsigned_bytes, worst_pairs

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
            weights, grid, source = layer.weights, layer.weight_grid, layer.source
            if weights is None or grid is None or grid.dtype != "int8" or layer.depthwise:
                continue
            if source is None or source.axis is not None or layer.op_type == "ConvTranspose":
                continue
            ends = unsigned_bytes(source, source.qmin, source.qmax)
            if ends is None:
                continue
            rows = in_kernel_order(weights) if weights.ndim > 2 else weights
            smallest, most = worst_pairs(rows, *ends)
            beyond = int(((most > PAIR_RANGE[1]) | (smallest < PAIR_RANGE[0])).sum())
            if beyond:
                furthest = max(int(most.max()), int(smallest.min()), key=abs)
                yield Problem(
                    layer.node,
                    f"{beyond:,} of {most.size:,} pairs of products can leave 16 bits; the largest "
                    f"is {furthest:,}",
                    "edgeq export FILE --to onnx writes such weights as uint8, which cannot "
                    "saturate; edgeq audit counts what does on data",
                    float(beyond),
                    "pairs",
                )
