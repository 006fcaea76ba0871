"""The terminal's table of the demo, and what its figures rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.deploy.demo.text import footnote, headline

if TYPE_CHECKING:
    from edgeq.deploy.demo.content import Report


def test_a_row_has_what_a_newcomer_looks_for(report: Report) -> None:
    table = headline(report)
    assert table.columns == (
        "model",
        "accuracy % ort-cpu",
        "accuracy % tflite",
        "MSE 4A→32A",
        "SQNR dB",
        "p50 ms ort-cpu",
        "p50 ms tflite",
        "kB onnx",
        "kB tflite",
    )
    row = next(row for row in table.rows if row[0] == "Stable ResNet56 4W/8A")
    assert row[1:] == ("92.24", "92.22", "0.02399", "17.3", "0.821", "1.15 ?", "3,451.2", "921.3")


def test_float_networks_have_dashes(report: Report) -> None:
    row = next(row for row in headline(report).rows if row[0] == "ResNet56 FP32")
    assert row[1:] == ("93.37", "–", "–", "–", "1.83", "–", "3,451.2", "–")


def test_the_line_below_says_what_the_numbers_rest_on(report: Report) -> None:
    assert footnote(report) == (
        "cifar10-jpeg, 10,000 samples; 95 % intervals of accuracy reach at most ±0.56 "
        "points; ? too noisy to trust."
    )
    assert "noisy" not in footnote(replace(report, rows=report.rows[:1]))
    assert footnote(replace(report, rows=())) == "cifar10-jpeg, 10,000 samples."
