"""A regression planted in each of 16 places is caught, with its verdict and a cause that names it.

Results are in docs/results/gate-regressions.md.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.faults.networks import samples, small
from tests.support.faults.planting import layers_of
from tests.support.faults.running import planted
from tests.support.models.qdq_models import Graph, Grid

import edgeq
from edgeq.data.preprocessing import Preprocessing
from edgeq.deploy.evaluation.saturation import pair_saturation
from edgeq.deploy.gate import baseline as baselines
from edgeq.deploy.gate import run
from edgeq.deploy.gate.config import GateConfig
from edgeq.deploy.gate.reading import read_rules
from edgeq.errors import ArtefactError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.machine import fingerprint
from edgeq.target import TARGETS
from edgeq.targets import ort
from edgeq.targets.emulator.session import EmulatorSession

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.deploy.gate.result import GateResult

SHAPE, COUNT = (4, 8, 8), 24
TARGETS_USED = ("ort-cpu-ref", "ort-cpu")
RULES = {
    "accuracy": {"max_drop": 1},
    "exactness": True,
    "changed": {"max_outputs": 0},
    "placement": {"same": True, "stages": ["* @ ort-cpu"]},
    "saturation": "none",
}


@dataclass(frozen=True)
class Bench:
    """A folder with a file, its baseline and the samples that both are about."""

    source: DataSource
    config: GateConfig

    @property
    def file(self) -> Path:
        return self.config.artefacts[0]

    def gate(self, source: DataSource | None = None, against: str = "") -> GateResult:
        return run.gate(self.config, against=against, source=source or self.source)

    def write(self, model: onnx.ModelProto) -> None:
        self.file.write_bytes(model.SerializeToString())

    def plant(self, kind: str, layer: int = 1) -> None:
        clean = onnx.load(self.file)
        found = planted(clean, kind, layers_of(clean)[layer])
        assert found is not None
        self.write(found[0])


def bench_in(folder: Path, model: onnx.ModelProto) -> Bench:
    """A file whose own answers are the labels, so that it is right on all samples."""
    file = folder / "net.onnx"
    file.write_bytes(model.SerializeToString())
    plain = samples(SHAPE, COUNT)
    with TARGETS.load("ort-cpu-ref").open(file) as session:
        labels = session.run(plain.test.images[:]).argmax(1).astype(np.int64)
    part = replace(plain.test, labels=labels)
    source = replace(plain, test=part, classes=tuple("abcde"), task="top1")
    config = GateConfig(
        artefacts=(file,),
        data="noise",
        baseline=folder / "base.json",
        rules=read_rules(RULES),
        folder=folder,
        targets=TARGETS_USED,
    )
    return Bench(source, config)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    bench = bench_in(tmp_path_factory.mktemp("accepted"), small())
    run.update(bench.config, source=bench.source)
    return bench


@pytest.fixture
def bench(accepted: Bench, tmp_path: Path) -> Bench:
    for name in ("net.onnx", "base.json"):
        (tmp_path / name).write_bytes((accepted.config.folder / name).read_bytes())
    config = replace(
        accepted.config,
        artefacts=(tmp_path / "net.onnx",),
        baseline=tmp_path / "base.json",
        folder=tmp_path,
    )
    return Bench(accepted.source, config)


def failed(result: GateResult, rule: str, *words: str) -> None:
    """It failed by a rule, and the finding names what was planted, and what to do next."""
    assert result.outcome == "failed"
    told = [each for each in result.findings if each.outcome == "fail" and each.rule == rule]
    assert told, [(each.rule, each.outcome) for each in result.findings]
    text = f"{told[0].message} {told[0].cause}"
    for word in words:
        assert word in text
    assert told[0].next_command.startswith("edgeq ")


def undecided(result: GateResult, rule: str, *words: str) -> None:
    """Nothing was judged, since what is compared is not the same; the finding says what."""
    assert result.outcome == "inconclusive"
    (told,) = [each for each in result.findings if each.rule == rule]
    for word in words:
        assert word in told.message
    assert told.next_command


def other_outputs(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sessions of a class answer with one step more than they compute."""
    honest = kind.run_all

    def run_all(self: object, batch: object) -> object:
        return {name: values + np.float32(0.1) for name, values in honest(self, batch).items()}

    monkeypatch.setattr(kind, "run_all", run_all)


