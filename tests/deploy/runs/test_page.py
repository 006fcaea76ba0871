"""``--html`` and ``edgeq report`` write one page of what was found, or refuse before any work."""

from __future__ import annotations

import csv
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import typer.main
from tests.support.models import lint_models, onnx_models
from tests.support.models.onnx_models import four_layers
from tests.support.report.documents import comparison, made
from tests.support.runtimes import fake_targets

import edgeq
from edgeq.data import Split, load
from edgeq.deploy.cli import app, run
from edgeq.deploy.report.graphs import graph
from edgeq.deploy.report.pictures import pictures
from edgeq.deploy.runs.page import check_page, write_page
from edgeq.errors import OutputError, UsageError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def compared(fakes: object, tmp_path: Path) -> list[str]:
    """The words of a comparison on fake targets."""
    file = fake_targets.artefact(tmp_path, "onnx", wrong=2)
    return ["compare", str(file), "--data", "fake", "--target", "ort-cpu,ort-cpu-ref"]


def test_a_command_writes_its_page(
    compared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = tmp_path / "page.html"
    page.write_text("an earlier one")
    assert run([*compared, "--html", str(page)]) == 0
    html = page.read_text()
    assert html.startswith("<!DOCTYPE html>")
    assert "net.onnx @ ort-cpu-ref" in html
    assert f"edgeq compare {tmp_path}" in html
    assert "<dt>processor</dt>" in html
    assert f"the page is {page}" in capsys.readouterr().err


def test_a_calibration_and_an_export_write_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    network, made = four_layers(tmp_path / "float.onnx"), tmp_path / "made.onnx"
    page, run_folder = tmp_path / "made.html", tmp_path / "run"
    asked = ["calibrate", str(network), "--data", "digits", "--samples", "16", "-o", str(made)]
    more = ["--held-back", "20", "--method", "equalize", "--explain", str(page)]
    assert run([*asked, *more, "--run", str(run_folder)]) == 0
    html = page.read_text("utf-8")
    assert html.count('class="pair"') == 4
    assert "<dd>equalize</dd>" in html
    assert "Accuracy by target" in html
    assert run(["report", str(run_folder), "-o", str(tmp_path / "report.html")]) == 0
    assert (tmp_path / "report.html").read_text("utf-8").count('class="pair"') == 4
    assert run(["export", str(made), "--to", "tflite", "-o", str(tmp_path / "out"),
                "--html", str(page)]) == 0  # fmt: skip
    assert "Numbers that were read back" in page.read_text("utf-8")
    assert "the page is" in capsys.readouterr().err
    edgeq.calibrate(network, "digits", tmp_path / "b.onnx", samples=16, held_back=0, explain=page,
                    overwrite=True)  # fmt: skip
    assert page.read_text("utf-8").count('class="pair"') == 4


def test_every_command_with_a_result_to_read_has_a_page() -> None:
    commands: Any = typer.main.get_command(app)
    with_page = {
        name
        for name, command in commands.commands.items()
        if any("--html" in parameter.opts for parameter in command.params)
    }
    listings = {"targets", "operators", "models", "data", "runs"}
    assert with_page == set(commands.commands) - listings - {"demo", "report", "gate"}


def test_a_page_that_cannot_be_written_is_refused_before_any_work(
    compared: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*compared, "--html", str(tmp_path / "page.pdf")]) == 2
    said = capsys.readouterr()
    assert "no page can be written as '.pdf'" in said.err
    assert said.out == ""


def test_runs_become_one_page(compared: list[str], tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert run([*compared, "--run", str(tmp_path / "runs" / name)]) == 0
    page = tmp_path / "report.html"
    assert run(["report", str(tmp_path / "runs"), "-o", str(page), "--title", "two runs"]) == 0
    html = page.read_text()
    assert "<title>two runs</title>" in html
    assert "over 2 runs" in html
    assert run(["report", str(tmp_path / "runs"), "-o", str(page)]) == 2, "it is there already"


def test_figures_are_a_line_each(tmp_path: Path) -> None:
    content = {"files": [{"file": "a", "layers": 3}, {"file": "b", "layers": 4}]}
    write_page(tmp_path / "x.csv", [made("lint", "x", content, "now")], "t")
    rows = list(csv.reader((tmp_path / "x.csv").read_text().splitlines()))
    assert rows[0] == ["run", "made", "command", "figure", "value"]
    assert ["x", "now", "lint", "files/b/layers", "4"] in rows


def test_markdown_says_the_verdict(tmp_path: Path) -> None:
    document = made("compare", "x", {"comparison": comparison(2)})
    write_page(tmp_path / "x.md", [document], "t")
    assert "answer otherwise" in (tmp_path / "x.md").read_text()
    with pytest.raises(OutputError):
        check_page(tmp_path / "x.md", overwrite=False)
    with pytest.raises(UsageError, match="does not say what kind of page"):
        check_page(tmp_path / "x")


def test_pictures_lie_in_the_page_and_know_their_class() -> None:
    digits = load("digits")
    ids = [int(sample) for sample in digits.test.ids[:3]]
    shown, classes = pictures(digits, "test", [*ids, -1])
    assert list(shown) == ids
    assert all(address.startswith("data:image/png;base64,") for address in shown.values())
    assert [classes[sample] for sample in ids] == [
        digits.classes[label] for label in np.asarray(digits.test.labels)[:3]
    ]


def test_samples_that_are_no_images_have_no_pictures() -> None:
    rows = Split({"": np.zeros((4, 3), np.float32)}, None, np.arange(4))
    assert pictures(replace(load("digits"), test=rows), "test", [0]) == ({}, {})


def test_the_graph_of_a_file_names_what_reads_what(tmp_path: Path) -> None:
    onnx_file, tflite_file = tmp_path / "net.onnx", tmp_path / "net.tflite"
    model = lint_models.network()
    onnx_file.write_bytes(model.SerializeToString())
    tflite_file.write_bytes(lint_models.as_tflite(model))
    for nodes in (graph(onnx_file), graph(tflite_file)):
        made: list[str] = []
        for node in nodes:
            assert set(node.inputs) <= set(made), "only what is computed before is read"
            made.append(node.output)
        assert len(nodes) > 1
        assert sum(len(node.inputs) for node in nodes) >= len(nodes) - 1
    float_file = onnx_models.save(onnx_models.float_model(), tmp_path / "float.onnx")
    assert graph(float_file)
