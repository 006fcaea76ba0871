"""What ``edgeq export`` offers beside the plain files: int4 weights, NCHW, approximation.

Each told in table and JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.models import onnx_models
from tests.support.models.qdq_models import S8, U8, Graph

from edgeq.deploy.cli import run
from edgeq.deploy.commands.export import _show_approximations
from edgeq.deploy.pipeline.export import ExportedFile
from edgeq.exporter import Approximation, ParityReport

if TYPE_CHECKING:
    from collections.abc import Callable


def saved(path: Path, graph: Graph) -> Path:
    model = graph.proto(graph.nodes[-1].output[0])
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def four_bits(tmp_path: Path) -> Path:
    graph = Graph()
    x = graph.input("x", ["N", 16, 6, 6], S8)
    graph.weighted("Conv", x, "y", (32, 16, 3, 3), S8, kernel_shape=[3, 3], levels=7)
    return saved(tmp_path / "four.onnx", graph)


@pytest.fixture
def inexact(tmp_path: Path) -> Path:
    """A float bias, a pooling between grids."""
    graph = Graph()
    x = graph.input("x", ["N", 3, 6, 6], U8)
    weights = graph.stored(
        "w", np.random.default_rng(0).integers(-127, 128, (4, 3, 3, 3)).astype(np.int8), 1e-3
    )
    bias = graph.constant("b", np.linspace(-1, 1, 4).astype(np.float32))
    y = graph.op("Conv", [x, weights, bias], "y", U8, kernel_shape=[3, 3])
    graph.op("AveragePool", [y], "z", S8, kernel_shape=[2, 2], strides=[2, 2])
    return saved(tmp_path / "inexact.onnx", graph)


def test_int4_weights_make_both_files_smaller_and_no_number_different(
    answer: Callable[..., Any], four_bits: Path, tmp_path: Path
) -> None:
    plain = answer("export", four_bits, "--name", "plain", "-o", tmp_path)["files"]
    packed = answer(
        "export", four_bits, "--name", "packed", "--weight-storage", "int4", "-o", tmp_path
    )["files"]
    for before, after in zip(plain, packed, strict=True):
        assert before["size_bytes"] - after["size_bytes"] > 0.9 * 32 * 16 * 9 / 2
        assert after["parity"] == before["parity"]
        assert after["parity"]["different"] == []


@pytest.mark.parametrize(
    ("output", "page"), [("run", "page"), ("run/files", "page"), ("o", "run/p")]
)
def test_a_folder_of_a_run_is_for_nothing_else(
    refusal: Callable[..., str], four_bits: Path, tmp_path: Path, output: str, page: str
) -> None:
    places = ("-o", tmp_path / output, "--html", tmp_path / page, "--run", tmp_path / "run")
    assert "is to be a new folder for the run, and " in refusal("export", four_bits, *places)
    assert [path.name for path in tmp_path.iterdir()] == [four_bits.name]


def test_a_refusal_says_nothing_of_what_would_have_been_written(
    refusal: Callable[..., str], tmp_path: Path
) -> None:
    file = onnx_models.save(onnx_models.float_model(), tmp_path / "float.onnx")
    told = refusal("export", file, "--for", "torch", "-o", tmp_path / "out")
    assert "nothing has to be exported" in told
    assert "is a float network" not in told


@pytest.mark.parametrize("name", ["../other", "/elsewhere/other", "a/b"])
def test_a_name_never_leaves_the_folder(
    refusal: Callable[..., str], four_bits: Path, tmp_path: Path, name: str
) -> None:
    assert f"the name {name!r} holds a folder" in refusal(
        "export", four_bits, "--name", name, "-o", tmp_path / "out"
    )
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob("other*"))


def test_the_nchw_boundary_is_counted(
    answer: Callable[..., Any], four_bits: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "export",
        four_bits,
        "--to",
        "tflite",
        "--io-layout",
        "nchw",
        "-o",
        tmp_path,
        "--overwrite",
    ]
    (file,) = answer(*arguments)["files"]
    assert file["transposes"] == {"count": 2, "size_bytes": 16 * 6 * 6 + 32 * 4 * 4}
    assert run([*map(str, arguments)]) == 0
    assert "2, 1.1 kB" in capsys.readouterr().out


def test_a_convolutional_network_has_no_transposes(
    answer: Callable[..., Any], four_bits: Path, tmp_path: Path
) -> None:
    onnx_file, tflite_file = answer("export", four_bits, "--name", "both", "-o", tmp_path)["files"]
    assert onnx_file["transposes"] is None
    assert tflite_file["transposes"] == {"count": 0, "size_bytes": 0}


def test_what_is_not_exact_is_refused_and_nothing_written(
    refusal: Callable[..., str], inexact: Path, tmp_path: Path
) -> None:
    told = refusal("export", inexact, "--to", "tflite", "-o", tmp_path / "out")
    assert "--requantize" in told
    assert not (tmp_path / "out").exists()


def test_what_is_approximated_is_listed_with_its_error(
    answer: Callable[..., Any], inexact: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [
        "export",
        inexact,
        "--to",
        "tflite",
        "--requantize",
        "-o",
        tmp_path / "out",
        "--overwrite",
    ]
    (file,) = answer(*arguments)["files"]
    assert [each["tensor"] for each in file["approximations"]] == ["b", "z"]
    assert 0 < file["approximations"][0]["max_error_lsb"] <= 0.5
    assert file["approximations"][1]["max_error_lsb"] == 1
    assert file["parity"]["different"] == []
    assert run([*map(str, arguments)]) == 0
    out = capsys.readouterr().out
    assert "Not exact" in out
    assert "bias was rounded to int32" in out


def test_what_is_done_to_many_tensors_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    parity = ParityReport(1, 1, 1, 1, ())
    done = [Approximation("was rounded", f"t{i}", 0.1 * i) for i in range(1, 13)]
    other = Approximation("fell", "z", 1)
    path = Path("a.tflite")
    _show_approximations((ExportedFile("tflite", path, 1, parity, approximations=(*done, other)),))
    rows = [line.split() for line in capsys.readouterr().out.splitlines() if "a.tflite" in line]
    assert [" ".join(row[1:]) for row in rows] == [
        "t1, t2, t3 and 9 more was rounded 1.2",
        "z fell 1",
    ]
