"""Where pairs of products saturate, every command that shows answers or times says so.

On either kind of processor.
"""

from __future__ import annotations

import shlex
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes import fake_targets

import edgeq.data
from edgeq.data import DataSource, Preprocessing, Split
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.evaluation.saturation import pair_saturation
from edgeq.deploy.evaluation.saturation.pair_saturation import remedy, saturation_here, sentence
from edgeq.deploy.evaluation.survey import survey
from edgeq.deploy.pipeline.export import export
from edgeq.errors import TargetError
from edgeq.exporter import ExportOptions
from edgeq.machine import Machine, fingerprint
from edgeq.results import LayerSaturation, PairSaturation
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

CLASSES = 5


def random_source() -> DataSource:
    rng = np.random.default_rng(5)
    images = rng.integers(0, 256, (24, 6, 6, 4), dtype=np.uint8)
    part = Split({"": images}, np.arange(24) % CLASSES, np.arange(24))
    return DataSource(
        "noise",
        tuple("abcde"),
        part,
        part,
        part,
        Preprocessing.normalized((0.0,) * 4, (1 / 255,) * 4),
    )


@pytest.fixture
def noise(monkeypatch: pytest.MonkeyPatch) -> DataSource:
    """Data of four channels, by the name ``noise``."""
    source = random_source()
    monkeypatch.setattr(edgeq.data, "load", lambda *_: source)
    return source


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes this machine one of another kind, as far as saturation is told."""
    here = fingerprint()

    def become(*isa: str, architecture: str = "x86_64") -> None:
        machine: Machine = replace(here, architecture=architecture, isa=isa)
        monkeypatch.setattr(pair_saturation, "fingerprint", lambda: machine)

    return become


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A network of int8 weights whose convolution saturates, and whose last layer cannot."""
    graph = Graph()
    x = graph.input("x", ["N", 4, 6, 6], Grid(1.0))
    conv = graph.weighted("Conv", x, "conv", (8, 4, 3, 3), Grid(2.0), relu=True, levels=127)
    pooled = graph.op("GlobalAveragePool", [conv], "mean", Grid(1.0))
    flat = graph.op("Flatten", [pooled], "flat", Grid(1.0))
    graph.weighted("Gemm", flat, "last", (CLASSES, 8), Grid(2.0, 128), transB=1, levels=20)
    path = tmp_path / "net.onnx"
    onnx.save(graph.proto("last_dequantized"), path)
    return path


def causes(found: Any) -> list[str]:
    return [hop.cause for hop in found.hops]


