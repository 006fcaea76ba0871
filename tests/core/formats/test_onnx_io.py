"""One reader of ONNX files: what a runtime is fed is checked like what is exported."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import load, read

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

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


def sparse(path: Path, places: NDArray[np.int64], shape: list[int]) -> None:
    """Keep the model's one constant as numbers at places of a shape."""
    model: ModelProto = load(path)
    values = model.graph.initializer.pop()
    where = numpy_helper.from_array(places, "places")
    model.graph.sparse_initializer.append(helper.make_sparse_tensor(values, where, shape))
    path.write_bytes(model.SerializeToString())


@pytest.mark.parametrize("places", [[1, 2, 4, 5], [[0, 1], [0, 2], [1, 1], [1, 2]]])
def test_a_sparse_initialiser_is_read_with_its_zeros(
    places: list[int] | list[list[int]], tmp_path: Path
) -> None:
    path = saved(tmp_path, "beside.bin")
    sparse(path, np.array(places), [2, 3])
    (stored,) = read(path).graph.initializers.values()
    assert stored.const_value is not None
    assert np.array_equal(stored.const_value.numpy(), [[0, 0, 1], [0, 2, 3]])


@pytest.mark.parametrize(
    ("places", "shape"),
    [([0, 1, 2, 4], [4]), ([0, 1, 2, -1], [4]), ([0, 1], [4]), ([0, 1, 2, 3], [2**40])],
)
@pytest.mark.parametrize("reader", [load, read])
def test_a_sparse_initialiser_that_means_nothing_is_refused_by_name(
    reader: Callable[[Path], object], places: list[int], shape: list[int], tmp_path: Path
) -> None:
    path = saved(tmp_path, "beside.bin")
    sparse(path, np.array(places), shape)
    with pytest.raises(ArtefactError, match="keeps 'w' without its zeros, and cannot be read"):
        reader(path)


@pytest.mark.parametrize("place", ["operator", "node", "tensor", "attribute", "note", "branch"])
def test_text_that_is_not_utf_8_is_refused(place: str, tmp_path: Path) -> None:
    path, text = saved(tmp_path, "beside.bin"), "~odd~"
    model: ModelProto = load(path)
    node = model.graph.node[0]
    if place == "operator":
        node.op_type = text
    elif place == "node":
        node.name = text
    elif place == "tensor":
        model.graph.initializer[0].name = text
    elif place == "attribute":
        node.attribute.append(helper.make_attribute(text, 1))
    elif place == "note":
        model.metadata_props.add(key="source", value=text)
    else:
        inner = helper.make_graph([helper.make_node("Identity", ["x"], [text])], "b", [], [])
        node.attribute.append(helper.make_attribute("then_branch", inner))
    path.write_bytes(model.SerializeToString().replace(text.encode(), b"~od\xff~"))
    with pytest.raises(ArtefactError, match=r"the text '~od.~' in it is not UTF-8"):
        load(path)


def test_a_branch_that_reads_its_own_result_or_nothing_is_refused(tmp_path: Path) -> None:
    path = saved(tmp_path, "beside.bin")
    for source, words in (("r", "cycle through a subgraph"), ("nowhere", "reads 'nowhere'")):
        model: ModelProto = load(saved(tmp_path, "beside.bin"))
        inner = [helper.make_tensor_value_info("r", TensorProto.FLOAT, [4])]
        branch = helper.make_graph([helper.make_node("Identity", [source], ["r"])], "b", [], inner)
        model.graph.initializer.append(helper.make_tensor("yes", TensorProto.BOOL, [], [True]))
        model.graph.node.append(
            helper.make_node("If", ["yes"], ["c"], then_branch=branch, else_branch=branch)
        )
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ArtefactError, match=words):
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
