"""Writes docs/reference/operators.md from the exporter's own table, so that it cannot be untrue.

Run it with ``make docs``; a test compares the page with what this module renders.
"""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).parent / "reference" / "operators.md"
HEAD = """# Operators that become integer TFLite

Written by `make docs` from the exporter's own table; edit that, not this page. `edgeq operators`
prints the same.

Given equal integers, every operator here is within 1 LSB of ONNX Runtime without optimisation, on
TFLite's reference kernels, its optimised kernels and XNNPACK. Operators that only move integers are
equal.

An operator that is not here, or whose condition a model does not meet, is refused by the name of
its node and, where the file has it, its source line. `edgeq export --allow-float` keeps it in float
between DEQUANTIZE and QUANTIZE instead, and reports its share of the multiplications.

A QOperator file is read as the QDQ file with the same numbers (QLinearConv as Conv, QGemm as Gemm,
QLinearAdd as Add), so the table applies to it too.

A unary operator that TFLite lacks, or lacks for the model's scales, becomes a lookup table: CAST
and ADD turn the integers into indices, GATHER looks up the 256 results. That is exact, and costs
three operators instead of one.

| ONNX | TFLite | when |
|---|---|---|
"""
REWRITTEN_HEAD = """
## In float models

`edgeq calibrate` takes all of these in a float model, and writes some more in terms of them:

| ONNX | calibrated as |
|---|---|
"""


def render() -> str:
    """The whole page."""
    from edgeq.calibration.operators import REWRITTEN
    from edgeq.exporters.tflite.operators import operators

    return (
        HEAD
        + "\n".join(f"| {row.onnx} | {row.tflite} | {row.conditions} |" for row in operators())
        + "\n"
        + REWRITTEN_HEAD
        + "\n".join(f"| {name} | {made} |" for name, made in REWRITTEN.items())
        + "\n"
    )


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
