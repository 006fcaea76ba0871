"""The JSON document holds every record, only finite numbers, and always the same bytes."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgeq.deploy.report import render_json
from edgeq.plain import to_plain

if TYPE_CHECKING:
    from edgeq.deploy.report import Report


def refuse(constant: str) -> Any:
    raise AssertionError(f"{constant} is no JSON")


def test_every_field_is_there_after_the_schema_in_order(report: Report) -> None:
    document = json.loads(render_json(report))
    assert list(document) == ["schema", *(field.name for field in fields(report))]
    assert document["schema"] == "edgeq.report/2"
    assert list(document["rows"][0]) == [field.name for field in fields(report.rows[0])]


def test_numbers_come_back_as_they_were(report: Report) -> None:
    document = json.loads(render_json(report), parse_constant=refuse)
    row, written = report.rows[1], document["rows"][1]
    assert written["accuracy"]["tflite"] == {
        "correct": 9334,
        "total": 10000,
        **{e: getattr(row.accuracy["tflite"], e) for e in ("low", "high")},
    }
    assert written["latency"]["tflite"]["p99_ms"] == row.latency["tflite"].p99_ms
    assert document["curves"][2]["points"][5]["rmse"] == report.curves[2].points[5].rmse
    assert document["comparisons"][0][1]["hops"][2]["tensors"][3]["lsb"] == {
        "-1": 774,
        "0": 162289,
        "1": 774,
        "8": 3,
    }


def test_reading_and_writing_again_gives_the_same_bytes(report: Report) -> None:
    content = render_json(report)
    assert (
        json.dumps(json.loads(content), indent=2, ensure_ascii=False) + "\n"
    ).encode() == content
    assert render_json(report) == content


def test_nan_and_infinity_become_null(report: Report) -> None:
    odd = replace(
        report, rows=(replace(report.rows[1], sqnr_db=float("nan"), activation_mse=float("inf")),)
    )
    row = json.loads(render_json(odd), parse_constant=refuse)["rows"][0]
    assert (row["sqnr_db"], row["activation_mse"]) == (None, None)


def test_equal_stages_have_no_sqnr_but_an_mse_of_zero(report: Report) -> None:
    output = json.loads(render_json(report))["comparisons"][0][1]["hops"][1]["output"]
    assert (output["mse"], output["sqnr_db"]) == (0.0, None)


def test_a_histogram_is_in_the_order_of_its_steps() -> None:
    assert json.dumps(to_plain({3: 1, -8: 2, 0: 5})) == '{"-8": 2, "0": 5, "3": 1}'


def test_numpy_numbers_are_plain_numbers() -> None:
    assert to_plain((np.float32(0.5), np.int64(3), True)) == [0.5, 3, True]


def test_what_json_cannot_hold_is_refused() -> None:
    with pytest.raises(TypeError, match="ndarray cannot be written as JSON"):
        to_plain(np.zeros(2))
