"""Float files that leave sizes open are run at the sizes of the samples."""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgeq
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.open_sizes import OpenSizes
from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import load, serialize

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data import DataSource


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    """A float network for images of any size, and what calibration makes of it."""
    rng = np.random.default_rng(0)
    stored = {"w": rng.normal(0, 0.3, (6, 3, 3, 3)), "k": rng.normal(0, 0.3, (4, 6))}
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], name="c", pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"], name="r"),
        helper.make_node("GlobalAveragePool", ["r"], ["p"], name="p"),
        helper.make_node("Flatten", ["p"], ["f"], name="f"),
        helper.make_node("Gemm", ["f", "k"], ["y"], name="y", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, "height", "width"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(each.astype(np.float32), name) for name, each in stored.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    real, rounded = tmp_path / "float.onnx", tmp_path / "rounded.onnx"
    real.write_bytes(model.SerializeToString())
    batches = list(np.asarray(data(3, 8, 8).test.images[:])[:, None])
    rounded.write_bytes(serialize(quantize_onnx(ir.from_proto(model), batches)))
    return real, rounded


def data(*shape: int) -> DataSource:
    rng = np.random.default_rng(1)
    return edgeq.load_data({"test": rng.normal(0, 1, (4, *shape)).astype(np.float32)})


def test_a_float_file_stands_beside_the_calibrated_one(files: tuple[Path, Path]) -> None:
    compared = edgeq.compare(files, data(3, 8, 8), targets=("ort-cpu-ref",))
    assert not compared.failures
    assert [stage.artefact for stage in compared.stages] == ["float.onnx", "rounded.onnx"]
    found = edgeq.why(files, data(3, 8, 8), targets=("ort-cpu-ref",))
    assert found.exact, found.causes
    assert [stage.state for stage in found.stages] == ["reference", "quantisation"]
    assert any(each.accumulated_db for each in found.stages[1].operators)


def test_only_what_leaves_sizes_open_is_copied(files: tuple[Path, Path]) -> None:
    source = data(3, 8, 8)
    with ExitStack() as stack:
        sizes = OpenSizes(source.test, source, stack)
        assert sizes.fixed(files[1]) == files[1]
        copy = sizes.fixed(files[0])
        assert copy == sizes.fixed(files[0]) != files[0]
        (entry,) = load(copy).graph.input
        assert [size.dim_value for size in entry.type.tensor_type.shape.dim] == [0, 3, 8, 8]
    assert not copy.exists()


def test_samples_of_other_channels_are_refused_by_name(files: tuple[Path, Path]) -> None:
    with pytest.raises(ArtefactError, match="'x'"):
        edgeq.compare(files[:1], data(2, 8, 8), targets=("ort-cpu-ref",))
