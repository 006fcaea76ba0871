"""Errors block by block: where blocks end, what is compared, and what is told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from tests.support.faults.networks import SHAPES, network, small
from tests.support.models.qdq_models import Graph, Grid
from tests.support.report.documents import made

import edgeq
from edgeq.deploy.cli import run
from edgeq.deploy.depth.blocks import blocks_of
from edgeq.deploy.origin.unrounded import clipped
from edgeq.deploy.report.sections import growth as section
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The small network as ONNX and TFLite, and a few samples."""
    place = tmp_path_factory.mktemp("growth")
    model = small()
    (place / "net.onnx").write_bytes(model.SerializeToString())
    content = tflite.export(ir.from_proto(model), ExportOptions()).content
    (place / "net.tflite").write_bytes(content)
    values = np.random.default_rng(2).normal(0, 1, (4, *SHAPES["small"])).astype(np.float32)
    np.savez(place / "test.npz", images=values)
    return place


def test_blocks_end_with_residual_sums_and_what_stands_behind() -> None:
    ends = blocks_of(ir.from_proto(network("resnet8")))
    assert ends == tuple(f"stages_{i}_0_relu2" for i in range(3))


def test_layers_are_the_blocks_of_networks_with_few_sums() -> None:
    assert blocks_of(ir.from_proto(small())) == ("a", "b", "d", "y")


def test_activations_are_cut_off_and_not_rounded(tmp_path: Path) -> None:
    graph = Graph()
    entered = graph.input("x", [1, 1, 2, 2], Grid(0.5, 0, clip=(0, 15)))
    graph.op("Relu", [entered], "y", Grid(0.5, 0, clip=(0, 7)))
    path = tmp_path / "clipped.onnx"
    path.write_bytes(serialize(clipped(ir.from_proto(graph.proto("y_dequantized")))))
    with TARGETS.load("ort-cpu-ref").open(path, intermediates=True) as session:
        shown = session.tensors(np.array([[[[-1, 0.3], [3.2, 9]]]], np.float32))
    assert np.asarray(shown["y"]).reshape(-1) == pytest.approx([0, 0.3, 3.2, 3.5])


def test_each_stage_has_its_blocks_and_its_rate(folder: Path) -> None:
    found = edgeq.compare(
        [folder / "net.onnx", folder / "net.tflite"],
        edgeq.load_data({"test": np.load(folder / "test.npz")["images"]}),
        targets=["ort-cpu", "tflite-ref"],
        growth=True,
    )
    assert found.reference == "net.onnx @ ort-cpu-ref"
    by_stage = {each.stage: each for each in found.growth}
    rounding = by_stage["net-unrounded.onnx @ ort-cpu-ref"]
    assert rounding.rate is not None
    assert rounding.rate.low_db <= rounding.rate.rate_db <= rounding.rate.high_db
    assert rounding.rmse == pytest.approx(rounding.mse**0.5)
    assert [each.tensor for each in rounding.blocks] == list(blocks_of(ir.from_proto(small())))
    kernels = by_stage["net.tflite @ tflite-ref"]
    assert all(each.max_lsb is not None for each in kernels.blocks)


def test_the_command_tells_it_and_the_page_draws_it(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", str(folder / "net.onnx"), "--data", str(folder / "test.npz")]
    arguments += ["--target", "emulator", "--growth"]
    assert run(arguments) == 0
    shown = capsys.readouterr().out
    assert "How the error grows over" in shown
    assert "Error at the end of each block" in shown
    assert run([*arguments, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    drawn = section.section([made("compare", "net", document)])
    assert "Error at the end of each block" in drawn
    assert "dB a block" in drawn
    assert section.section([made("compare", "net", {"comparison": {}})]) == ""


def test_what_growth_cannot_use_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["compare", str(folder / "net.tflite"), "--data", str(folder / "test.npz")]
    assert run([*arguments, "--growth"]) == 2
    assert "the ONNX file that the TFLite file was made from" in capsys.readouterr().err
    assert run([*arguments, "--growth", "--no-tensors"]) == 2
    assert run([*arguments, "--growth", "--reference", str(folder / "net.onnx")]) == 2
