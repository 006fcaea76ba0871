"""The functions of ``edgeq``: what the commands find, as records that show themselves."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import nn

import edgeq
from edgeq.deploy.cli import run
from edgeq.errors import GateFailed, Inconclusive, OutputError, UsageError
from edgeq.tabular import MOST_ROWS, Table, Tabular

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.data import DataSource


def network() -> nn.Module:
    torch.manual_seed(0)
    layers = (nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))
    return nn.Sequential(*layers).eval()


@pytest.fixture(scope="module")
def digits() -> DataSource:
    return edgeq.load_data("digits")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory, digits: DataSource) -> Path:
    """A calibrated file, with the TFLite file of it beside."""
    path = tmp_path_factory.mktemp("made") / "net.onnx"
    edgeq.calibrate(network(), digits, path, samples=32)
    edgeq.export(path, path=path.with_suffix(".tflite"))
    return path


def check_shown(found: Tabular, *words: str) -> None:
    """It is short, tells these words in a terminal and in a notebook, and JSON takes it."""
    told, page = repr(found), found._repr_html_()
    assert len(told.splitlines()) <= MOST_ROWS + 3
    assert page.startswith("<table>")
    for word in words:
        assert word in told
        assert word in page
    assert json.loads(json.dumps(found.to_dict(), allow_nan=False)) == found.to_dict()


def test_every_command_that_finds_something_has_a_function() -> None:
    wanted = "calibrate export compare profile audit emulate gate survey lint load_data targets"
    assert set(wanted.split()) <= set(dir(edgeq))
    assert all(callable(getattr(edgeq, name)) for name in wanted.split())


def test_targets_is_a_function_and_a_package() -> None:
    program = (
        "import edgeq; before = edgeq.targets('ort-cpu'); import edgeq.targets.ort; "
        "assert edgeq.targets('ort-cpu') == before; assert edgeq.targets.ort.cpu"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    found = edgeq.targets("ort-cpu")
    assert [row.name for row in found] == ["ort-cpu"]
    assert len(found) == 1
    assert found["ort-cpu"].usable
    check_shown(found, "ort-cpu", "1 of 1 target works here")
    with pytest.raises(KeyError):
        found["tflite"]


def test_calibrate_takes_a_network_and_says_what_it_wrote(
    tmp_path: Path, digits: DataSource
) -> None:
    config = edgeq.CalibrationConfig(observer="percentile", weight_bits=4)
    path = tmp_path / "net.onnx"
    done = edgeq.calibrate(network(), digits, path, config=config, samples=16)
    assert (done.path, done.samples, done.observer) == (path, 16, "percentile")
    assert done.size_bytes == path.stat().st_size
    check_shown(done, "16", "percentile")
    with pytest.raises(OutputError, match="exists"):
        edgeq.calibrate(network(), "digits", path)
    with pytest.raises(OutputError, match=r"does not end in \.onnx"):
        edgeq.calibrate(network(), "digits", tmp_path / "net.tflite")


def test_export_takes_a_file(made: Path, tmp_path: Path) -> None:
    exported = edgeq.export(made, path=tmp_path / "again.tflite")
    assert exported.content == made.with_suffix(".tflite").read_bytes()
    told: Any = exported.to_dict()
    assert told["parity"]["different"] == []
    assert "content" not in told
    assert "again.tflite" in exported._repr_html_()
    untyped: Any = edgeq.export
    with pytest.raises(UsageError, match="no path"):
        untyped(made)
    with pytest.raises(UsageError, match="example"):
        untyped(network(), path=tmp_path / "x.onnx")


def test_a_network_in_memory_stands_beside_its_files(made: Path, digits: DataSource) -> None:
    found = edgeq.compare(
        [network(), made], digits, targets=["torch", "ort-cpu-ref"], limit=40, tensors=False
    )
    assert [stage.target for stage in found.stages] == ["torch", "ort-cpu-ref"]
    assert found.stages[0].artefact == "Sequential.safetensors"
    assert found.hops[0].output.sqnr_db > 20
    check_shown(found, "Sequential.safetensors @ torch", "net.onnx @ ort-cpu-ref")


def test_a_quantised_network_in_memory_equals_its_file(tmp_path: Path, digits: DataSource) -> None:
    example = torch.zeros(1, 1, 8, 8)
    model = edgeq.quantize(network(), edgeq.Scheme(), example)
    model.train()(torch.randn(8, 1, 8, 8))
    before = {name: value.clone() for name, value in model.eval().state_dict().items()}
    edgeq.export(model, example, tmp_path / "net.onnx")
    files: Sequence[Path | nn.Module] = [model, tmp_path / "net.onnx"]
    found = edgeq.compare(files, digits, targets=["torch", "ort-cpu-ref"], limit=40)
    assert found.hops[0].output.max_abs == 0
    assert {drift.max_lsb for drift in found.hops[0].tensors} == {0}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_audit_emulate_profile_and_lint(made: Path, digits: DataSource) -> None:
    audited = edgeq.audit(made, "ort-cpu")
    assert audited.integer_share == 1.0
    check_shown(audited, "QLinearConv", "100.00 % of 2,736 MACs")
    emulated = edgeq.emulate(made, "avx2", data=digits, limit=8)
    assert emulated.answers is not None
    assert emulated.answers.samples == 8
    check_shown(emulated, "Conv", "overflowed")
    profiled = edgeq.profile([made], targets=["ort-cpu"], seconds=0.02)
    assert [each.target for each in profiled.profiles] == ["ort-cpu"]
    check_shown(profiled, "net.onnx", "measured")
    linted = edgeq.lint(made)
    assert {each.severity for each in linted.findings} <= {"note"}
    check_shown(linted, "in 2 layers")


def test_survey(made: Path) -> None:
    found = edgeq.survey([made], "digits", targets=["ort-cpu"], limit=8, seconds=None)
    assert [row.failure for row in found.rows] == [""] * len(found.rows)
    check_shown(found, "ort-cpu", "accuracy %")


def test_gate_says_what_the_command_exits_with(
    made: Path, tmp_path: Path, digits: DataSource
) -> None:
    base = tmp_path / "base.json"
    with pytest.raises(Inconclusive, match="no better than guessing"):
        edgeq.gate([made], digits, base, targets=["ort-cpu-ref"], limit=64, update=True)
    updated = edgeq.gate(
        [made], digits, base, targets=["ort-cpu-ref"], limit=64, update=True, accept_guessing=True
    )
    assert updated.outcome == "updated"
    flags = ["--target", "ort-cpu-ref", "--limit", "64", "--baseline", str(base)]
    assert run(["gate", str(made), "--data", "digits", *flags]) == 0
    report = edgeq.gate([made], digits, base, targets=["ort-cpu-ref"], limit=64)
    assert report.passed
    report.require_passed()
    check_shown(report, "passed", "net.onnx @ ort-cpu-ref")
    other = edgeq.gate([made], digits, base, targets=["ort-cpu-ref"], limit=32)
    assert other.outcome == "inconclusive"
    worse = json.loads(base.read_text())
    (stage,) = worse["stages"].values()
    stage["correct"] = base64.b64encode(b"\xff" * 8).decode()
    base.write_text(json.dumps(worse))
    failed = edgeq.gate([made], digits, base, targets=["ort-cpu-ref"], limit=64)
    assert failed.outcome == "failed"
    with pytest.raises(GateFailed):
        failed.require_passed()


def test_load_data_reads_what_the_commands_read(digits: DataSource) -> None:
    raw = edgeq.load_data("digits", preprocess="raw")
    assert raw.shape == digits.shape
    assert raw.std != digits.std
    with pytest.raises(UsageError, match="no data set"):
        edgeq.load_data("digit")


class Long(Tabular):
    """More rows than a repr shows, with what HTML would take for markup."""

    __slots__ = ()

    def table(self) -> Table:
        return Table("a < b", ("x", "y"), [(str(i), "<i>" * 20) for i in range(50)])


def test_a_repr_is_cut_and_a_table_is_escaped() -> None:
    lines = repr(Long()).splitlines()
    assert lines[0] == "a < b"
    assert lines[-1] == "… and 30 more"
    assert max(map(len, lines)) < 60
    page = Long()._repr_html_()
    assert "<i>" not in page
    assert page.count("<tr>") == 51
