"""A network that answers like guessing is doubted before it is calibrated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import onnx
import pytest
from PIL import Image

import edgeq
from edgeq.deploy.cli import run
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
