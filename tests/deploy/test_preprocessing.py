"""How samples are fed: as is said, as an artefact notes, or as the data have it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

import edgeq
from edgeq.data import Preprocessing, load
from edgeq.deploy.inputs import data_for, load_data, without_set_aside
from edgeq.deploy.preprocessing import AskedPreprocessing, noted_by, resolved
from edgeq.errors import ArtefactError, UnknownName, UsageError
from edgeq.formats.preprocessing_note import KEY, note

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MADE: Any = {"ir_version": 10, "opset_imports": [onnx.helper.make_opsetid("", 21)]}
NOTED = Preprocessing.normalized((0.25,), (0.5,))


def asked(preprocess: str | None = None, **settings: str) -> AskedPreprocessing:
    return AskedPreprocessing(preprocess, settings)


@pytest.fixture
def artefact(tmp_path: Path) -> Path:
    """An ONNX file that notes a preprocessing."""
    model = onnx.helper.make_model(
        onnx.helper.make_graph([], "net", [], []),
        ir_version=10,
        opset_imports=[onnx.helper.make_opsetid("", 21)],
    )
    onnx.helper.set_model_props(model, note(NOTED.to_dict()))
    path = tmp_path / "net.onnx"
    onnx.save(model, path)
    return path


def test_the_data_say_it_where_nobody_else_does() -> None:
    assert load_data("digits", None).preprocessing == load("digits").preprocessing


def test_an_artefact_says_it_before_the_data(artefact: Path) -> None:
    assert noted_by(artefact) == NOTED
    assert load_data("digits", None, asked(), [artefact]).preprocessing == NOTED


def test_flags_change_what_the_data_have() -> None:
    told = asked("raw", resize="4x6", scale="2/255", mean="0.5", channels="bgr", layout="nhwc")
    source = load_data("digits", None, told)
    assert source.preprocessing == Preprocessing(
        resize=(4, 6), scale=Fraction(2, 255), mean=(0.5,), channels="bgr", layout="nhwc"
    )
    assert source.shape == (4, 6, 1)


def test_sound_is_told_in_one_flag() -> None:
    told = asked(audio="log-mel:rate=8000:length=8000:mels=20")
    audio = resolved(load("digits"), told, ()).audio
    assert audio is not None
    assert (audio.kind, audio.rate, audio.mels) == ("log-mel", 8000, 20)


def test_a_toml_file_says_all_of_it(tmp_path: Path) -> None:
    path = tmp_path / "fed.toml"
    path.write_text('scale = "1/255"\nmean = [0.5]\nletterbox = [16, 16]\n')
    found = resolved(load("digits"), asked(str(path), std="0.5"), ())
    assert found == Preprocessing(
        scale=Fraction(1, 255), mean=(0.5,), std=(0.5,), letterbox=(16, 16)
    )
    path.write_text("scale = ")
    with pytest.raises(ArtefactError, match="is no TOML"):
        resolved(load("digits"), asked(str(path)), ())


@pytest.mark.parametrize(
    "told", [asked("raw"), asked("dataset"), asked(mean="0.3"), asked(scale="1")]
)
def test_a_contradiction_shows_both(artefact: Path, told: AskedPreprocessing) -> None:
    said = r"net\.onnx notes that it is fed with scale 1/255, mean 0.25, std 0.5, "
    with pytest.raises(UsageError, match=said) as refused:
        resolved(load("digits"), told, [artefact])
    assert "and what is asked for is" in str(refused.value)


@pytest.mark.parametrize("told", [asked(mean="0.25"), asked(resize="16x16"), asked(layout="nhwc")])
def test_what_agrees_or_was_left_open_is_no_contradiction(
    artefact: Path, told: AskedPreprocessing
) -> None:
    found = resolved(load("digits"), told, [artefact])
    assert replace(found, resize=(), layout="nchw") == NOTED


def test_two_artefacts_that_are_fed_otherwise(artefact: Path, tmp_path: Path) -> None:
    model = onnx.load(artefact)
    onnx.helper.set_model_props(model, note(Preprocessing().to_dict()))
    onnx.save(model, tmp_path / "raw.onnx")
    with pytest.raises(UsageError, match=r"and .*raw\.onnx with raw"):
        resolved(load("digits"), asked(), [artefact, tmp_path / "raw.onnx"])


@pytest.mark.parametrize("told", ["[]", "{", '{"colour": 1}', '{"mean": "a"}'])
def test_a_note_of_something_else(artefact: Path, told: str) -> None:
    model = onnx.load(artefact)
    onnx.helper.set_model_props(model, {KEY: told})
    onnx.save(model, artefact)
    if told.startswith('{"'):
        with pytest.raises(ArtefactError, match="notes a preprocessing that this edgeq"):
            noted_by(artefact)
    else:
        assert noted_by(artefact) is None


def test_a_name_that_is_none() -> None:
    with pytest.raises(UnknownName, match="did you mean 'imagenet'"):
        resolved(load("digits"), asked("imagnet"), ())


@pytest.mark.parametrize("told", [asked(resize="big"), asked(mean="a,b"), asked(scale="half")])
def test_numbers_that_are_none(told: AskedPreprocessing) -> None:
    with pytest.raises(UsageError):
        resolved(load("digits"), told, ())


def linear(path: Path, classes: int = 10) -> Path:
    """A float network of one layer for digits."""
    weights = np.random.default_rng(0).normal(0, 0.1, (64, classes)).astype(np.float32)
    graph = onnx.helper.make_graph(
        [
            onnx.helper.make_node("Flatten", ["x"], ["flat"]),
            onnx.helper.make_node("Gemm", ["flat", "w"], ["y"]),
        ],
        "net",
        [onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 1, 8, 8])],
        [onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, classes])],
        [onnx.numpy_helper.from_array(weights, "w")],
    )
    onnx.save(
        onnx.helper.make_model(graph, **MADE),
        path,
    )
    return path


def test_calibration_notes_it_and_tflite_keeps_it(
    tmp_path: Path, answer: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    source, made = linear(tmp_path / "float.onnx"), tmp_path / "made.onnx"
    answer("calibrate", source, "-o", made, "--data", "digits", "--samples", 16, "--mean", "0.5")
    answer("export", made, "-o", tmp_path / "out", "--to", "tflite")
    fed = replace(load("digits").preprocessing, mean=(0.5,))
    assert noted_by(made) == noted_by(tmp_path / "out" / "made.tflite") == fed
    line = ("compare", made, "--data", "digits", "--target", "ort-cpu-ref", "--limit", 8)
    assert "is fed with" in refusal(*line, "--mean", "0.4")


def test_training_notes_it_and_goes_on_with_it(
    tmp_path: Path, answer: Callable[..., Any], refusal: Callable[..., str]
) -> None:
    data, rng = tmp_path / "squares", np.random.default_rng(0)
    for part, count in (("train", 40), ("test", 8)):
        (data / part).mkdir(parents=True)
        np.save(data / part / "inputs.npy", rng.integers(0, 256, (count, 9, 9, 1), np.uint8))
        np.save(data / part / "labels.npy", np.arange(count) % 2)
    run = ("train", "resnet8", "--data", data, "--epochs", 1, "--batch-size", 32)
    first, second = tmp_path / "first", tmp_path / "second"
    answer(*run, "--fp32", "-o", first, "--resize", "8x8", "--mean", "0.5")
    fed = noted_by(first)
    assert fed == Preprocessing(resize=(8, 8), scale=Fraction(1, 255), mean=(0.5,))
    bits = ("--weight-bits", 8, "--act-bits", 8, "--init-from", first / "best.safetensors")
    answer(*run, *bits, "-o", second)
    assert noted_by(second) == fed
    assert "is fed with" in refusal(*run, *bits, "-o", tmp_path / "third", "--mean", "0.4")
    assert "is fed with" in refusal(*run, "--fp32", "-o", first, "--resume", "--mean", "0.4")
    assert "float numbers" in refusal(*run, "--fp32", "-o", first, "--dtype", "uint8")


def test_a_graph_has_no_preprocessing(refusal: Callable[..., str], tmp_path: Path) -> None:
    told = refusal("train", "pde-gcn-64", "--scale", "1/255", "-o", tmp_path / "run")
    assert "a graph is fed as it is" in told


def test_data_of_one_part_calibrate_too(tmp_path: Path, answer: Callable[..., Any]) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (40, 8, 8)).cumsum(1).cumsum(2)
    np.save(tmp_path / "x.npy", (noise / noise.max() * 255).astype(np.uint8))
    source, made = linear(tmp_path / "float.onnx"), tmp_path / "made.onnx"
    found = answer("calibrate", source, "-o", made, "--data", tmp_path / "x.npy", "--samples", 16)
    assert (found["split"], found["samples"]) == ("test", 16)
    left = without_set_aside(load_data(str(tmp_path / "x.npy"), None), [made])
    assert (len(left.train), len(left.test)) == (16, 24)
    assert not {*left.train.ids} & {*left.test.ids}
    answer("export", made, "-o", tmp_path / "out", "--to", "tflite")
    for each, target in (
        (made, "ort-cpu-ref,emulator"),
        (tmp_path / "out" / "made.tflite", "tflite-ref"),
        (source, "ort-cpu-ref"),
    ):
        line = ("compare", each, "--data", tmp_path / "x.npy", "--target", target)
        comparison = answer(*line)["comparison"]
        held = "40 samples: without the 16 calibrated on" in comparison["remarks"][0]
        assert comparison["samples"] == (24 if held else 40)
        assert held is (each != source)
        assert {stage["accuracy"] for stage in comparison["stages"]} == {None}
        assert {stage["agreement"] for stage in comparison["stages"]} == {1}


def test_in_python_it_is_a_name_a_mapping_or_itself() -> None:
    pair = (np.zeros((4, 8, 8, 3), np.uint8), np.arange(4))
    source = edgeq.load_data(pair, preprocess={"resize": [4, 4], "mean": "0.5,0.5,0.5"})
    assert (source.shape, source.mean) == ((3, 4, 4), (0.5,) * 3)
    for told in (Preprocessing(), NOTED):
        assert edgeq.load_data("digits", preprocess=told).preprocessing == told


def test_in_python_files_are_fed_as_they_note(tmp_path: Path) -> None:
    raw = edgeq.load_data("digits", preprocess="raw")
    edgeq.calibrate(linear(tmp_path / "float.onnx"), raw, tmp_path / "made.onnx", samples=16)
    assert data_for([tmp_path / "made.onnx"], "digits").preprocessing == Preprocessing()