def commit(folder: Path) -> None:
    """Commit all that lies in a folder."""
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    for words in (["init", "-q"], ["add", "."], [*who, "commit", "-qm", "all"]):
        environment = {**os.environ, "GIT_CONFIG_GLOBAL": os.devnull}
        subprocess.run(["git", *words], cwd=folder, check=True, env=environment)


def test_nothing_planted_passes(bench: Bench) -> None:
    result = bench.gate()
    assert result.outcome == "passed", result
    assert len(result.findings) == 2 + 1 + 2 + 1 + 2


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        pytest.param("weights in noise", ("weights of 'b/Conv'", "sum"), id="quantiser rounding"),
        pytest.param("BatchNorm folded otherwise", ("weight grid of 'b/Conv'",), id="fold"),
        pytest.param(
            "pads on one side", ("operator 'b/Conv'", "became (0, 0, 2, 2)"), id="padding"
        ),
        pytest.param("bias of a channel +40", ("bias of 'b/Conv'", "8 integers"), id="one integer"),
    ],
)
def test_a_fault_in_the_file(bench: Bench, kind: str, words: tuple[str, ...]) -> None:
    bench.plant(kind)
    result = bench.gate()
    failed(result, "exactness.same", *words)
    (told,) = [each for each in result.findings if each.rule == "exactness.same"]
    before = bench.file.with_name("net.before.onnx")
    assert told.next_command == f"edgeq diff {before} {bench.file}"
    assert f"the baseline's file is not at hand: put a copy at {before}" in told.cause


def test_a_dialect(bench: Bench) -> None:
    made = edgeq.export(
        bench.file,
        path=bench.file.with_name("other.onnx"),
        options=ExportOptions(activation_dtype="int8"),
    )
    assert made.path is not None
    bench.file.write_bytes(made.path.read_bytes())
    failed(bench.gate(), "exactness.same", "uint8 from 0 to 255 became", "int8 from -128 to 127")


def test_a_wrong_file(bench: Bench) -> None:
    model = small(levels=60)
    for each in model.graph.initializer:
        values = onnx.numpy_helper.to_array(each)
        if values.ndim > 1:
            turned = np.ascontiguousarray(np.roll(values[::-1], 1, 0))
            each.CopyFrom(onnx.numpy_helper.from_array(turned, each.name))
    bench.write(model)
    failed(bench.gate(), "exactness.same", "another network")
    failed(bench.gate(), "accuracy.max_drop", "another network")


