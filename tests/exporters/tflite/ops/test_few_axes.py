"""Integers of many axes are moved by kernels that take few."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.support.models.qdq_models import (
    KERNELS,
    Graph,
    Grid,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.file.transposing import turns
from edgeq.formats.dialect import TFLITE, TFLM
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Q = Grid(0.02, 128)
WINDOWS = ("N", 2, 3, 2, 4, 5)
VIDEO = ("N", 2, 2, 3, 2, 2, 3, 4)


def turned(shape: tuple[int | str, ...], *perm: int) -> Callable[[Graph], str]:
    return lambda graph: graph.op("Transpose", [graph.input("x", shape, Q)], "y", Q, perm=perm)


def sliced(*steps: int) -> Callable[[Graph], str]:
    def build(graph: Graph) -> str:
        places = {
            "starts": [1 if step > 0 else -1 for step in steps],
            "ends": [3 if step > 0 else -99 for step in steps],
            "axes": [2, 5],
            "steps": steps,
        }
        values = [graph.ints(name, numbers) for name, numbers in places.items()]
        return graph.op("Slice", [graph.input("x", WINDOWS, Q), *values], "y", Q)

    return build


def padded(graph: Graph) -> str:
    pads = graph.ints("pads", [0, 1, 0, 0, 0, 2, 0, 0, 0, -1, 0, 1])
    return graph.op("Pad", [graph.input("x", WINDOWS, Q), pads], "y", Q)


CASES: dict[str, tuple[Callable[[Graph], str], list[str]]] = {
    "Swin's windows": (turned(WINDOWS, 0, 1, 3, 2, 4, 5), ["TRANSPOSE"]),
    "all axes reversed": (turned(WINDOWS, 0, 5, 4, 3, 2, 1), ["TRANSPOSE", "TRANSPOSE"]),
    "windows of videos": (turned(VIDEO, 0, 1, 3, 5, 2, 4, 6, 7), ["TRANSPOSE", "TRANSPOSE"]),
    "slice": (sliced(1, 1), ["SLICE", "SLICE"]),
    "slice with steps": (sliced(2, -1), ["STRIDED_SLICE", "STRIDED_SLICE"]),
    "pad": (padded, ["SLICE", "PAD", "PAD"]),
}


@given(st.data())
def test_transposes_of_few_axes_are_the_whole_one(data: st.DataObject) -> None:
    shape = data.draw(st.lists(st.integers(0, 3), max_size=9))
    perm = data.draw(st.permutations(range(len(shape))))
    most = data.draw(st.integers(4, 6))
    values = np.arange(math.prod(shape)).reshape(shape)
    found = values
    for turn in turns(shape, perm, most):
        found = found.reshape(turn.shape).transpose(turn.perm)
        assert found.shape == turn.result
        assert found.ndim <= most
    np.testing.assert_array_equal(found.reshape(-1), values.transpose(perm).reshape(-1))


def test_axes_that_stay_together_are_one() -> None:
    (turn,) = turns((1, 4, 16, 3, 1, 2), (0, 4, 3, 5, 1, 2), 5)
    assert (turn.shape, turn.perm) == ((64, 6), (1, 0))


def expected(graph: Graph, samples: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, their integers, and the integers that ONNX Runtime moves them to."""
    shape = [samples, *(size.dim_value for size in graph.inputs[0].type.tensor_type.shape.dim[1:])]
    fed = graph.rng.normal(0, 1, shape).astype(np.float32)
    names = ["x_quantized", "y_quantized"]
    integers = onnx_integers(graph.proto("y_dequantized"), {"x": fed}, names)
    before, after = ((integers[name].astype(np.int32) - Q.zero).astype(np.int8) for name in names)
    return fed, before, after


@pytest.mark.parametrize("case", CASES)
def test_integers_are_moved_alike_within_the_ranks_of_a_runtime(case: str) -> None:
    graph = Graph()
    CASES[case][0](graph)
    _, source, wanted = expected(graph, 3)
    for dialect in (TFLM, TFLITE):
        exported = exporter.export(graph.output(), ExportOptions(dialect=dialect))
        for kernels in KERNELS:
            (found,) = tflite_outputs(exported.content, [source], kernels)
            np.testing.assert_array_equal(found, wanted)
        names = [name for name in operators(exported.content) if name != "RESHAPE"]
        assert exported.parity.different == ()
        if dialect is TFLM:
            assert names == CASES[case][1]


@pytest.mark.parametrize("target", ["tflm", "emulator:tflm"])
def test_microcontrollers_take_what_was_written_for_them(target: str, tmp_path: Path) -> None:
    if not TARGETS.load(target).probe().usable:
        pytest.skip(f"{target} does not work here")
    path = tmp_path / "model.tflite"
    for build, _ in CASES.values():
        graph = Graph()
        build(graph)
        fed, _, wanted = expected(graph, 1)
        options = ExportOptions(dialect=TFLM)
        path.write_bytes(exporter.export(graph.output(), options).content)
        with TARGETS.load(target).open(path) as session:
            np.testing.assert_array_equal(np.rint(session.run(fed) / np.float32(Q.scale)), wanted)