class TestComparedWithTheEmulatorOfSuchAProcessor:
    """It saturates on every machine, so these hold on all of them."""

    def test_both_hops_name_it_and_the_sums_are_counted(
        self, file: Path, noise: DataSource
    ) -> None:
        (written,) = export(file, ["tflite"], file.parent, ExportOptions())
        pairs = [
            Pair(file, "ort-cpu-ref"),
            Pair(file, "emulator:avx2"),
            Pair(written.path, "tflite-ref"),
        ]
        found = compare(pairs, noise).comparison
        assert causes(found) == [
            "pair saturation on emulator:avx2 + emulation",
            "pair saturation on emulator:avx2 + emulation + conversion + kernel rounding",
        ]
        assert ["saturation" in hop.cause for hop in found.from_reference] == [True, False]
        (told,) = found.saturating
        assert told.name == "net.onnx @ emulator:avx2"
        assert [layer.op_type for layer in told.layers] == ["Conv"]
        assert 0 < told.layers[0].wrong_sums <= told.layers[0].sums == 16 * 8 * 4 * 4
        assert (
            f"{told.layers[0].wrong_sums:,} of {told.layers[0].sums:,} sums are wrong" in told.what
        )
        assert "Conv 'conv_sum/Conv'" in told.what

    def test_the_command_that_it_names_cures_it(
        self, file: Path, noise: DataSource, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        told = saturation_here(Pair(file, "emulator:avx2"), "net")
        assert told is not None
        program, *arguments = shlex.split(told.hint.partition(" stores")[0])
        assert program == "edgeq"
        monkeypatch.chdir(file.parent)
        assert run(arguments) == 0
        cured = file.parent / "portable" / "net.onnx"
        assert saturation_here(Pair(cured, "emulator:avx2"), "net") is None
        found = compare(
            [Pair(cured, "ort-cpu-ref"), Pair(cured, "emulator:avx2")], noise
        ).comparison
        assert (causes(found), found.saturating) == (["nothing"], ())

    def test_two_targets_that_saturate_alike_are_not_parted_by_it(
        self, file: Path, noise: DataSource, on: Callable[..., None]
    ) -> None:
        on("avx2")
        found = compare([Pair(file, "ort-cpu"), Pair(file, "emulator:avx2")], noise).comparison
        (cause,) = causes(found)
        assert cause in ("graph optimisation + emulation", "nothing"), "by this processor's kernels"
        assert [each.target for each in found.saturating] == ["ort-cpu", "emulator:avx2"]


class TestWhere:
    def test_only_where_the_processor_adds_pairs(self, file: Path, on: Callable[..., None]) -> None:
        on("sse4_1", "avx", "avx2", "avx512f", "avx512bw")
        assert saturation_here(Pair(file, "ort-cpu"), "net") is not None
        for isa in ("avx512_vnni", "avx_vnni"):
            on("avx2", isa)
            assert saturation_here(Pair(file, "ort-cpu"), "net") is None
        on("asimd", "asimddp", architecture="aarch64")
        assert saturation_here(Pair(file, "ort-cpu"), "net") is None

    def test_only_on_targets_that_add_them(self, file: Path, on: Callable[..., None]) -> None:
        on("avx2")
        for target in ("ort-cpu-ref", "emulator", "ort-cpu:vnni"):
            assert saturation_here(Pair(file, target), "net") is None

    def test_an_order_that_is_not_emulated_is_told_without_counts_and_with_its_own_dialect(
        self, file: Path, on: Callable[..., None], noise: DataSource
    ) -> None:
        on("avx2")
        told = saturation_here(
            Pair(file, "openvino"), "net", samples=pair_saturation.Samples(noise, noise.test)
        )
        assert told is not None
        assert not told.counted
        assert "--for openvino" in told.hint

    def test_files_that_the_emulator_refuses_are_told_without_counts(
        self,
        file: Path,
        on: Callable[..., None],
        noise: DataSource,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        def refuse(*_: object, **__: object) -> None:
            raise TargetError("no arithmetic", hint="none")

        on("avx2")
        monkeypatch.setattr(pair_saturation, "with_counts", refuse)
        told = saturation_here(
            Pair(file, "ort-cpu"), "net", samples=pair_saturation.Samples(noise, noise.test)
        )
        assert told is not None
        assert not told.counted
        assert "a pair can come to" in told.what

    def test_nothing_is_read_where_nothing_can_saturate(
        self, tmp_path: Path, on: Callable[..., None]
    ) -> None:
        on("avx2", "avx_vnni")
        assert saturation_here(Pair(tmp_path / "not-there.onnx", "ort-cpu"), "net") is None


class TestWhatUint8WeightsCost:
    """What was measured is told as such wherever such weights are proposed or written.

    Nothing is said of the rest.
    """

    def test_it_is_data_of_the_target(self) -> None:
        costs = {
            name: TARGETS.load(name).capabilities.uint8_weight_cost
            for name in ("ort-cpu", "openvino")
        }
        assert all(cost is not None and cost > 1 for cost in costs.values())
        for name in ("ort-cpu-ref", "ort-cpu:vnni", "emulator:avx2", "tflite"):
            assert TARGETS.load(name).capabilities.uint8_weight_cost is None

    @pytest.mark.parametrize(
        ("cost", "told"),
        [
            (1.55, "processor, and about 1.6 times the time of int8 weights on AVX2"),
            (None, "processor"),
        ],
    )
    def test_the_remedy_tells_it(self, cost: float | None, told: str) -> None:
        can = replace(TARGETS.load("ort-cpu").capabilities, uint8_weight_cost=cost)
        said = remedy(Path("a net.onnx"), "ort-cpu", can, ())
        assert said.startswith("edgeq export 'a net.onnx' --to onnx -o portable stores")
        assert said.partition("every ")[2].startswith(told)
        assert ("AVX2" in said) is (cost is not None)

    def test_export_tells_it_of_the_dialect_that_it_writes(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            run(
                [
                    "export",
                    str(file),
                    "--for",
                    "openvino",
                    "--to",
                    "onnx",
                    "-o",
                    str(file.parent / "out"),
                ]
            )
            == 0
        )
        told = {
            line.partition(": ")[0]: line
            for line in capsys.readouterr().out.splitlines()
            if "uint8 weights" in line
        }
        canonical, openvino = (
            told[str(file.parent / "out" / "net.onnx")],
            told[str(file.parent / "out" / "net.openvino.onnx")],
        )
        assert (
            "On ort-cpu uint8 weights take about 1." in canonical,
            "--for ort-cpu:vnni keeps int8" in canonical,
        ) == (True, True)
        assert ("On openvino uint8 weights take about" in openvino, "vnni" in openvino) == (
            True,
            False,
        )

    def test_a_file_with_int8_weights_comes_with_the_command_that_cures_it(
        self, file: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert (
            run(["export", str(file), "--for", "ort-cpu:vnni", "-o", str(file.parent / "out")]) == 0
        )
        out = capsys.readouterr().out
        assert "in 1 layer on x86" in out
        assert (
            f"hint: edgeq export {file.parent / 'out' / 'net.ort-cpu-vnni.onnx'} --to onnx "
            "-o portable stores" in out
        )


@pytest.mark.parametrize("target", ["ort-cpu", "emulator:avx2"])
def test_what_audit_proposes_leaves_no_layer_at_risk(
    file: Path,
    target: str,
    answer: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    found = answer("audit", file, "-t", target)["audit"]
    assert [layer["op_type"] for layer in found["saturating"]] == ["Conv"]
    program, *arguments = shlex.split(found["remedy"].partition(" stores")[0])
    assert program == "edgeq"
    monkeypatch.chdir(file.parent)
    assert run(arguments) == 0
    capsys.readouterr()
    cured = answer("audit", file.parent / "portable" / "net.onnx", "-t", target)["audit"]
    assert (cured["saturating"], cured["remedy"]) == ([], "")


def test_what_is_said() -> None:
    quiet = LayerSaturation("a", "a_out", "Conv", 40_000, 3, 9)
    loud = LayerSaturation(
        "b", "b_out", "Gemm", -33_000, 1, 9, sums=2_000, saturated_pairs=8, wrong_sums=7
    )
    start = "at 16 bits, as on x86 without VNNI, in"
    assert (
        sentence((quiet,))
        == f"pairs of products can saturate {start} 1 layer, farthest in Conv 'a', where a "
        "pair can come to 40,000"
    )
    idle = replace(quiet, sums=90)
    assert sentence((idle, idle)).endswith(
        "2 layers, farthest in Conv 'a', where a pair can come to 40,000; none of 180 "
        "sums is wrong on the first samples"
    )
    assert sentence((idle, loud)) == (
        f"pairs of products saturate {start} 1 layer, worst in Gemm 'b', where 7 of 2,000 "
        "sums are wrong on the first samples"
    )


class TestCommands:
    """On fake targets, one of which adds pairs, with the layers that a file would have."""

    @pytest.fixture(autouse=True)
    def risky(
        self,
        fakes: dict[str, fake_targets.FakeTarget],
        on: Callable[..., None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        on("avx2")
        fakes["ort-cpu"].capabilities = replace(
            fakes["ort-cpu"].capabilities, saturating_pairs="across"
        )
        layers = (LayerSaturation("conv", "y", "Conv", 64_770, 5, 10),)
        monkeypatch.setattr(pair_saturation, "layers_at_risk", lambda *_: layers)
        monkeypatch.setattr(
            pair_saturation,
            "with_counts",
            lambda given, *_, **__: (replace(given[0], sums=640, wrong_sums=12),),
        )

    def test_compare(
        self, tmp_path: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        files = [fake_targets.artefact(tmp_path, "onnx"), fake_targets.artefact(tmp_path, "tflite")]
        given = [
            "compare",
            *map(str, files),
            "--data",
            "fake",
            "-t",
            "ort-cpu-ref,ort-cpu,tflite-ref",
        ]
        found = answer(*given)["comparison"]
        assert [hop["cause"] for hop in found["hops"]] == [
            "pair saturation on ort-cpu + graph optimisation",
            "nothing",
        ]
        assert found["saturating"][0]["layers"][0]["wrong_sums"] == 12
        assert run(given) == 0
        out = capsys.readouterr().out
        assert "net.onnx @ ort-cpu: pairs of products saturate" in out
        assert f"edgeq export {files[0]} --to onnx" in out

    def test_the_hop_after_it(
        self, fakes: dict[str, fake_targets.FakeTarget], tmp_path: Path, answer: Callable[..., Any]
    ) -> None:
        fakes["tflite-ref"].noise = 0.1
        files = [fake_targets.artefact(tmp_path, "onnx"), fake_targets.artefact(tmp_path, "tflite")]
        found = answer("compare", *files, "--data", "fake", "-t", "ort-cpu-ref,ort-cpu,tflite-ref")[
            "comparison"
        ]
        assert (
            found["hops"][1]["cause"]
            == "pair saturation on ort-cpu + graph optimisation + conversion + kernel rounding"
        )

    def test_counts_without_a_wrong_sum_are_no_cause(
        self, tmp_path: Path, answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(
            pair_saturation, "with_counts", lambda given, *_, **__: (replace(given[0], sums=640),)
        )
        found = answer(
            "compare",
            fake_targets.artefact(tmp_path, "onnx"),
            "--data",
            "fake",
            "-t",
            "ort-cpu-ref,ort-cpu",
        )["comparison"]
        assert found["hops"][0]["cause"] == "graph optimisation"
        assert "none of 640 sums" in found["saturating"][0]["what"]

    def test_profile(
        self, tmp_path: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
    ) -> None:
        given = [
            "profile",
            str(fake_targets.artefact(tmp_path, "onnx")),
            "-t",
            "ort-cpu-ref,ort-cpu",
            "--seconds",
            "0.01",
        ]
        reference, optimised = answer(*given)["profiles"]
        assert reference["saturating"] is None
        assert (
            optimised["saturating"]["layers"][0] | {"sums": 0}
            == optimised["saturating"]["layers"][0]
        ), "nothing is counted without data"
        assert run(given) == 0
        assert "net.onnx @ ort-cpu: pairs of products can saturate" in capsys.readouterr().out

    def test_survey(self, tmp_path: Path) -> None:
        path = fake_targets.artefact(tmp_path, "onnx")
        rows = survey([path], fake_targets.source(), reference="ort-cpu-ref", seconds=None).rows
        assert [row.saturating is not None for row in rows] == [False, True]
        assert rows[1].saturating is not None
        assert str(path) in rows[1].saturating.hint

    def test_gate(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        base = [
            "--data",
            "fake",
            "-t",
            "ort-cpu-ref,ort-cpu",
            "--baseline",
            str(tmp_path / "base.json"),
        ]
        assert run(["gate", str(fake_targets.artefact(tmp_path, "onnx")), *base, "--update"]) == 0
        assert run(["gate", str(fake_targets.artefact(tmp_path, "onnx", wrong=9)), *base]) == 1
        told = capsys.readouterr().out
        assert "net.onnx @ ort-cpu: lost 22.50 points" in told
        assert "12 of 640 sums are wrong" in told
        assert "next: edgeq export" in told
        assert told.count("sums are wrong") == 1, "the other stage loses as much, by something else"


def test_the_page_names_the_file_and_what_to_do() -> None:
    from edgeq.deploy.report.documents import Document
    from edgeq.deploy.report.page import render
    from edgeq.plain import record
    from edgeq.results import Comparison, Stage

    found = PairSaturation("net.onnx", "ort-cpu", (), "pairs <saturate>", "edgeq export net.onnx")
    stage = Stage("net.onnx", "ort-cpu", 1, None, None, (), {})
    compared = Comparison("noise", 1, "a", (stage,), (), (), saturating=(found,))
    page = render([Document("compare", "one", {"comparison": record(compared)})], "t")
    assert "<b>net.onnx @ ort-cpu</b>: no answers to compare; pairs &lt;saturate&gt;" in page
    assert page.count("<span>edgeq</span> <span>export</span> <span>net.onnx</span>") == 1
