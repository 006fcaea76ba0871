"""The terminal's table fits its width and never cuts a number."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from edgeq.deploy.demo.text import render_text
from edgeq.deploy.report import values

if TYPE_CHECKING:
    from edgeq.deploy.demo.content import Report


def shown(report: Report, width: int) -> str:
    console = Console(width=width, file=io.StringIO(), color_system=None)
    console.print(render_text(report, width=width))
    output = console.file
    assert isinstance(output, io.StringIO)
    return output.getvalue()


def test_one_table_fits_140_columns(report: Report) -> None:
    text = shown(report, 140)
    assert text.count("Stable ResNet56 4W/4A") == 1
    assert max(map(len, text.splitlines())) <= 140


@pytest.mark.parametrize("width", [140, 100, 80, 40])
def test_every_number_is_there_at_every_width(report: Report, width: int) -> None:
    text = shown(report, width)
    assert max(map(len, text.splitlines())) <= width
    assert "…" not in text
    for row in report.rows:
        wanted = [
            row.name,
            values.count(row.parameters),
            values.general(row.activation_mse),
            values.decibels(row.sqnr_db),
        ]
        wanted += [values.percent(accuracy.fraction) for accuracy in row.accuracy.values()]
        wanted += [values.milliseconds(latency.p50_ms) for latency in row.latency.values()]
        wanted += [values.kilobytes(size) for size in row.size_bytes.values()]
        assert [number for number in wanted if number not in text] == []


def test_a_line_reads_as_its_row(report: Report) -> None:
    line = next(
        line for line in shown(report, 140).splitlines() if line.startswith("Stable ResNet56 4W/8A")
    )
    cells = [
        "414,602",
        "92.26",
        "92.24",
        "92.25",
        "92.23",
        "92.22",
        "0.02399",
        "17.3",
        "0.821",
        "1.15",
        "?",
        "3,451.2",
        "921.3",
    ]
    assert line.split()[3:] == cells


def test_float_networks_have_dashes(report: Report) -> None:
    line = next(
        line for line in shown(report, 140).splitlines() if line.startswith("ResNet56 FP32")
    )
    assert line.split()[2:] == [
        "853,018",
        "93.38",
        "93.37",
        "–",
        "–",
        "–",
        "–",
        "–",
        "1.83",
        "–",
        "3,451.2",
        "–",
    ]


def test_names_are_no_markup(report: Report) -> None:
    named = replace(report, rows=(replace(report.rows[0], model="[red]net[/red]"),))
    assert "[red]net[/red] FP32" in shown(named, 140)


def test_the_line_below_says_what_the_numbers_rest_on(report: Report) -> None:
    text = shown(report, 140)
    assert (
        "cifar10-jpeg, 10,000 samples; 95 % intervals of accuracy reach at most ±0.56 "
        "points; ? too noisy to trust." in text
    )


def test_no_doubt_no_mention_of_it(report: Report) -> None:
    calm = replace(report, rows=report.rows[:1])
    assert "noisy" not in shown(calm, 140)


def test_no_rows_no_crash(report: Report) -> None:
    assert "10,000 samples." in shown(replace(report, rows=()), 140)
