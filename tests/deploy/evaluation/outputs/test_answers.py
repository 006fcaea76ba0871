"""What counts as an answer.

Scores and classes have an accuracy, anything else is told as what it is, and no gate accepts it.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models.qdq_models import Graph, Grid
from tests.support.runtimes import fake_targets

import edgeq.data
from edgeq.data import DataSource, Preprocessing, Split
from edgeq.data.statistics import IMAGENET
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.evaluation.emulation import emulate
from edgeq.deploy.evaluation.outputs.answers import Answering, answering, remarks, require_accuracy
from edgeq.deploy.evaluation.profile import profile
from edgeq.deploy.evaluation.survey import survey
from edgeq.deploy.pipeline.export import export
from edgeq.errors import TargetError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.metrics.accuracy import accuracy, share_right
from edgeq.target import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

GRID = Grid(0.05, 128)
CLASSES = 5
SHAPE = (3, 4, 4)


def _source(samples: int = 12, classes: int = CLASSES) -> DataSource:
    images = np.random.default_rng(1).integers(
        0, 256, (samples, *SHAPE[1:], SHAPE[0]), dtype=np.uint8
    )
    part = Split({"": images}, np.arange(samples) % classes, np.arange(samples))
    return DataSource(
        "noise",
        tuple("abcdefghij"[:classes]),
        part,
        part,
        part,
        Preprocessing.normalized((0.5,) * 3, (0.25,) * 3),
    )


def _save(graph: Graph, folder: Path, *outputs: str) -> Path:
    path = folder / "net.onnx"
    folder.mkdir(parents=True, exist_ok=True)
    path.write_bytes(onnx.shape_inference.infer_shapes(graph.proto(*outputs)).SerializeToString())
    return path


def _classifier(graph: Graph, channels: int = CLASSES) -> str:
    source = graph.input("x", ["N", *SHAPE], Grid(0.04, 128))
    convolved = graph.weighted(
        "Conv", source, "conv", (8, 3, 3, 3), GRID, kernel_shape=[3, 3], relu=True
    )
    flat = graph.op("Flatten", [convolved], "flat", GRID)
    return graph.weighted("Gemm", flat, "head", (channels, 32), GRID, transB=1)


def _argmax(folder: Path, kind: int | None = onnx.TensorProto.INT32, *, keepdims: int = 0) -> Path:
    graph = Graph()
    graph.node("ArgMax", [_classifier(graph)], "place", axis=1, keepdims=keepdims)
    if kind is not None:
        graph.node("Cast", ["place"], "y", to=kind)
    return _save(graph, folder, "y" if kind is not None else "place")


def _scores(folder: Path) -> Path:
    graph = Graph()
    return _save(graph, folder, _classifier(graph))


def _tflite(path: Path) -> Path:
    return export(path, ["tflite"], path.parent, ExportOptions(), stem="net")[0].path


SPEC = TensorSpec("y", (), "float32")


@pytest.mark.parametrize(
    ("shape", "spec", "kind", "unscored"),
    [
        ((5,), SPEC, "scores", ""),
        ((5, 1, 1), SPEC, "scores", ""),
        ((1, 1, 5), SPEC, "scores", ""),
        ((), TensorSpec("y", (), "int64"), "classes", ""),
        ((1,), TensorSpec("y", (), "int32"), "classes", ""),
        (
            (4, 4),
            TensorSpec("y", (), "int64"),
            "classes",
            "answers with 4 x 4 numbers of classes a sample",
        ),
        ((1,), SPEC, "values", "answers with one value a sample"),
        ((4,), SPEC, "values", "answers with 4 values a sample, and noise has 5 classes"),
        ((6,), SPEC, "values", "answers with 6 values a sample, and noise has 5 classes"),
        ((5, 2), SPEC, "values", "answers with 5 x 2 values a sample, and noise has 5 classes"),
        (
            (1, 5, 5),
            SPEC,
            "values",
            "answers with 1 x 5 x 5 values a sample, and noise has 5 classes",
        ),
    ],
)
def test_what_an_output_is(
    tmp_path: Path, shape: tuple[int, ...], spec: TensorSpec, kind: str, unscored: str
) -> None:
    read = answering(fake_targets.artefact(tmp_path, "onnx"), spec, shape, _source())
    assert (read.kind, read.unscored) == (kind, unscored)


def test_labels_that_count_from_one_are_told(tmp_path: Path) -> None:
    source = _source()
    part = replace(source.test, labels=1 + np.arange(len(source.test)) % CLASSES)
    none = part.take(np.zeros(0, np.int64))
    six = replace(source, classes=tuple("abcdef"), train=none, validation=part, test=part)
    read = answering(fake_targets.artefact(tmp_path, "onnx"), SPEC, (CLASSES,), six)
    assert read.unscored.endswith("6 classes, of which 0 is never met: number them from 0")
    other = replace(six, test=replace(part, labels=np.arange(len(part)) % CLASSES))
    read = answering(fake_targets.artefact(tmp_path, "onnx"), SPEC, (CLASSES,), other)
    assert read.unscored.endswith("6 classes")


def test_a_product_that_happens_to_be_the_number_of_classes_is_no_score(tmp_path: Path) -> None:
    assert (
        answering(fake_targets.artefact(tmp_path, "onnx"), SPEC, (2, 2), _source(classes=4)).kind
        == "values"
    )


def test_several_outputs_have_no_accuracy(tmp_path: Path) -> None:
    graph = Graph()
    scores = _classifier(graph)
    graph.node("DequantizeLinear", ["conv_quantized", "conv_scale", "conv_zero_point"], "boxes")
    path = _save(graph, tmp_path, scores, "boxes")
    found = compare(
        [Pair(path, "ort-cpu-ref"), Pair(_tflite(path), "tflite-ref")], _source()
    ).comparison
    assert [stage.accuracy for stage in found.stages] == [None, None]
    assert "has 2 outputs" in found.remarks[0]
    assert found.hops[0].output.sqnr_db > 30


def test_classes_of_an_argmax_are_answers_on_every_target(tmp_path: Path) -> None:
    scores, classes = _scores(tmp_path / "scores"), _argmax(tmp_path / "classes")
    tflite, source = _tflite(classes), _source()
    expected = compare([Pair(scores, "ort-cpu-ref")], source).comparison.stages[0].accuracy
    pairs = [
        *(
            Pair(classes, target)
            for target in ("ort-cpu-ref", "emulator", "emulator:onnx-reference")
        ),
        *(Pair(tflite, target) for target in ("tflite-ref", "tflite-builtin", "emulator")),
    ]
    found = compare(pairs, source).comparison
    assert {stage.answers for stage in found.stages} == {"classes"}
    assert {stage.accuracy for stage in found.stages} == {expected}
    assert expected is not None
    assert 0 < expected.correct < expected.total
    assert {stage.changed for stage in found.stages} == {0}


@pytest.mark.parametrize("kind", [onnx.TensorProto.INT32, None])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_files_that_end_in_classes_are_timed_and_predicted(
    tmp_path: Path, kind: int | None, keepdims: int
) -> None:
    path = _argmax(tmp_path, kind, keepdims=keepdims)
    tflite = _tflite(path)
    pairs = [Pair(path, "ort-cpu"), Pair(tflite, "tflite"), Pair(tflite, "tflite-ref")]
    assert [row.target for row in profile(pairs, seconds=0.01)] == [
        "ort-cpu",
        "tflite",
        "tflite-ref",
    ]
    for file in (path, tflite):
        answers = emulate(file, "tflm", source=_source()).answers
        assert answers is not None
        assert answers.accuracy is not None


def test_micro_takes_classes_of_32_bits_and_says_so_of_64(tmp_path: Path) -> None:
    pytest.importorskip("tflite_micro")
    profile([Pair(_tflite(_argmax(tmp_path / "32")), "tflm")], seconds=0.01)
    with pytest.raises(TargetError, match="Cast to int32"):
        profile([Pair(_tflite(_argmax(tmp_path / "64", None)), "tflm")], seconds=0.01)


def test_survey_reads_classes_too(tmp_path: Path) -> None:
    found = survey(
        [_argmax(tmp_path)],
        _source(),
        targets=["ort-cpu-ref", "tflite-ref"],
        reference="emulator",
        seconds=None,
    )
    assert [row.flipped for row in found.rows] == [None, 0, 0]
    assert len({row.accuracy for row in found.rows}) == 1
    assert found.rows[0].accuracy is not None


def test_regression_has_drift_and_no_accuracy(tmp_path: Path) -> None:
    graph = Graph()
    path = _save(graph, tmp_path, _classifier(graph, 1))
    source = _source(classes=1)
    found = compare(
        [Pair(path, "ort-cpu-ref"), Pair(_tflite(path), "tflite-ref")], source
    ).comparison
    assert [
        (stage.accuracy, stage.agreement, stage.changed, stage.flipped) for stage in found.stages
    ] == [(None, None, None, ())] * 2
    (told,) = found.remarks
    assert told.startswith(
        "net.onnx @ ort-cpu-ref, net.tflite @ tflite-ref: no accuracy, for it answers "
        "with one value a sample; "
    )
    assert told.endswith("drift and agreement tell how far stages are apart")


def test_the_gate_judges_no_regression_and_no_detection(
    fakes: dict[str, fake_targets.FakeTarget],
    refusal: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    path, baseline = fake_targets.artefact(tmp_path, "onnx"), tmp_path / "base.json"
    arguments = ["gate", path, "--data", "fake", "--baseline", baseline, "--target", "ort-cpu"]
    assert run([*map(str, arguments), "--update"]) == 0
    real = fake_targets.FakeSession.run
    for shape in ((2, 2), (1,), (3,)):
        monkeypatch.setattr(
            fake_targets.FakeSession,
            "run",
            lambda self, batch, shape=shape: np.resize(real(self, batch), (len(batch), *shape)),
        )
        before = baseline.read_bytes()
        for more in ([], ["--update"]):
            told = refusal(*arguments, *more)
            assert "net.onnx @ ort-cpu has no accuracy to judge: it answers with" in told
            assert "edgeq compare" in told
        assert baseline.read_bytes() == before


def test_class_maps_agree_by_place(tmp_path: Path) -> None:
    graph = Graph()
    source = graph.input("x", ["N", *SHAPE], Grid(0.04, 128))
    convolved = graph.weighted(
        "Conv", source, "conv", (CLASSES, 3, 1, 1), GRID, kernel_shape=[1, 1]
    )
    graph.node("ArgMax", [convolved], "y", axis=1, keepdims=0)
    path = _save(graph, tmp_path, "y")
    found = compare(
        [Pair(path, "ort-cpu-ref"), Pair(_tflite(path), "tflite-ref")], _source()
    ).comparison
    assert found.stages[1].agreement == pytest.approx(1, abs=0.05)
    assert "4 x 4 numbers of classes" in found.remarks[0]


@pytest.mark.parametrize(
    ("right", "of", "classes", "near"),
    [
        (69, 500, 10, True),
        (50, 500, 10, True),
        (150, 500, 10, False),
        (260, 500, 2, True),
        (300, 500, 2, False),
        (1, 1000, 1000, True),
        (50, 1000, 1000, False),
        (9, 20, 4, False),
        (6, 20, 4, True),
        (5, 5, 1, False),
    ],
)
def test_what_guessing_reaches_is_told(
    tmp_path: Path, right: int, of: int, classes: int, near: bool
) -> None:
    part = _source().test
    source = DataSource(
        "many", ("c",) * classes, part, part, part, Preprocessing.normalized((), ())
    )
    read = answering(
        fake_targets.artefact(tmp_path, "onnx"), TensorSpec("y", (), "int64"), (1,), source
    )
    told = remarks([("net", read, accuracy(np.arange(of) < right))], source)
    assert bool(told) is near
    if (right, of) == (69, 500):
        assert told[0].startswith(
            "net: 13.80 % is hardly better than guessing among 10 classes (10.00 %). "
            "Likely causes: "
        )


def test_commands_tell_it(
    fakes: dict[str, fake_targets.FakeTarget], capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    path, baseline = fake_targets.artefact(tmp_path, "onnx", wrong=40), tmp_path / "base.json"
    words = (
        "net.onnx @ ort-cpu: 0.00 % is worse than guessing among 4 classes (25.00 %). 75.00 % are "
        "right where the network counts one more than the labels: the classes are off by one"
    )
    assert run(["compare", str(path), "--data", "fake", "-t", "ort-cpu"]) == 0
    assert words in capsys.readouterr().err
    assert (
        run(
            [
                "gate",
                str(path),
                "--data",
                "fake",
                "-t",
                "ort-cpu",
                "--baseline",
                str(baseline),
                "--update",
                "--accept-guessing",
            ]
        )
        == 0
    )
    assert words in capsys.readouterr().err
    assert run(["compare", str(path), "--data", "fake", "-t", "ort-cpu", "--json"]) == 0
    (told,) = json.loads(capsys.readouterr().out)["comparison"]["remarks"]
    assert told == words


def test_a_stage_that_is_right_clears_the_data() -> None:
    source = _source()
    read = Answering("scores")
    good, bad, few = share_right(90, 100), share_right(20, 100), share_right(2, 3)
    (told,) = remarks([("a", read, good), ("b", read, bad)], source)
    assert told.startswith(
        "b: 20.00 % is no better than guessing among 5 classes (20.00 %). a reaches 90.00 "
        "% on the same samples"
    )
    (lucky,) = remarks([("c", read, few)], replace(source, classes=("x", "y")))
    assert (
        lucky == "c: 66.67 % of 3 samples may be luck, for guessing among 2 classes reaches 50.00 "
        "%. Use more samples"
    )


def test_the_normalisation_in_use_is_not_proposed() -> None:
    source = edgeq.data.load("digits")
    colours = replace(source.test, inputs={"": source.test.images[:].repeat(3, axis=-1)})
    source = replace(
        source, test=colours, preprocessing=Preprocessing.normalized((0.3,) * 3, (0.4,) * 3)
    )
    for given, ends in [
        (source, "with --preprocess imagenet or --preprocess raw"),
        (source.with_normalization(*IMAGENET), "with --preprocess dataset or --preprocess raw"),
        (
            source.with_preprocessing(Preprocessing()),
            "with --preprocess dataset or --preprocess imagenet",
        ),
    ]:
        (told,) = remarks([("net", Answering("scores"), share_right(10, 100))], given)
        assert told.endswith(ends)


def test_a_gate_needs_every_stage_to_have_one(tmp_path: Path) -> None:
    read: dict[str, Any] = {
        "a": answering(fake_targets.artefact(tmp_path, "onnx"), SPEC, (5,), _source())
    }
    require_accuracy(read.items())
    read["b"] = answering(fake_targets.artefact(tmp_path, "onnx"), SPEC, (2, 5), _source())
    with pytest.raises(UsageError, match="b has no accuracy to judge"):
        require_accuracy(read.items())
