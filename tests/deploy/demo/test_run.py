"""The whole pipeline, short: every network on every target, one report."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

import edgeq.data
from edgeq.data.splitting import limited
from edgeq.deploy.demo import run as demo
from edgeq.deploy.evaluation.chain import usable_targets
from edgeq.errors import OutputError
from edgeq.training.run.loop import train

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path


PARAMETERS = {"stable-resnet8": 14906, "resnet8": 77754}
SCHEMES: tuple[str, ...] = ("FP32", "4W8A", "4W4A")


@dataclass(frozen=True)
class Networks:
    """Which networks a demo trains: some models, each in some schemes, float among them.

    Attributes:
        images: of the test set that are looked at.
        processes: whether processes of their own train and compare them, as they do for a user.
    """

    models: tuple[str, ...]
    schemes: tuple[str, ...]
    images: int = 360
    processes: bool = True

    @property
    def quantized(self) -> int:
        """How many of them are quantised."""
        return len(self.models) * (len(self.schemes) - 1)

    def __len__(self) -> int:
        return len(self.models) * len(self.schemes)


class OneProcess:
    """A worker pool that needs no process, each of which would import torch anew."""

    def train(
        self, runs: dict[Path, Any], source: Any, *, done: Callable[..., None], **_: object
    ) -> None:
        for path, recipe in runs.items():
            done(path, train(recipe, source, path, threads=1))

    def each(
        self, function: Callable[..., Any], work: Sequence[tuple[Any, ...]], _: object
    ) -> list[Any]:
        return [function(*arguments) for arguments in work]


@contextmanager
def one_process(_most: int) -> Iterator[OneProcess]:
    yield OneProcess()


@pytest.fixture(
    scope="module",
    params=[
        Networks(("stable-resnet8",), ("FP32", "4W4A"), images=72, processes=False),
        pytest.param(Networks(tuple(PARAMETERS), SCHEMES), marks=pytest.mark.slow),
    ],
    ids=["one model", "all"],
)
def networks(request: pytest.FixtureRequest) -> Iterator[Networks]:
    chosen: Networks = request.param
    widths = dict(zip(SCHEMES, demo.WIDTHS, strict=True))
    assert tuple(PARAMETERS) == demo.MODELS
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(demo, "MODELS", chosen.models)
        patched.setattr(demo, "WIDTHS", [widths[scheme] for scheme in chosen.schemes])
        fewer = limited(edgeq.data.load("digits"), "test", chosen.images)
        patched.setattr(edgeq.data, "load", lambda _: fewer)
        if not chosen.processes:
            patched.setattr(demo, "worker_pool", one_process)
        yield chosen


@pytest.fixture(scope="module")
def folder(networks: Networks, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("demo")
    demo.run(folder, epochs=1, seconds=0.02)
    return folder


def test_every_network_in_both_formats_and_one_report(folder: Path, networks: Networks) -> None:
    stems = [f"{model}-{scheme}" for model in networks.models for scheme in networks.schemes]
    for stem in stems:
        assert (folder / f"{stem}.onnx").stat().st_size
        assert (folder / f"{stem}.tflite").stat().st_size
        assert (folder / stem / "best.safetensors").stat().st_size
    assert (folder / "report.html").read_text().startswith("<!")


def row_file(row: dict[str, str]) -> str:
    return f"{row['model']}-{row['scheme']}.tflite".replace("/", "")


def test_the_report_tells_what_the_table_promises(folder: Path, networks: Networks) -> None:
    report = json.loads((folder / "report.json").read_bytes())["report"]
    assert [row["parameters"] for row in report["rows"]] == [
        PARAMETERS[model] for model in networks.models for _ in networks.schemes
    ]
    for row in report["rows"]:
        refused = {
            failure["target"]
            for _, compared in report["comparisons"]
            for failure in compared["failures"]
            if failure["artefact"] == row_file(row) and failure["expected"]
        }
        assert set(row["accuracy"]) | refused == set(usable_targets())
        assert not refused or row["scheme"] == "FP32"
        assert set(row["size_bytes"]) == {"onnx", "tflite"}
        assert (row["activation_mse"] is None) == (row["scheme"] == "FP32")
        assert {"ort-cpu", "tflite"} <= set(row["latency"])
    assert len(report["curves"]) == networks.quantized
    assert len(report["comparisons"]) == len(networks)


def test_the_verdict_counts_what_the_files_and_answers_are(
    folder: Path, networks: Networks
) -> None:
    quantized = networks.quantized
    report = json.loads((folder / "report.json").read_bytes())["report"]
    total, files, runtimes, accuracy, conversion, gate = report["verdict"]
    answered = "look" if "otherwise" in runtimes else "good"
    assert report["states"] == [answered, "good", answered, *["good"] * 3]
    assert "its FP32 twin, rounded to them after training" in conversion
    assert "the gate fails as it should, by exactness.same" in gate
    (found,) = [each for each in report["gate"]["findings"] if each["outcome"] == "fail"]
    assert found["cause"].startswith("the file is another one: weights in ")
    assert found["next_command"] == (
        f"edgeq diff {folder / 'gate' / 'network.before.onnx'} {folder / 'gate' / 'network.onnx'}"
    )
    assert report["gate"]["outcome"] == "failed"
    assert (folder / "gate" / "edgeq-gate.toml").is_file()
    read_back = f"{quantized} quantised networks were read back from {2 * quantized} files"
    assert f"{read_back}, and none differs" in files
    assert f"{networks.images * quantized * (len(usable_targets()) - 2):,} test images" in runtimes
    assert accuracy.startswith("FP32 against integers: right on ort-cpu, stable-resnet8 ")
    assert all(
        f"{100 * share:.1f} % in {row['scheme']}" in accuracy
        for row in report["rows"]
        for share in [row["accuracy"]["ort-cpu"]["correct"] / networks.images]
    )
    page = (folder / "report.html").read_text()
    assert page.index(total.removeprefix("In short: ")) < page.index('id="networks"')
    assert page.index("See the gate fail") < page.index('id="networks"')
    assert bool(len(networks) - networks.quantized) == ("expected</summary>" in page)


class TrainedAlready(Exception):
    """Ends a demo once it has no network left to train."""


@pytest.mark.slow
def test_an_earlier_demo_keeps_its_networks(folder: Path, networks: Networks) -> None:
    checkpoints = {path: path.stat().st_mtime_ns for path in folder.glob("*/best.safetensors")}
    said: list[str] = []

    def say(line: str) -> None:
        said.append(line)
        if line.startswith("exporting"):
            raise TrainedAlready

    with pytest.raises(TrainedAlready):
        demo.run(folder, epochs=1, overwrite=True, say=say)
    assert len(checkpoints) == len(networks)
    assert {path: path.stat().st_mtime_ns for path in checkpoints} == checkpoints
    assert said[0] == "reading digits"
    assert said[1].startswith(f"{len(networks)} of {len(networks)} networks are kept")
    assert len(said) == 3


def test_an_earlier_demo_is_not_replaced_unasked(folder: Path) -> None:
    before = (folder / "report.json").read_bytes()
    with pytest.raises(OutputError, match="holds a demo already"):
        demo.run(folder, epochs=1)
    assert (folder / "report.json").read_bytes() == before
