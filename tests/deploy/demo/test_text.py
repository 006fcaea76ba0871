"""The terminal's table of the demo, and what its figures rest on."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.deploy.demo.text import findings, footnote, headline

if TYPE_CHECKING:
    from edgeq.deploy.demo.content import Report


def test_a_row_has_what_a_newcomer_looks_for(report: Report) -> None:
    table = headline(report)
    assert table.columns == (
        "network",
        "% right ort-cpu",
        "% right tflite",
        "rounding MSE",
        "p50 ms ort-cpu",
        "kB onnx",
        "kB tflite",
    )
    row = next(row for row in table.rows if row[0] == "Stable ResNet56 4W/8A")
    assert row[1:] == ("92.24", "92.22", "0.02399", "0.821", "3,451.2", "921.3")


def test_each_finding_has_its_verdict(report: Report) -> None:
    lines = ("In short: Fine: so far.", "Files: none differs.", "A planted fault: not seen.")
    table = findings(replace(report, verdict=lines, states=("bad", "good", "bad")))
    assert table.rows == [
        ("In short", "wrong", "Fine: so far."),
        ("Files", "good", "none differs."),
        ("A planted fault", "wrong", "not seen."),
    ]


def test_float_networks_have_dashes(report: Report) -> None:
    row = next(row for row in headline(report).rows if row[0] == "ResNet56 FP32")
    assert row[1:] == ("93.37", "–", "–", "1.83", "3,451.2", "–")


def test_the_line_below_says_what_the_numbers_rest_on(report: Report) -> None:
    assert footnote(report) == (
        "cifar10-jpeg, 10,000 samples; 95 % intervals of accuracy reach at most ±0.56 points."
    )
    assert footnote(replace(report, rows=())) == "cifar10-jpeg, 10,000 samples."


def test_times_are_told_where_one_of_them_can_be_trusted(report: Report) -> None:
    swapped = tuple(
        replace(row, latency={"ort-cpu": row.latency.get("tflite") or row.latency["ort-cpu"]})
        for row in report.rows
    )
    mixed = headline(replace(report, rows=swapped))
    place = mixed.columns.index("p50 ms ort-cpu")
    assert [row[place] for row in mixed.rows][:2] == ["1.83", "1.28 ?"]
    assert footnote(replace(report, rows=swapped)).endswith("; ? too noisy to trust.")
    noisy = replace(report, rows=tuple(row for row in swapped if row.scheme != "FP32"))
    assert not any("ms" in column for column in headline(noisy).columns)
    assert footnote(noisy).endswith("; all times were too noisy to trust.")
