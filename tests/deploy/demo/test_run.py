"""The whole pipeline, short: every network on every target, one report."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from edgeq.deploy.demo import run as demo
from edgeq.deploy.evaluation.chain import usable_targets
from edgeq.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def widths(request: pytest.FixtureRequest) -> Iterator[int]:
    """How many widths the demo trains each of its two networks in; float is the first."""
    count: int = request.param
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "WIDTHS", demo.WIDTHS[:count])
        yield count


@pytest.fixture(scope="module")
def folder(widths: int, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo.run(folder, epochs=1, seconds=0.02)
    return folder


def test_every_network_in_both_formats_and_one_report(folder: Path, widths: int) -> None:
    stems = [
        f"{model}-{scheme}"
        for model in ("stable-resnet8", "resnet8")
        for scheme in ("FP32", "4W8A", "4W4A")[:widths]
    ]
    for stem in stems:
        assert (folder / f"{stem}.onnx").stat().st_size
        assert (folder / f"{stem}.tflite").stat().st_size
        assert (folder / stem / "best.safetensors").stat().st_size
    assert (folder / "report.html").read_text().startswith("<!")


def row_file(row: dict[str, str]) -> str:
    return f"{row['model']}-{row['scheme']}.tflite".replace("/", "")


def test_the_report_tells_what_the_table_promises(folder: Path, widths: int) -> None:
    report = json.loads((folder / "report.json").read_bytes())
    assert [row["parameters"] for row in report["rows"]] == [
        *([14906] * widths),
        *([77754] * widths),
    ]
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
    assert len(report["curves"]) == 2 * (widths - 1)
    assert len(report["comparisons"]) == 2 * widths


def test_the_verdict_counts_what_the_files_and_answers_are(folder: Path, widths: int) -> None:
    quantized = 2 * (widths - 1)
    report = json.loads((folder / "report.json").read_bytes())
    files, runtimes, accuracy = report["verdict"]
    read_back = f"{quantized} quantised networks were read back from {2 * quantized} files"
    assert f"{read_back}, and none differs" in files
    assert f"{360 * quantized * (len(usable_targets()) - 2):,} test images" in runtimes
    assert accuracy.startswith("Accuracy on ort-cpu: stable-resnet8 ")
    assert all(
        f"{100 * row['accuracy']['ort-cpu']['correct'] / 360:.1f} % ({row['scheme']})" in accuracy
        for row in report["rows"]
    )
    page = (folder / "report.html").read_text()
    assert page.index("Files: ") < page.index('id="summary"')


class TrainedAlready(Exception):
    """Ends a demo once it has no network left to train."""


def test_an_earlier_demo_keeps_its_networks(folder: Path, widths: int) -> None:
    checkpoints = {path: path.stat().st_mtime_ns for path in folder.glob("*/best.safetensors")}
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("exporting"):
            raise TrainedAlready

    with pytest.raises(TrainedAlready):
        demo.run(folder, epochs=1, overwrite=True, say=say)
    assert len(checkpoints) == 2 * widths
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    assert said[0].startswith(f"{2 * widths} of {2 * widths} networks are kept")
    assert len(said) == 2


def test_an_earlier_demo_is_not_replaced_unasked(folder: Path) -> None:
    before = (folder / "report.json").read_bytes()
    with pytest.raises(OutputError, match="holds a demo already"):
        demo.run(folder, epochs=1)
    assert (folder / "report.json").read_bytes() == before
