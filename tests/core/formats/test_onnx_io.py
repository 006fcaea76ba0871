"""One reader of ONNX files: what a runtime is fed is checked like what is exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import load, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NUMBERS = np.arange(4, dtype=np.float32)


def saved(folder: Path, location: str) -> Path:
    """A model whose one constant lies in another file."""
    tensor = TensorProto(
        name="w", data_type=TensorProto.FLOAT, dims=[4], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value=location)
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in "xy"]
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])], "g", ends[:1], ends[1:], [tensor]
    )
    (folder / "model.onnx").write_bytes(helper.make_model(graph, ir_version=10).SerializeToString())
    (folder / "beside.bin").write_bytes(NUMBERS.tobytes())
    return folder / "model.onnx"


@pytest.mark.parametrize("reader", [load, read])
@pytest.mark.parametrize(
    ("location", "words"),
    [
        ("../secret", "outside the model's folder"),
        ("absent.bin", "is missing"),
        ("a" * 5000, "cannot be read"),
        ("null\0byte", "cannot be read"),
    ],
)
def test_weights_are_read_from_the_models_folder_only(
    reader: Callable[[Path], object], location: str, words: str, tmp_path: Path
) -> None:
    with pytest.raises(ArtefactError, match=words):
        reader(saved(tmp_path, location))


def test_weights_beside_the_model_are_in_memory_afterwards(tmp_path: Path) -> None:
    path = saved(tmp_path, "beside.bin")
    model: ModelProto = load(path)
    assert model.graph.initializer[0].raw_data == NUMBERS.tobytes()
    assert load(path, weights=False).graph.initializer[0].raw_data == b""


def test_constants_that_are_listed_as_inputs_too_are_no_inputs(tmp_path: Path) -> None:
    path = saved(tmp_path, "beside.bin")
    model: ModelProto = load(path)
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, [4]))
    model.ir_version = 3
    path.write_bytes(model.SerializeToString())
    assert [value.name for value in read(path).graph.inputs] == ["x"]


@pytest.mark.parametrize(("size", "is_read"), [(-1, True), (-2, False)])
def test_a_size_of_minus_one_is_one_that_is_not_given(
    size: int, is_read: bool, tmp_path: Path
) -> None:
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [size, 4]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ends[:1], ends[1:])
    path = tmp_path / "model.onnx"
    path.write_bytes(helper.make_model(graph, ir_version=10).SerializeToString())
    if not is_read:
        with pytest.raises(ArtefactError, match=r"has the shape \(-2, 4\)"):
            read(path)
        return
    shape = read(path).graph.inputs[0].shape
    assert shape is not None
    assert [isinstance(each, int) for each in shape] == [False, True]


def test_a_sparse_initialiser_is_refused_by_name(tmp_path: Path) -> None:
    path = saved(tmp_path, "beside.bin")
    model: ModelProto = load(path)
    values = model.graph.initializer.pop()
    places = helper.make_tensor("places", TensorProto.INT64, [4], range(4))
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, places, [4]))
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtefactError, match="keeps 'w' without its zeros"):
        read(path)


def test_a_cycle_through_a_subgraph_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "beside.bin")
    model: ModelProto = load(path)
    inner = [helper.make_tensor_value_info("r", TensorProto.FLOAT, [4])]
    branch = helper.make_graph([helper.make_node("Identity", ["y"], ["r"])], "b", [], inner)
    yes = helper.make_tensor("yes", TensorProto.BOOL, [], [True])
    choice = helper.make_node("If", ["yes"], ["c"], then_branch=branch, else_branch=branch)
    model.graph.initializer.append(yes)
    model.graph.node.append(choice)
    model.graph.node[0].input[1] = "c"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtefactError, match="cycle through a subgraph"):
        read(path)
