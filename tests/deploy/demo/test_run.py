"""The whole pipeline, short: every network on every target, one report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.demo.run import run
from edgeq.deploy.evaluation.chain import usable_targets
from edgeq.errors import OutputError

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    run(folder, epochs=2, seconds=0.02)
    return folder


def test_six_networks_in_both_formats_and_one_report(folder: Path) -> None:
    stems = [
        f"{model}-{scheme}"
        for model in ("stable-resnet8", "resnet8")
        for scheme in ("FP32", "4W8A", "4W4A")
    ]
    for stem in stems:
        assert (folder / f"{stem}.onnx").stat().st_size
        assert (folder / f"{stem}.tflite").stat().st_size
        assert (folder / stem / "best.safetensors").stat().st_size
    assert (folder / "report.html").read_text().startswith("<!")


def row_file(row: dict[str, str]) -> str:
    return f"{row['model']}-{row['scheme']}.tflite".replace("/", "")


def test_the_report_tells_what_the_table_promises(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    assert [row["parameters"] for row in report["rows"]] == [14906] * 3 + [77754] * 3
    for row in report["rows"]:
        refused = {
            name
            for name in usable_targets()
            if any(f"{row_file(row)} @ {name} did not run" in note for note in report["notes"])
        }
        assert set(row["accuracy"]) | refused == set(usable_targets())
        assert not refused or row["scheme"] == "FP32"
        assert set(row["size_bytes"]) == {"onnx", "tflite"}
        assert (row["activation_mse"] is None) == (row["scheme"] == "FP32")
        assert {"ort-cpu", "tflite"} <= set(row["latency"])
    assert len(report["curves"]) == 4
    assert len(report["comparisons"]) == 6


def test_the_verdict_counts_what_the_files_and_answers_are(folder: Path) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    files, runtimes, accuracy = report["verdict"]
    assert "4 quantised networks were read back from 8 files, and none differs" in files
    assert f"{360 * 4 * (len(usable_targets()) - 2):,} test images" in runtimes
    assert accuracy.startswith("Accuracy on ort-cpu: stable-resnet8 ")
    assert all(
        f"{100 * row['accuracy']['ort-cpu']['correct'] / 360:.1f} % ({row['scheme']})" in accuracy
        for row in report["rows"]
    )
    page = (folder / "report.html").read_text()
    assert page.index("Files: ") < page.index('id="summary"')


def test_an_earlier_demo_keeps_its_networks(folder: Path) -> None:
    checkpoints = {path: path.stat().st_mtime_ns for path in folder.glob("*/best.safetensors")}
    said: list[str] = []
    run(folder, epochs=2, seconds=0.02, overwrite=True, say=said.append)
    assert len(checkpoints) == 6
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    assert said[0].startswith("6 of 6 networks are kept")


def test_an_earlier_demo_is_not_replaced_unasked(folder: Path) -> None:
    before = (folder / "report.json").read_bytes()
    with pytest.raises(OutputError, match="holds a demo already"):
        run(folder, epochs=2)
    assert (folder / "report.json").read_bytes() == before
