"""A float file beside a quantised one: what quantisation explains is counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from tests.support.faults.networks import SHAPES, network
from tests.support.faults.origins import origin
from tests.support.faults.planting import Planting
from tests.support.faults.running import places, planted

import edgeq
from edgeq.deploy.cli import run
from edgeq.deploy.origin.weights import other_weights

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path, Path]:
    """A float network, the quantised one, and a float one of other weights."""
    paths = tmp_path / "real.onnx", tmp_path / "quantised.onnx", tmp_path / "other.onnx"
    onnx.save(origin(network("small")), paths[0])
    onnx.save(network("small"), paths[1])
    rng, other = np.random.default_rng(9), origin(network("small"))
    for each in other.graph.initializer:
        values = onnx.numpy_helper.to_array(each)
        if values.ndim > 1:
            drawn = rng.normal(0, 1, values.shape).astype(values.dtype)
            each.CopyFrom(onnx.numpy_helper.from_array(drawn, each.name))
    onnx.save(other, paths[2])
    return paths


def test_what_quantisation_explains_is_counted(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    real, file, _ = files
    for pair in (real, file), (file, real):
        assert run(["diff", *map(str, pair)]) == 0
        told = capsys.readouterr().out
        assert "one is the other quantised: the weights of 4 layers, and" in told
        assert "activations given grids; nothing else that the files tell differs" in told
        assert "whether a grid fits the values that lie on it, nor a bias" in told
        assert "next: edgeq why" in told


def test_only_the_rest_is_listed(files: tuple[Path, Path, Path]) -> None:
    kind = "a weight off by 40"
    made = planted(network("small"), kind, places(network("small"), kind, 1)[0])
    assert made is not None
    onnx.save(made[0], files[1])
    found = edgeq.diff(files[0], files[1])
    assert [each.kind for each in found.differences] == ["weights"]
    assert not found.equal


def test_another_training_is_told(
    files: tuple[Path, Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    real, file, other = files
    assert other_weights(other, file) == other_weights(other, real) == (4, 4)
    assert other_weights(real, file) is None
    assert run(["diff", str(other), str(file)]) == 1
    assert "they are of another training, or of none" in capsys.readouterr().out
    data = np.random.default_rng(0).normal(0, 1, (4, *SHAPES["small"])).astype(np.float32)
    np.save(tmp_path / "data.npy", data)
    asked = ["--data", str(tmp_path / "data.npy"), "-t", "ort-cpu-ref"]
    assert run(["compare", str(other), str(file), *asked]) == 0
    said = capsys.readouterr()
    assert "other weights" in said.out
    assert f"next: edgeq diff {other} {file}" in said.out
    assert "hold the weights of two trainings, or of none: 4 of 4 layers" in said.err


def test_what_a_file_may_leave_out_is_no_difference(files: tuple[Path, Path, Path]) -> None:
    real = onnx.load(files[0])
    for node in real.graph.node:
        if node.op_type == "Conv":
            node.attribute.append(onnx.helper.make_attribute("auto_pad", "NOTSET"))
    for path, batch in (files[1], "n"), (files[2], "batch"):
        kind = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [batch, 5])
        real.graph.output[0].type.CopyFrom(kind)
        onnx.save(real, path)
    assert edgeq.diff(files[1], files[2]).equal
    assert edgeq.diff(files[0], files[1]).differences == ()


def test_integers_read_on_another_grid_are_told(
    files: tuple[Path, Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    planting = Planting(network("small"))
    planting.own(planting.dequantizer("c_dequantized"), 2, lambda zero: zero + 1)
    onnx.save(planting.model, files[1])
    found = edgeq.diff(files[0], files[1])
    (told,) = found.differences
    assert (told.kind, told.steps) == ("integers read on another grid", 1)
    assert "c_dequantized" in told.where
    assert run(["diff", *map(str, files[:2])]) == 1
    assert "1 difference that this does not explain" in capsys.readouterr().out


def test_without_tensors_files_tell_that_one_is_quantised(files: tuple[Path, Path, Path]) -> None:
    data = np.random.default_rng(0).normal(0, 1, (2, *SHAPES["small"])).astype(np.float32)
    found = edgeq.compare(
        files[:2], edgeq.load_data({"test": data}), targets=["ort-cpu-ref"], tensors=False
    )
    assert [each.cause for each in found.hops] == ["quantisation"]
