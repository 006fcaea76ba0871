"""Operators of a file computed from given numbers by ONNX Runtime, beside the emulator's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from tests.support.runtimes.ort_quantized import SHAPE, quantized

from edgeq.deploy.evaluation.chain import load_target, open_replay
from edgeq.errors import EdgeqError
from edgeq.quant import QuantizedTensor
from edgeq.targets.emulator import emulator
from edgeq.targets.ort import cpu_reference

if TYPE_CHECKING:
    from pathlib import Path


BATCH = np.random.default_rng(3).normal(0, 1, (3, *SHAPE)).astype(np.float32)


@pytest.fixture(scope="module")
def branches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("branches")
    quantized("branches", folder)
    return folder / "quantised.onnx"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_it_computes_what_the_emulator_computes(branches: Path) -> None:
    with cpu_reference.open(branches, intermediates=True) as session:
        recorded = dict(session.tensors(BATCH))
    emulated = {
        each.operator.tensor: each
        for each in emulator.open_replay(branches).replay(BATCH, recorded)
    }
    compared = 0
    for each in cpu_reference.open_replay(branches).replay(BATCH, recorded):
        assert np.array_equal(each.expected, each.seen), each.operator  # its own recording
        other = emulated.get(each.operator.tensor)
        if other is not None:
            compared += 1
            assert np.abs(each.expected.ravel() - other.expected.ravel()).max() <= 1
            assert len(each.operator.inputs) == len(other.operator.inputs)
    assert compared == len(emulated) > 12


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_each_operator_reads_the_recording(branches: Path) -> None:
    with cpu_reference.open(branches, intermediates=True) as session:
        recorded = dict(session.tensors(BATCH))
    replay = cpu_reference.open_replay(branches)
    chosen = replay.operators[5]
    grid = recorded[chosen.tensor]
    assert isinstance(grid, QuantizedTensor)
    moved = QuantizedTensor((grid.values.astype(int) ^ 16).astype(grid.values.dtype), grid.params)
    wrong = {
        each.operator.tensor
        for each in replay.replay(BATCH, {**recorded, chosen.tensor: moved})
        if not np.array_equal(each.expected, each.seen)
    }
    behind = {each.tensor for each in replay.operators if chosen.tensor in each.inputs}
    assert chosen.tensor in wrong <= {chosen.tensor, *behind}
    assert behind


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_what_a_recording_lacks_is_computed(branches: Path) -> None:
    with cpu_reference.open(branches, intermediates=True) as session:
        recorded = dict(session.tensors(BATCH))
    replay = cpu_reference.open_replay(branches)
    lacking = replay.operators[5].tensor
    del recorded[lacking]
    found = {each.operator.tensor: each for each in replay.replay(BATCH, recorded)}
    assert lacking not in found
    for each in found.values():
        assert np.array_equal(each.expected, each.seen)
        assert each.hidden == (lacking in each.operator.inputs)


def test_a_float_operator_within_is_named(tmp_path: Path) -> None:
    """Where integers stay in float, the operators between quantised tensors are judged as one."""
    path = tmp_path / "mixed.onnx"
    onnx.save(_with_float_middle(), path)
    replay, why_not = open_replay(path)
    assert replay is not None
    assert why_not is not None
    assert "stays in float" in why_not.what
    found = [(each.op_type, each.alone) for each in replay.operators]
    assert found == [("QuantizeLinear", True), ("Softmax", False)]
    batch = np.random.default_rng(0).normal(0, 1, (4, 6)).astype(np.float32)
    with load_target("ort-cpu-ref").open(path, intermediates=True) as session:
        recorded = session.tensors(batch)
    for each in replay.replay(batch, recorded):
        assert np.array_equal(each.expected, each.seen)


def test_a_file_without_quantised_tensors_is_refused(tmp_path: Path) -> None:
    node = helper.make_node("Relu", ["x"], ["y"])
    ends = [helper.make_tensor_value_info(name, 1, ["n", 6]) for name in "xy"]
    path = tmp_path / "float.onnx"
    graph = helper.make_graph([node], "g", ends[:1], ends[1:])
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )
    with pytest.raises(EdgeqError, match="no quantised tensor"):
        cpu_reference.open_replay(path)


def _with_float_middle() -> onnx.ModelProto:
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"]),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"]),
        helper.make_node("Exp", ["xd"], ["e"]),
        helper.make_node("Softmax", ["e"], ["p"]),
        helper.make_node("QuantizeLinear", ["p", "t", "z"], ["pq"]),
        helper.make_node("DequantizeLinear", ["pq", "t", "z"], ["y"]),
    ]
    numbers = {"s": np.float32(0.03), "t": np.float32(1 / 256), "z": np.uint8(0)}
    graph = helper.make_graph(
        nodes,
        "mixed",
        [helper.make_tensor_value_info("x", 1, ["n", 6])],
        [helper.make_tensor_value_info("y", 1, ["n", 6])],
        [numpy_helper.from_array(np.asarray(each), name) for name, each in numbers.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
