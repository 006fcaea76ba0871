"""Streaming files in the emulator: each sample begins anew, so what a variable holds is known."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema
from tests.support.models.tflite_models import ModelBuilder
from tests.targets.test_foreign_tflite import resource_model

from edgeq.errors import TargetError
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

Kind, Op, Options = schema.TensorType, schema.BuiltinOperator, schema.BuiltinOptions


def both(path: Path, x: NDArray[np.float32]) -> list[NDArray[np.float32]]:
    found = []
    for name in ("tflite-ref", "emulator"):
        with TARGETS.load(name).open(path) as session:
            found.append(session.run(x))
    return found


def saved(folder: Path, content: bytes) -> Path:
    path = folder / "model.tflite"
    path.write_bytes(content)
    return path


def samples(*shape: int) -> NDArray[np.float32]:
    values = np.random.default_rng(0).integers(-100, 100, (4, *shape)) * np.float32(0.1)
    return np.concatenate([values, values[:1]]).astype(np.float32)


def test_a_sample_begins_with_what_initialisation_wrote(tmp_path: Path) -> None:
    reference, emulated = both(saved(tmp_path, resource_model()), samples(4))
    assert np.array_equal(reference, emulated)
    assert np.array_equal(emulated[0], emulated[-1])


def variable(build: ModelBuilder, name: str) -> int:
    options: Any = schema.VarHandleOptionsT()
    options.container, options.sharedName = "", name
    handle = build.tensor(f"handle of {name}", (), Kind.RESOURCE)
    build.operator(Op.VAR_HANDLE, [], [handle], Options.VarHandleOptions, options)
    return int(handle)


def assign(build: ModelBuilder, handle: int, value: int) -> None:
    build.operator(
        Op.ASSIGN_VARIABLE,
        [handle, value],
        [],
        Options.AssignVariableOptions,
        schema.AssignVariableOptionsT(),
    )


def read(build: ModelBuilder, handle: int, result: int) -> None:
    build.operator(
        Op.READ_VARIABLE,
        [handle],
        [result],
        Options.ReadVariableOptions,
        schema.ReadVariableOptionsT(),
    )


def plus(build: ModelBuilder, one: int, other: int, result: int) -> None:
    build.operator(Op.ADD, [one, other], [result], Options.AddOptions, schema.AddOptionsT(), 2)


def test_what_the_graph_wrote_before_is_read(tmp_path: Path) -> None:
    """Written, then read in the same inference."""
    build = ModelBuilder()
    x, kept, y = (build.tensor(name, (1, 4), Kind.INT8, [0.1]) for name in ("x", "kept", "y"))
    handle = variable(build, "state")
    assign(build, handle, x)
    read(build, handle, kept)
    plus(build, x, kept, y)
    build.graph.inputs, build.graph.outputs = [x], [y]
    reference, emulated = both(saved(tmp_path, build.content()), samples(4))
    assert np.array_equal(reference, emulated)


def test_a_variable_that_nothing_wrote_is_refused_by_name(tmp_path: Path) -> None:
    build = ModelBuilder()
    x, kept, y = (build.tensor(name, (1, 4), Kind.INT8, [0.1]) for name in ("x", "kept", "y"))
    read(build, variable(build, "state"), kept)
    plus(build, x, kept, y)
    build.graph.inputs, build.graph.outputs = [x], [y]
    with pytest.raises(TargetError, match="READ_VARIABLE 'kept': it keeps something"):
        TARGETS.load("emulator").open(saved(tmp_path, build.content()))


@pytest.mark.parametrize("kind", ["SPLIT", "SPLIT_V"])
@pytest.mark.parametrize("axis", [1, 2, -1])
def test_each_result_of_a_split_is_a_slice(kind: str, axis: int, tmp_path: Path) -> None:
    build, shape = ModelBuilder(), (1, 6, 6)
    sizes = [3, 3] if kind == "SPLIT" else [2, 4]
    x = build.tensor("x", shape, Kind.INT8, [0.1])
    whole = [build.tensor("axis", (), Kind.INT32, value=np.array(axis, np.int32))]
    parts = []
    for number, size in enumerate(sizes):
        own = list(shape)
        own[axis] = size
        parts.append(build.tensor(f"part{number}", tuple(own), Kind.INT8, [0.1]))
    if kind == "SPLIT":
        options: Any = schema.SplitOptionsT()
        options.numSplits = len(sizes)
        build.operator(Op.SPLIT, [*whole, x], parts, Options.SplitOptions, options)
    else:
        options = schema.SplitVOptionsT()
        options.numSplits = len(sizes)
        lengths = build.tensor("sizes", (2,), Kind.INT32, value=np.array(sizes, np.int32))
        build.operator(Op.SPLIT_V, [x, lengths, *whole], parts, Options.SplitVOptions, options)
    y = build.tensor("y", shape, Kind.INT8, [0.1])
    joined: Any = schema.ConcatenationOptionsT()
    joined.axis = axis
    build.operator(Op.CONCATENATION, parts[::-1], [y], Options.ConcatenationOptions, joined)
    build.graph.inputs, build.graph.outputs = [x], [y]
    reference, emulated = both(saved(tmp_path, build.content()), samples(6, 6))
    assert np.array_equal(reference, emulated)


def test_a_wake_word_that_ships_is_exact(data_dir: Path) -> None:
    """It keeps its state in six resource variables, and splits twice."""
    path = data_dir / "real" / "mww_v2_okay_nabu.tflite"
    x = np.random.default_rng(0).uniform(0, 26, (3, 3, 40)).astype(np.float32)
    reference, emulated = both(path, x)
    assert np.array_equal(reference, emulated)
