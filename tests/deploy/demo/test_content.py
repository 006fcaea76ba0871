"""The records know their columns and keep the order in which they first occur."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgeq.deploy.demo.content import Report


def test_columns_are_the_union_over_the_rows_in_order(report: Report) -> None:
    assert report.accuracy_targets == ("torch", "ort-cpu", "ort-cpu-ref", "tflite-ref", "tflite")
    assert report.latency_targets == ("ort-cpu", "tflite")
    assert report.formats == ("onnx", "tflite")


def test_a_row_and_a_curve_are_named_by_model_and_scheme(report: Report) -> None:
    assert report.rows[1].name == "ResNet56 4W/8A"
    assert report.curves[3].name == "Stable ResNet56 4W/4A"
