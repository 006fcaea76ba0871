"""The page shows every record, runs nothing foreign and needs nothing but itself."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.report import render_html, values
from edgeq.deploy.report.page import latency_lines

if TYPE_CHECKING:
    from edgeq.deploy.report import Report

HOSTILE = "</script><script>alert(1)</script><img src=http://example.org/x onerror=alert(2)>"
VOID = {"meta", "br", "img", "link", "input"}


class Page(HTMLParser):
    """A page taken apart: its tags, the text that is seen, and its scripts."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(html)
        self.close()
        self.text = " ".join(" ".join(self.words).split())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] == ["script"]:
            self.scripts.append(data)
        elif self.open[-1:] != ["style"]:
            self.words.append(data)

    def named(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


@pytest.fixture
def page(report: Report) -> Page:
    return Page(render_html(report))


def hostile(report: Report) -> Report:
    """A report in which every string that comes from elsewhere tries to break out."""
    comparison = report.comparisons[0][1]
    bad = replace(comparison.hops[0].output, tensor=HOSTILE)
    hop = replace(
        comparison.hops[0], source=HOSTILE, stage=HOSTILE, cause=HOSTILE, output=bad, tensors=(bad,)
    )
    stage = replace(
        comparison.stages[0], artefact=HOSTILE, target=HOSTILE, facts={HOSTILE: HOSTILE}
    )
    timed = report.profiles[0].latency
    latency = replace(timed, trust=replace(timed.trust, clock=False, why=HOSTILE))
    row = replace(
        report.rows[1],
        model=HOSTILE,
        scheme=HOSTILE,
        latency={HOSTILE: latency},
        accuracy={HOSTILE: report.rows[1].accuracy["torch"]},
    )
    return replace(
        report,
        title=HOSTILE,
        command=HOSTILE,
        data=HOSTILE,
        notes=(HOSTILE,),
        machine=replace(report.machine, cpu=HOSTILE, runtimes={HOSTILE: HOSTILE}),
        rows=(replace(row, size_bytes={HOSTILE: 1}),),
        curves=(replace(report.curves[0], model=HOSTILE, points=(bad,)),),
        comparisons=(
            (
                HOSTILE,
                replace(
                    comparison,
                    data=HOSTILE,
                    reference=HOSTILE,
                    hops=(hop,),
                    from_reference=(hop,),
                    stages=(stage,),
                ),
            ),
        ),
        profiles=(replace(report.profiles[0], artefact=HOSTILE, target=HOSTILE, latency=latency),),
    )


def test_the_page_is_one_file_that_loads_nothing(page: Page) -> None:
    for tag, attributes in page.tags:
        assert "src" not in attributes, tag
        assert not (attributes.get("href") or "#").startswith(("http", "//", "file")), tag
    assert not page.named("link")
    assert not page.named("iframe")


def test_the_style_imports_nothing(report: Report) -> None:
    style = re.search(r"<style>(.*?)</style>", render_html(report), re.DOTALL)
    assert style
    assert not re.search(r"@import|url\(", style[1])


def test_the_policy_allows_exactly_the_scripts_in_the_page(page: Page) -> None:
    policy = next(
        meta["content"]
        for meta in page.named("meta")
        if meta.get("http-equiv") == "Content-Security-Policy"
    )
    assert policy is not None
    _, plotly, own = page.scripts
    hashes = [
        f"'sha256-{base64.b64encode(hashlib.sha256(s.encode()).digest()).decode()}'"
        for s in (plotly, own)
    ]
    assert f"script-src {' '.join(hashes)};" in policy
    assert policy.startswith("default-src 'none';")


def test_what_foreign_strings_say_is_shown_and_not_done(report: Report) -> None:
    page = Page(render_html(hostile(report)))
    assert len(page.named("script")) == 3
    assert not page.named("img")
    assert not any(name.startswith("on") for _, attributes in page.tags for name in attributes)
    assert page.text.count(HOSTILE) > 20


def test_plots_hold_foreign_strings_as_text(report: Report) -> None:
    specs = json.loads(Page(render_html(hostile(report))).scripts[0])
    assert "&lt;script&gt;" in specs["rounding-error"]["data"][0]["name"]
    assert "<script" not in json.dumps(specs)


def test_every_plot_has_its_place_and_its_words(page: Page) -> None:
    specs = json.loads(page.scripts[0])
    places = [div for div in page.named("div") if div.get("class") == "plot"]
    assert {place["id"] for place in places} == set(specs)
    assert len(places) == 6
    assert all(place["role"] == "img" and place["aria-label"] for place in places)


def test_tables_have_captions_and_scopes(page: Page) -> None:
    assert len(page.named("caption")) == len(page.named("table"))
    assert all(head.get("scope") in {"col", "row", "colgroup"} for head in page.named("th"))


def test_the_headline_numbers_are_there(report: Report, page: Page) -> None:
    for row in report.rows:
        wanted = [
            values.count(row.parameters),
            values.general(row.activation_mse),
            values.general(row.activation_rmse),
            values.decibels(row.sqnr_db),
        ]
        wanted += [values.percent(accuracy.fraction) for accuracy in row.accuracy.values()]
        wanted += [
            f"{values.percent(a.low)} to {values.percent(a.high)}" for a in row.accuracy.values()
        ]
        wanted += [f"{a.correct:,} of {a.total:,}" for a in row.accuracy.values()]
        wanted += [values.kilobytes(size) for size in row.size_bytes.values()]
        assert [number for number in wanted if number not in page.text] == []


def test_every_latency_is_there_with_its_verdict(report: Report, page: Page) -> None:
    latencies = [latency for row in report.rows for latency in row.latency.values()] + [
        profile.latency for profile in report.profiles
    ]
    for latency in latencies:
        names = ("p50", "p90", "p99", "mean", "min") if latency.runs else ("p50",)
        wanted = [values.milliseconds(getattr(latency, f"{name}_ms")) for name in names]
        assert " ".join(wanted) in page.text
    assert "4.60 -1.23" in page.text
    assert "not trustworthy half of the runs spread over 31% of the median" in page.text
    assert (
        "ethos-u55 estimated threads 1, batch 1 0 7.41 – 921.3 not trustworthy estimated: a model"
        in page.text
    )


def test_every_drift_is_there(report: Report, page: Page) -> None:
    drifts = [point for curve in report.curves for point in curve.points]
    for _, comparison in report.comparisons:
        for hop in (*comparison.hops, *comparison.from_reference):
            drifts += [hop.output, *hop.tensors]
    for drift in drifts:
        errors = (
            values.general(drift.mse),
            values.general(drift.rmse),
            values.decibels(drift.sqnr_db),
        )
        assert " ".join(errors) in page.text
        assert values.general(drift.max_abs) in page.text
        assert drift.tensor in page.text


def test_stages_show_agreement_flips_and_what_ran(report: Report, page: Page) -> None:
    for stage in report.comparisons[0][1].stages:
        assert values.percent(stage.agreement) in page.text
        assert ", ".join(map(str, stage.flipped)) in page.text
    assert "operators: QLinearConv 55, QLinearAdd 27" in page.text


def test_machine_and_command_are_there(report: Report, page: Page) -> None:
    for wanted in (
        report.command,
        report.machine.cpu,
        "avx2, fma, avx512_vnni",
        "0.41 processes",
        "onnxruntime 1.31.1",
        *report.notes,
    ):
        assert wanted in page.text
    assert "frequency governor –" in page.text


def test_what_is_missing_is_a_dash(report: Report) -> None:
    bare = replace(
        report.rows[1],
        accuracy={},
        latency={},
        size_bytes={},
        sqnr_db=None,
        activation_mse=None,
        activation_rmse=None,
    )
    page = Page(
        render_html(
            replace(report, rows=(report.rows[1], bare), curves=(), comparisons=(), profiles=())
        )
    )
    assert "ResNet56 original 4W/8A 853,018" + 12 * " –" in page.text


def test_a_report_with_nothing_but_a_title_is_still_a_page(report: Report) -> None:
    page = Page(
        render_html(replace(report, rows=(), curves=(), comparisons=(), profiles=(), notes=()))
    )
    assert json.loads(page.scripts[0]) == {}
    assert report.title in page.text


def test_measured_latencies_come_first_and_none_twice(report: Report) -> None:
    shared = replace(
        report,
        profiles=(
            *report.profiles,
            replace(report.profiles[1], latency=report.rows[0].latency["ort-cpu"]),
        ),
    )
    lines = latency_lines(shared)
    assert [line.kind for line in lines] == ["measured"] * 10 + ["estimated"]
    assert sum(line.latency == report.rows[0].latency["ort-cpu"] for line in lines) == 1