def test_the_emulator(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made = bench_in(tmp_path, small())
    rules = read_rules({"changed": {"max_outputs": 0}, "drift": {"max_lsb_per_operator": 1}})
    asked = replace(made.config, rules=rules, targets=("ort-cpu-ref", "emulator"))
    bench = Bench(made.source, asked)
    run.update(asked, source=bench.source)
    other_outputs(EmulatorSession, monkeypatch)
    result = bench.gate()
    failed(result, "changed.max_outputs", "net.onnx @ emulator: 24 of 24 samples")
    wrong = {each.stage for each in result.findings if each.outcome == "fail"}
    assert wrong == {"net.onnx @ emulator"}
    assert "emulator itself computes otherwise" in result.complaints[0].cause
    (drift,) = [each for each in result.findings if each.metric == "drift"]
    assert (drift.stage, drift.outcome) == ("net.onnx @ emulator", "pass")
    assert "given equal inputs, " in drift.message


def test_preprocessing(bench: Bench) -> None:
    fed = bench.source.with_preprocessing(Preprocessing.normalized((0.5,), (0.5,)))
    undecided(
        bench.gate(fed),
        "data",
        "samples are fed with raw, and this run's with scale 1/255, mean 0.5",
    )


def test_the_order_of_samples(bench: Bench) -> None:
    turned = bench.source.test.take(np.arange(COUNT - 1, -1, -1))
    undecided(bench.gate(replace(bench.source, test=turned)), "data", "in another order")


def test_pixels(bench: Bench) -> None:
    part = bench.source.test
    inverted = replace(part, inputs={"": -np.asarray(part.images[:])})
    undecided(bench.gate(replace(bench.source, test=inverted)), "data", "other pixels")


def test_labels(bench: Bench) -> None:
    part = bench.source.test
    moved = replace(part, labels=(part.class_labels + 1) % 5)
    undecided(bench.gate(replace(bench.source, test=moved)), "data", "other labels")


def test_threads(bench: Bench) -> None:
    more = Bench(bench.source, replace(bench.config, threads=2, targets=("ort-cpu-ref",)))
    undecided(more.gate(), "threads", "taken with threads = 1, and this run with 2")


def test_the_level_of_optimisation(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    plain = replace(ort.cpu, optimize=False)
    load = TARGETS.load
    monkeypatch.setattr(TARGETS, "load", lambda name: plain if name == "ort-cpu" else load(name))
    failed(bench.gate(), "placement.same", "operators moved", "integer QLinearConv became float")


def test_another_version_of_a_runtime(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    other_outputs(ort.OrtSession, monkeypatch)
    here = fingerprint()
    newer = replace(here, runtimes={**here.runtimes, "onnxruntime": "99.0"})
    monkeypatch.setattr(baselines, "fingerprint", lambda: newer)
    result = bench.gate()
    failed(result, "changed.max_outputs", "file is the baseline's", "onnxruntime: ", "99.0 now")


def test_a_stale_baseline(bench: Bench) -> None:
    bench.plant("bias of a channel +40")
    commit(bench.config.folder)
    result = bench.gate(against="HEAD")
    (told,) = [each for each in result.findings if each.rule == "baseline"]
    assert told.outcome == "inconclusive"
    assert "is stale: it was taken of another net.onnx" in told.message
    assert result.outcome == "failed"


def saturating() -> onnx.ModelProto:
    """A network of which pairs of products leave 16 bits."""
    graph = Graph()
    x = graph.input("x", ["N", *SHAPE], Grid(0.004))
    conv = graph.weighted("Conv", x, "conv", (8, 4, 3, 3), Grid(2.0), relu=True, levels=127)
    pooled = graph.op("GlobalAveragePool", [conv], "mean", Grid(1.0))
    flat = graph.op("Flatten", [pooled], "flat", Grid(1.0))
    graph.weighted("Gemm", flat, "last", (5, 8), Grid(2.0, 128), transB=1, levels=20)
    return graph.proto("last_dequantized")


def test_a_processor_that_saturates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bench = bench_in(tmp_path, saturating())
    here = fingerprint()
    isa = {"then": ("avx2", "avx_vnni"), "now": ("avx2",)}
    machines = {when: replace(here, architecture="x86_64", isa=isa[when]) for when in isa}
    monkeypatch.setattr(pair_saturation, "fingerprint", lambda: machines["then"])
    run.update(bench.config, source=bench.source, accept_guessing=True)
    monkeypatch.setattr(pair_saturation, "fingerprint", lambda: machines["now"])
    result = bench.gate()
    failed(result, "saturation.none", "net.onnx @ ort-cpu", "sums are wrong", "without VNNI")


PROFILE = """\
summary = "ours"
[arithmetic]
rounding = "half-even"
accumulator_bits = 32
overflow = "wrap"
weight_bits = [1, 8]
activation_bits = [1, 8]
source = "its manual"
"""


def test_a_profile_of_the_emulator_that_rounds_otherwise(tmp_path: Path) -> None:
    """Without a patch: the emulated arithmetic is a file of the user's own."""
    profile = tmp_path / "mine.toml"
    profile.write_text(PROFILE)
    bench = bench_in(tmp_path, small())
    asked = replace(
        bench.config,
        targets=("ort-cpu-ref", f"emulator:{profile}"),
        samples=4,
        rules=read_rules({"changed": {"max_outputs": 0}}),
    )
    bench = Bench(bench.source, asked)
    run.update(asked, source=bench.source, accept_guessing=True)
    assert bench.gate().outcome == "passed"
    profile.write_text(PROFILE.replace("half-even", "shift-down"))
    failed(bench.gate(), "changed.max_outputs", "emulator:", "computes it otherwise")


def test_an_emulated_processor_that_saturates(tmp_path: Path) -> None:
    bench = bench_in(tmp_path, saturating())
    asked = replace(bench.config, targets=("ort-cpu-ref", "emulator:avx2"), samples=4)
    bench = Bench(bench.source, asked)
    run.update(asked, source=bench.source, accept_guessing=True)
    result = bench.gate()
    failed(result, "saturation.none", "@ emulator:avx2", "pairs of products saturate")


def test_a_level_of_optimisation_as_a_stage(bench: Bench) -> None:
    rules = read_rules({"integer_share": {"min": 0.95}})
    result = Bench(bench.source, replace(bench.config, rules=rules)).gate()
    failed(result, "integer_share.min", "ort-cpu-ref: 0.00 % of the MACs are in integers")


def test_an_update_names_the_file_whose_integers_alone_changed(bench: Bench) -> None:
    bench.plant("bias of a channel +40")
    result = run.update(bench.config, source=bench.source, accept_worse=True)
    assert any(each.startswith("net.onnx is another file: bias of") for each in result.remarks)
    assert ("net.onnx", "parts with other numbers", 1.0) in [
        (each.stage, each.metric, each.now) for each in result.deltas
    ]


def test_an_artefact_without_a_stage_is_refused_by_name(bench: Bench) -> None:
    config = replace(
        bench.config,
        artefacts=(bench.file, bench.config.folder / "other.onnx"),
        stages=("net.onnx @ ort-cpu",),
        path=bench.config.folder / "edgeq-gate.toml",
    )
    (bench.config.folder / "other.onnx").write_bytes(bench.file.read_bytes())
    with pytest.raises(UsageError, match="no stage runs it") as refused:
        run.gate(config, source=bench.source)
    assert '"other.onnx @ TARGET"' in refused.value.hint
    assert f"--config {config.path}" in refused.value.hint


def test_what_is_told_of_a_damaged_baseline_is_short(bench: Bench) -> None:
    whole = bench.config.baseline.read_text()
    for damaged in (
        whole.replace('"samples": 24', f'"samples": {"9" * 4000}'),
        whole.replace('"net.onnx @ ort-cpu"', f'"{"n" * 5000}"'),
        whole.replace('"stages"', '"stagez"'),
    ):
        assert damaged != whole
        bench.config.baseline.write_text(damaged)
        with pytest.raises(ArtefactError, match="no usable baseline") as refused:
            bench.gate()
        assert len(refused.value.what) < 1000


def test_a_file_that_was_committed_after_its_baseline_is_compared_with_the_commit_before(
    bench: Bench,
) -> None:
    commit(bench.file.parent)
    bench.plant("bias of a channel +40")
    commit(bench.file.parent)
    (told,) = [each for each in bench.gate().findings if each.rule == "exactness.same"]
    assert told.cause.startswith("the file is another one: bias in b/Conv: +40 in channel")
    before = bench.file.with_name("net.before.onnx")
    shown, _, asked = told.next_command.partition(" && ")
    assert re.fullmatch(
        rf"git -C {bench.file.parent} show [0-9a-f]{{12}}:./net.onnx > {before}", shown
    )
    assert asked == f"edgeq diff {before} {bench.file}"
    subprocess.run(shown, shell=True, check=True)  # noqa: S602  # our own command
    shutil.rmtree(bench.file.parent / ".git")
    (told,) = [each for each in bench.gate().findings if each.rule == "exactness.same"]
    assert told.next_command == asked, "the copy tells the same without git"
