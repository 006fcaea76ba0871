"""``edgeq why``: the planted faults that people ask about, and clean pairs without an alarm."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.faults.networks import SHAPES, small
from tests.support.faults.planting import Planting, layers_of
from tests.support.faults.running import asked
from tests.support.models.qdq_models import Graph, Grid

import edgeq
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.why.detail import detail_of
from edgeq.errors import UnknownName
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.machine import adds_pairs, fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.data import DataSource

SHAPE = SHAPES["small"]
SAMPLES = 6


@pytest.fixture(scope="module")
def source() -> DataSource:
    values = np.random.default_rng(2).normal(0, 1, (SAMPLES, *SHAPE)).astype(np.float32)
    return edgeq.load_data({"test": (values, np.arange(SAMPLES) % 5)})


@pytest.fixture(scope="module")
def clean() -> onnx.ModelProto:
    return small()


@pytest.mark.parametrize(
    ("name", "change", "kind", "tensor", "channels", "told"),
    [
        ("b.weight_scale", lambda a: a * np.float32(1.03), "grid", "b", (), "x1.03"),
        ("c_scale", lambda a: a * np.float32(1.03), "grid", "c", (), "x1.03"),
        ("c_zero_point", lambda a: a + 1, "grid", "c", (), "moved by 1 step"),
        (
            "d.bias_quantized",
            lambda a: a + 40 * (np.arange(a.size) == 3),
            "conversion",
            "d",
            (3,),
            "bias: +40 in channel 3",
        ),
        (
            "d.weight_quantized",
            lambda a: a[[1, 0, *range(2, len(a))]],
            "layout",
            "d",
            (0, 1),
            "channels 0 and 1 change places",
        ),
    ],
)
def test_a_planted_fault_is_told(
    clean: onnx.ModelProto,
    source: DataSource,
    tmp_path: Path,
    name: str,
    change: Callable[..., Any],
    kind: str,
    tensor: str,
    channels: tuple[int, ...],
    told: str,
) -> None:
    planting = Planting(clean)
    planting.change(name, change)
    ((cause,),) = asked(clean, [planting.model], source, tmp_path)
    assert (cause.kind, cause.tensor, cause.channels) == (kind, tensor, channels)
    assert told in cause.what
    assert cause.place.endswith(f"(operator {'abcdp'.index(tensor) + 1} of 7)")


def test_integers_read_on_another_grid(
    clean: onnx.ModelProto, source: DataSource, tmp_path: Path
) -> None:
    planting = Planting(clean)
    planting.own(planting.dequantizer("c_dequantized"), 2, lambda a: a + 1)
    ((cause, *_),) = asked(clean, [planting.model], source, tmp_path)
    assert (cause.kind, cause.tensor) == ("grid", "d")
    assert "than they were written on: the zero point +1" in cause.what


def test_a_correct_conversion_is_exact(
    clean: onnx.ModelProto, source: DataSource, tmp_path: Path
) -> None:
    import onnx_ir as ir

    paths = [tmp_path / "net.onnx", tmp_path / "net.tflite"]
    paths[0].write_bytes(clean.SerializeToString())
    paths[1].write_bytes(tflite.export(ir.from_proto(clean), ExportOptions()).content)
    targets = ["ort-cpu-ref", "ort-cpu", "emulator", "tflite-ref", "tflite-builtin", "tflite"]
    found = edgeq.why(paths, source, targets=targets)
    assert found.exact, found.causes
    assert {stage.state for stage in found.stages[1:-1]} == {"exact"}
    for stage in found.stages:
        if stage.verdict == "exact: every integer":
            assert not any(each.accumulated_lsb for each in stage.operators)
    by_name = {stage.name: stage for stage in found.stages}
    judged = by_name["net.tflite @ tflite-ref"]
    assert judged.verdict == "exact: at most 1 LSB an operator"
    assert {step for each in judged.operators for step in each.lsb} <= {-1, 0, 1}
    assert judged.against == "net.onnx @ ort-cpu-ref"


@pytest.mark.skipif(not adds_pairs(fingerprint()), reason="this processor adds products in 32 bits")
def test_pairs_that_saturate_are_named(source: DataSource, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(small(levels=127).SerializeToString())
    found = edgeq.why([path], source, targets=["ort-cpu", "emulator"])
    cause = next(each for each in found.causes if each.kind == "pair saturation")
    assert cause.number == 1
    numbers = {each.tensor: each.number for each in found.stages[1].operators}
    assert numbers[cause.tensor] == cause.number, "tables count operators as causes do"
    assert sorted(each for each in numbers.values() if each) == list(range(1, 8))
    assert "sums are wrong" in cause.what
    assert "uint8" in cause.hint
    assert [stage.state for stage in found.stages] == ["reference", "WRONG", "exact"]


def test_pairs_that_an_emulator_saturates(source: DataSource, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(small(levels=127).SerializeToString())
    found = edgeq.why([path], source, targets=["emulator:avx2"])
    assert found.stages[-1].verdict == "WRONG: pair saturation"


def test_sums_that_leave_an_accumulator(source: DataSource, tmp_path: Path) -> None:
    machine = tmp_path / "narrow.toml"
    machine.write_text(
        'summary = "sums in 12 bits"\n[arithmetic]\nrounding = "half-even"\n'
        'accumulator_bits = 12\noverflow = "saturate"\nsource = "this test"\n'
    )
    path = tmp_path / "net.onnx"
    path.write_bytes(small().SerializeToString())
    found = edgeq.why([path], source, targets=[f"emulator:{machine}"])
    assert found.causes[0].kind == "accumulator"


def test_the_command_ends_with_cause_hint_and_reproducer(
    clean: onnx.ModelProto,
    source: DataSource,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    planting = Planting(clean)
    layer = layers_of(clean)[1]
    planting.change(layer.weights, lambda a: np.clip(a + 9, -128, 127))
    for name, model in (("a", clean), ("b", planting.model)):
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "test.npz", images=source.test.images[:])
    monkeypatch.chdir(tmp_path)
    arguments = ["why", "a.onnx", "b.onnx", "--data", "test.npz", "-t", "ort-cpu-ref"]
    folder = Path("small")
    assert run([*arguments, "--reduce", str(folder)]) == 1
    shown = capsys.readouterr()
    assert "CAUSE  conversion in Conv 'b/Conv' (operator 2 of 7): weights:" in shown.out
    assert "HINT   edgeq diff" in shown.out
    assert (shown.out + shown.err).count("edgeq diff") == 1
    assert all(len(line) <= 80 for line in shown.out.splitlines() if line[:7] == " " * 7)
    assert run([*arguments, "--reduce", str(folder)]) == 2
    assert "holds a reproducer already" in capsys.readouterr().err
    script = folder / "reproduce.py"
    assert str(script) in shown.err
    shows = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert (shows.returncode, shows.stderr) == (1, "")
    small = onnx.load(folder / "reference.onnx")
    assert [node.op_type for node in small.graph.node].count("Conv") == 1
    assert run([*arguments, "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["exact"] is False
    assert document["why"]["causes"][0]["kind"] == "conversion"


def test_a_file_of_one_operator_has_nothing_inside(source: DataSource, tmp_path: Path) -> None:
    import onnx_ir as ir

    graph = Graph()
    entered = graph.input("x", [1, *SHAPE], Grid(0.03, 120))
    graph.op("Relu", [entered], "y", Grid(0.03))
    path = tmp_path / "one.tflite"
    model = ir.from_proto(graph.proto("y_dequantized"))
    path.write_bytes(tflite.export(model, ExportOptions()).content)
    assert edgeq.why([path], source, targets=["tflite"]).exact


def test_nothing_to_reduce_and_a_moved_input_are_told(
    clean: onnx.ModelProto,
    source: DataSource,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    planting = Planting(clean)
    planting.change("x_zero_point", lambda a: a + 1)
    for name, model in (("a", clean), ("b", planting.model)):
        (tmp_path / f"{name}.onnx").write_bytes(model.SerializeToString())
    np.savez(tmp_path / "test.npz", images=source.test.images[:])
    arguments = ["why", str(tmp_path / "a.onnx"), str(tmp_path / "b.onnx")]
    arguments += ["--data", str(tmp_path / "test.npz"), "-t", "ort-cpu-ref"]
    assert run([*arguments, "--reduce", str(tmp_path / "small")]) == 1
    shown = capsys.readouterr()
    assert "these samples do not show it" in shown.out
    assert "nothing is written to" in shown.err
    assert not (tmp_path / "small").exists()


def test_one_tensor_by_channel_and_row(
    clean: onnx.ModelProto, source: DataSource, tmp_path: Path
) -> None:
    planting = Planting(clean)
    planting.change("d.bias_quantized", lambda a: a + 900 * (np.arange(a.size) == 3))
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path, model in zip(paths, (clean, planting.model), strict=True):
        path.write_bytes(model.SerializeToString())
    pairs = [Pair(path, "ort-cpu-ref") for path in paths]
    found = detail_of("d", pairs[1], pairs[0], source)
    by_channel = found.sqnr_db["channel"]
    assert [i for i, db in enumerate(by_channel) if db != float("inf")] == [3]
    assert set(found.sqnr_db) == {"channel", "row", "column", "class"}
    assert found.qmse > 0
    assert found.qkl > 0
    assert max(found.lsb) > 1
    with pytest.raises(UnknownName, match="did you mean"):
        detail_of("dd", pairs[1], pairs[0], source)


def test_growth_of_the_error_is_told_with_its_interval(source: DataSource, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(small(levels=127).SerializeToString())
    found = edgeq.why([path], source, targets=["emulator:avx2"])
    line = found.stages[-1].growth
    assert line is not None
    assert line.low_db <= line.rate_db <= line.high_db
