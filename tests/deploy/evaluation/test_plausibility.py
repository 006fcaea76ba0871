"""A network that answers like guessing is doubted before it is calibrated."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import pytest
from PIL import Image

import edgeq
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.doubting.class_order import other_order
from edgeq.deploy.evaluation.plausibility import doubts

if TYPE_CHECKING:
    from pathlib import Path


def nearest_mean(
    path: Path, level: float, outputs: int = 10, shape: tuple[int, ...] = (1, 1, 8, 8)
) -> Path:
    """A network that knows the digits by their means, in pixels less a level.

    It may have fewer outputs, or more that are never the largest.
    """
    digits = edgeq.load_data("digits", preprocess="raw")
    images = digits.train.images[:].reshape(-1, 64).astype(np.float32) - level
    means = np.stack([images[digits.train.class_labels == label].mean(0) for label in range(10)])
    weights, bias = np.zeros((64, outputs)), np.full(outputs, -1e6)
    weights[:, :10], bias[:10] = 2 * means.T[:, :outputs], -(means**2).sum(1)[:outputs]
    constants = {"w": weights, "b": bias}
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "w", "b"], ["y"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", shape), ("y", (1, outputs)))
    ]
    initializers = [
        onnx.numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name)
        for name, value in constants.items()
    ]
    graph = onnx.helper.make_graph(nodes, "net", ends[:1], ends[1:], initializers)
    opset = onnx.helper.make_opsetid("", 21)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)
    return path


@pytest.mark.parametrize(
    ("preprocess", "said"),
    [
        ("raw", ""),
        ({"scale": "1/2550"}, "is the preprocessing right? --preprocess raw reaches"),
        (
            {"scale": "1/2550", "layout": "nhwc", "resize": [8, 8], "interpolation": "nearest"},
            "--preprocess raw --resize 8x8 --interpolation nearest --layout nhwc reaches",
        ),
    ],
)
def test_what_scored_better_is_named(tmp_path: Path, preprocess: Any, said: str) -> None:
    source = edgeq.load_data("digits", preprocess=preprocess)
    shape = (1, *source.shape)
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0, shape=shape), source)
    assert said in told
    assert bool(told) is bool(said)


@pytest.mark.parametrize("order", [range(1, 11), [3, 1, 4, 0, 5, 9, 2, 6, 8, 7]])
def test_classes_in_another_order_are_found(tmp_path: Path, order: Any) -> None:
    digits = edgeq.load_data("digits", preprocess="raw")
    moved = np.array(order)[digits.test.class_labels]
    classes = tuple(f"digit-{moved}" for moved in range(max(order) + 1))
    source = replace(digits, classes=classes, test=replace(digits.test, labels=moved))
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0, len(classes)), source)
    if order == range(1, 11):
        assert "where the network counts one less than the labels" in told
    else:
        assert "in the network's order, digit-3, digit-1, digit-4" in told


def test_classes_that_change_places_are_named_at_any_accuracy(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    digits = edgeq.load_data("digits", preprocess="raw")
    order = np.array([0, 1, 2, 5, 4, 3, 6, 7, 8, 9])
    source = replace(digits, test=replace(digits.test, labels=order[digits.test.class_labels]))
    net = nearest_mean(tmp_path / "net.onnx", 0)
    found = edgeq.compare([net], source)
    scored = found.stages[0].accuracy
    assert scored is not None
    assert 0.6 < scored.fraction < 0.8
    assert "in which 3 means 5, 5 means 3: classes.txt" in " ".join(found.remarks)
    assert not edgeq.compare([net], digits).remarks


def made_of(answers: Any, labels: Any, classes: int) -> bool:
    """Whether answers are said to be in another order."""
    return other_order(np.asarray(answers), np.asarray(labels), classes) is not None


@pytest.mark.parametrize("classes", [2, 3, 10, 100])
def test_answers_that_are_bad_are_in_no_other_order(classes: int) -> None:
    draw = np.random.default_rng(classes)
    for seed in range(60):
        labels = draw.integers(0, classes, 20 * min(classes, 40) if seed % 2 else 30)
        if seed % 3 == 0:  # unbalanced: most are of one class
            labels[: len(labels) * 4 // 5] = 0
        nearest = np.where(draw.random(len(labels)) < 0.5, labels, labels ^ 1) % classes
        for answers in (nearest, draw.permutation(labels), labels // 2, labels * 0 + 1):
            assert not made_of(answers, labels, classes)


def test_classes_without_samples_keep_an_order_from_being_closed() -> None:
    labels = np.repeat([0, 1, 2, 3], 20)
    assert made_of((labels + 1) % 5, labels, 5)  # class 4 is in no sample
    assert not made_of(np.where(labels == 0, 1, labels), labels, 5)  # 0 is taken for 1


def by_colour(path: Path) -> Path:
    """A network that answers with the strongest colour of a pixel."""
    node = onnx.helper.make_node("Flatten", ["x"], ["y"])
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", (1, 3, 1, 1)), ("y", (1, 3)))
    ]
    graph = onnx.helper.make_graph([node], "net", ends[:1], ends[1:])
    opset = onnx.helper.make_opsetid("", 21)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)
    return path


@pytest.mark.parametrize("channels", ["rgb", "bgr"])
def test_an_order_of_the_classes_is_offered_where_no_other_preprocessing_is_as_good(
    tmp_path: Path, channels: Literal["rgb", "bgr"]
) -> None:
    net, labels = by_colour(tmp_path / "net.onnx"), np.arange(60) % 3
    swapped = channels == "rgb"  # else red and blue change places where they are fed
    for number, label in enumerate(labels):
        pixel = 255 * np.eye(3, dtype=np.uint8)[(2, 1, 0)[label] if swapped else label]
        folder = tmp_path / "discs" / ("red", "green", "blue")[label]
        folder.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixel.reshape(1, 1, 3)).save(folder / f"{number}.png")
    (tmp_path / "discs" / "classes.txt").write_text("red\ngreen\nblue\n")
    source = edgeq.load_data(str(tmp_path / "discs"))
    fed = replace(source.preprocessing, channels=channels)
    told = doubts(net, replace(source, preprocessing=fed))
    # red and blue change places either way: which of the two it was, no figure can tell
    better = "--channels bgr" if swapped else "--channels rgb"
    assert f"is the preprocessing right? {better} reaches 100.00 %" in told
    assert "the classes come" not in told


@pytest.mark.parametrize("deviation", [4, 6])
def test_another_preprocessing_is_named_where_it_costs_a_part_of_the_answers(
    tmp_path: Path, deviation: int, capsys: pytest.CaptureFixture[str]
) -> None:
    net, toml = nearest_mean(tmp_path / "net.onnx", 0), tmp_path / "fed.toml"
    toml.write_text(f"std = [{deviation}]\n")
    assert run(["compare", str(net), "--data", "digits", "--preprocess", str(toml)]) == 0
    out, told = capsys.readouterr()
    assert "of 128 samples are right: is the preprocessing right?" in told
    assert "--preprocess raw reaches" in told
    assert "next: the same command with --preprocess raw" in out


def test_an_accuracy_below_that_of_training_is_doubted(tmp_path: Path) -> None:
    net, source = (
        nearest_mean(tmp_path / "net.onnx", 0),
        edgeq.load_data("digits", preprocess="raw"),
    )
    recorded = {"recipe": {"data": "digits"}, "test_correct": 359, "test_total": 360}
    assert not edgeq.compare([net], source).remarks
    (tmp_path / "run.json").write_text(json.dumps(recorded))
    assert "at the end of training 99.72 % were" in " ".join(edgeq.compare([net], source).remarks)
    for other in ({"test_total": 0}, {"test_correct": "all"}, {"recipe": {"data": "mnist"}}):
        (tmp_path / "run.json").write_text(json.dumps(recorded | other))
        assert not edgeq.compare([net], source).remarks


def test_an_order_that_the_user_gave_is_not_told_again(tmp_path: Path) -> None:
    digits = edgeq.load_data("digits", preprocess="raw")
    order = np.array([3, 1, 4, 0, 5, 9, 2, 6, 8, 7])
    moved = replace(digits.test, labels=order[digits.test.class_labels])
    source = replace(digits, test=moved, order="classes.txt")
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0), source)
    assert "3, 1, 4, 0, 5, 9, 2, 6, 8, 7; but classes.txt says another order" in told
    assert "beside the folders" not in told


def test_a_wrong_preprocessing_is_told_without_what_follows_from_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, small = nearest_mean(tmp_path / "net.onnx", 0), tmp_path / "int8.onnx"
    data = ["--data", "digits", "--preprocess", "raw"]
    assert run(["calibrate", str(net), *data, "-o", str(small)]) == 0
    right, moved = (edgeq.load_data("digits", preprocess=p) for p in ("raw", {"mean": [8.0]}))
    assert edgeq.why([net, small], right, limit=64).exact
    found = edgeq.why([net, small], moved, limit=64)
    assert [cause.kind for cause in found.causes] == ["preprocessing"]
    assert found.causes[0].stages == (found.stages[2].name,)
    assert found.stages[2].verdict == "WRONG: preprocessing"


def test_samples_of_one_class_tell_no_order(tmp_path: Path) -> None:
    digits = edgeq.load_data("digits", preprocess="raw")
    nines = digits.test.take(np.flatnonzero(digits.test.class_labels == 9))
    renamed = replace(nines, labels=np.zeros(len(nines), np.int64))
    told = doubts(nearest_mean(tmp_path / "net.onnx", 0), replace(digits, test=renamed))
    assert "order," not in told
    assert "off by one" not in told


def test_the_commands_say_what_scored_better(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net, baseline = nearest_mean(tmp_path / "net.onnx", 0), tmp_path / "base.json"
    wrong = ("--data", "digits", "--preprocess", "raw", "--scale", "1/2550", "-t", "ort-cpu-ref")
    for command in (
        ["compare", net, *wrong],
        ["gate", net, *wrong, "--baseline", baseline, "--update"],
        ["gate", net, *wrong, "--baseline", baseline, "--update", "--accept-guessing"],
    ):
        run([*map(str, command)])
        told = capsys.readouterr().err
        assert "guessing among 10 classes" in told
        assert "--preprocess raw reaches" in told
        assert baseline.exists() is ("--accept-guessing" in command)


def test_numbers_to_predict_are_no_classes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    net = nearest_mean(tmp_path / "net.onnx", 0, outputs=1)
    np.savez(tmp_path / "ages.npz", x=np.zeros((40, 1, 8, 8), np.float32), labels=np.arange(40))
    source = edgeq.load_data(tmp_path / "ages.npz")
    assert "edgeq compare --task mae judges it" in doubts(net, source)
    line = ["compare", str(net), "--data", str(tmp_path / "ages.npz"), "-t", "ort-cpu-ref"]
    assert run(line) == 0
    assert "edgeq compare --task mae judges it" in capsys.readouterr().err
    assert run([*line, "--task", "mae"]) == 0
    assert "MAE" in capsys.readouterr().out


def test_what_cannot_be_run_is_not_doubted(tmp_path: Path) -> None:
    assert doubts(tmp_path / "nothing.onnx", edgeq.load_data("digits")) == ""
