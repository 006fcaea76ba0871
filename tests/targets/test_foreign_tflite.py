"""TFLite files that other tools wrote.

State is reset for each sample, and a crash of the runtime ends its worker only.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models import tflite_models
from tests.support.models.tflite_models import ModelBuilder

from edgeq.deploy.evaluation.audit import audit
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.profile import profile_each
from edgeq.errors import TargetError
from edgeq.formats.tflite_schema import schema
from edgeq.quant import QuantizedTensor
from edgeq.target import TARGETS
from edgeq.targets.tflite import TfliteSession, builtin, reference, xnnpack
from edgeq.targets.workers.session import WorkerSession

if TYPE_CHECKING:
    from pathlib import Path

Op, Kind, Options = schema.BuiltinOperator, schema.TensorType, schema.BuiltinOptions
FEATURES, UNITS, MEMORY = 6, 4, 3


def saved(tmp_path: Path, content: bytes) -> Path:
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    return path


def resource_model() -> bytes:
    """A running sum in a resource variable, which a subgraph sets to zero once.

    Y = x + state, state = y.
    """
    build, main = ModelBuilder(), None
    main = build.graph
    options: Any = schema.VarHandleOptionsT()
    options.container, options.sharedName = "", "state"
    starting = build.subgraph()
    handle = build.tensor("handle", (), Kind.RESOURCE)
    zero = build.tensor("zero", (1, 4), Kind.INT8, [0.1], value=np.zeros(4, np.int8))
    build.operator(Op.VAR_HANDLE, [], [handle], Options.VarHandleOptions, options)
    build.operator(
        Op.ASSIGN_VARIABLE,
        [handle, zero],
        [],
        Options.AssignVariableOptions,
        schema.AssignVariableOptionsT(),
    )
    build.graph = main
    x, state, y = (build.tensor(name, (1, 4), Kind.INT8, [0.1]) for name in ("x", "state", "y"))
    handle = build.tensor("handle", (), Kind.RESOURCE)
    once: Any = schema.CallOnceOptionsT()
    once.initSubgraphIndex = build.model.subgraphs.index(starting)
    build.operator(Op.CALL_ONCE, [], None, Options.CallOnceOptions, once)
    build.operator(Op.VAR_HANDLE, [], [handle], Options.VarHandleOptions, options)
    build.operator(
        Op.READ_VARIABLE,
        [handle],
        [state],
        Options.ReadVariableOptions,
        schema.ReadVariableOptionsT(),
    )
    build.operator(Op.ADD, [x, state], [y], Options.AddOptions, schema.AddOptionsT(), 2)
    build.operator(
        Op.ASSIGN_VARIABLE,
        [handle, y],
        [],
        Options.AssignVariableOptions,
        schema.AssignVariableOptionsT(),
    )
    main.inputs, main.outputs = [x], [y]
    return build.content()


def svdf_model() -> bytes:
    """A float SVDF, whose state is a variable tensor."""
    rng, build = np.random.default_rng(0), ModelBuilder()
    x = build.tensor("x", (1, FEATURES), Kind.FLOAT32)
    feature = build.tensor(
        "feature",
        (UNITS, FEATURES),
        Kind.FLOAT32,
        value=rng.standard_normal((UNITS, FEATURES)).astype(np.float32),
    )
    time = build.tensor(
        "time",
        (UNITS, MEMORY),
        Kind.FLOAT32,
        value=rng.standard_normal((UNITS, MEMORY)).astype(np.float32),
    )
    bias = build.tensor("bias", (UNITS,), Kind.FLOAT32, value=np.zeros(UNITS, np.float32))
    state = build.tensor("state", (1, MEMORY * UNITS), Kind.FLOAT32, variable=True)
    y = build.tensor("y", (1, UNITS), Kind.FLOAT32)
    options: Any = schema.SVDFOptionsT()
    options.rank = 1
    build.operator(Op.SVDF, [x, feature, time, bias, state], [y], Options.SVDFOptions, options)
    build.graph.inputs, build.graph.outputs = [x], [y]
    return build.content()


def lstm_model() -> bytes:
    """A float LSTM over two steps, whose activation and cell are variable tensors."""
    rng, build = np.random.default_rng(0), ModelBuilder()

    def numbers(name: str, *shape: int) -> int:
        return build.tensor(
            name, shape, Kind.FLOAT32, value=rng.standard_normal(shape).astype(np.float32)
        )

    x = build.tensor("x", (1, 2, FEATURES), Kind.FLOAT32)
    gates = [numbers(f"input{i}", UNITS, FEATURES) for i in range(4)] + [
        numbers(f"state{i}", UNITS, UNITS) for i in range(4)
    ]
    biases = [numbers(f"bias{i}", UNITS) for i in range(4)]
    states = [
        build.tensor(name, (1, UNITS), Kind.FLOAT32, variable=True)
        for name in ("activation", "cell")
    ]
    y = build.tensor("y", (1, 2, UNITS), Kind.FLOAT32)
    options: Any = schema.UnidirectionalSequenceLSTMOptionsT()
    options.fusedActivationFunction = schema.ActivationFunctionType.TANH
    inputs = [x, *gates, -1, -1, -1, *biases, -1, -1, *states, -1, -1, -1, -1]
    build.operator(
        Op.UNIDIRECTIONAL_SEQUENCE_LSTM,
        inputs,
        [y],
        Options.UnidirectionalSequenceLSTMOptions,
        options,
    )
    build.graph.inputs, build.graph.outputs = [x], [y]
    return build.content()


def aborting_model() -> bytes:
    """LiteRT cannot express such a ratio of scales, and ends the process that loads it.

    Its checks of the file do not see that.
    """
    build = ModelBuilder()
    x, y = (
        build.tensor(name, (1, 8), Kind.INT8, [scale]) for name, scale in (("x", 0.03), ("y", 1e-9))
    )
    build.operator(Op.ADD, [x, x], [y], Options.AddOptions, schema.AddOptionsT(), 2)
    build.graph.inputs, build.graph.outputs = [x], [y]
    return build.content()


STATEFUL = {"resource": resource_model, "svdf": svdf_model, "lstm": lstm_model}


@pytest.mark.parametrize("target", ["tflite", "tflite-builtin", "tflite-ref", "tflm"])
@pytest.mark.parametrize("model", STATEFUL)
def test_equal_questions_get_equal_answers(tmp_path: Path, target: str, model: str) -> None:
    if target == "tflm":
        pytest.importorskip("tflite_micro")
    path = saved(tmp_path, STATEFUL[model]())
    if target == "tflite" and model != "resource":
        with pytest.raises(TargetError, match="XNNPACK takes no operator"):
            TARGETS.load(target).open(path)
        return
    with TARGETS.load(target).open(path) as session:
        x = (
            np.random.default_rng(1)
            .uniform(-1, 1, (1, *session.inputs[0].shape))
            .astype(np.float32)
        )
        session.prepare(2 * x)  # a latency is taken in between, and leaves nothing behind
        session.invoke()
        answers = session.run(np.concatenate([x, 2 * x, x]))
        assert np.array_equal(answers[0], answers[2])
        assert not np.array_equal(answers[0], answers[1])
        assert np.array_equal(session.run(x), answers[:1])


@pytest.mark.parametrize("target", [builtin, reference], ids=["builtin", "reference"])
def test_tensors_inside_begin_anew_for_each_sample(tmp_path: Path, target: Any) -> None:
    with target.open(saved(tmp_path, resource_model()), intermediates=True) as session:
        seen = session.tensors(np.full((3, 4), 0.5, np.float32))
    state, y = seen["state"], seen["y"]
    assert isinstance(state, QuantizedTensor)
    assert isinstance(y, QuantizedTensor)
    assert not state.dequantize().any()
    assert np.array_equal(y.dequantize(), np.full((3, 4), 0.5, np.float32))


def test_a_file_of_ours_runs_here_and_any_other_in_a_worker(tmp_path: Path) -> None:
    with reference.open(saved(tmp_path, tflite_models.int8_model(ours=True))) as session:
        assert isinstance(session, TfliteSession)
        own = session.run(np.ones((1, 3, 8, 8), np.float32))
    with reference.open(saved(tmp_path, tflite_models.int8_model())) as session:
        assert isinstance(session, WorkerSession)
        assert session.facts["kernels"] == "LiteRT CPU, reference kernels"
        assert np.array_equal(session.run(np.ones((1, 3, 8, 8), np.float32)), own)


def test_a_runtime_that_ends_its_process_ends_nothing_else(tmp_path: Path) -> None:
    """The estimate of the emulator, which needs no LiteRT, is there all the same."""
    before = os.getpid()
    path = saved(tmp_path, aborting_model())
    found = profile_each(
        [Pair(path, name) for name in ("tflite-ref", "tflite", "emulator:cmsis-nn-m4")],
        seconds=0.01,
    )
    assert [profile.target for profile in found.profiles] == ["emulator:cmsis-nn-m4"]
    assert [failure.target for failure in found.failures] == ["tflite-ref", "tflite"]
    assert all("killed by SIGABRT" in failure.what for failure in found.failures)
    with pytest.raises(TargetError, match="killed by SIGABRT"):
        audit(path, "tflite-builtin")
    assert os.getpid() == before


def test_a_kernel_that_writes_beyond_its_tensor_is_not_run(tmp_path: Path) -> None:
    """SVDF in int8 takes its state for int16 and would write beyond the end of it."""
    build = ModelBuilder()
    x = build.tensor("x", (1, FEATURES), Kind.INT8, [0.1])
    feature = build.tensor(
        "feature", (UNITS, FEATURES), Kind.INT8, [0.01], value=np.ones((UNITS, FEATURES), np.int8)
    )
    time = build.tensor(
        "time", (UNITS, MEMORY), Kind.INT8, [0.01], value=np.ones((UNITS, MEMORY), np.int8)
    )
    bias = build.tensor("bias", (UNITS,), Kind.INT32, [0.001], value=np.zeros(UNITS, np.int32))
    state = build.tensor("state", (1, MEMORY * UNITS), Kind.INT8, [0.1], variable=True)
    y = build.tensor("y", (1, UNITS), Kind.INT8, [0.5])
    options: Any = schema.SVDFOptionsT()
    options.rank = 1
    build.operator(Op.SVDF, [x, feature, time, bias, state], [y], Options.SVDFOptions, options, 3)
    build.graph.inputs, build.graph.outputs = [x], [y]
    path = saved(tmp_path, build.content())
    for target in (builtin, reference):
        with pytest.raises(
            TargetError, match="keeps its state in int8, and the kernel writes int16"
        ):
            target.open(path)


@pytest.mark.parametrize("model", ["resource", "svdf", "lstm"])
def test_plans_hold_operators_without_outputs_and_those_of_a_delegate(
    tmp_path: Path, model: str
) -> None:
    path = saved(tmp_path, STATEFUL[model]())
    ops = {op.op_type: op for op in reference.plan(path).ops}
    if model != "resource":
        assert all(op.arithmetic == "float" for op in ops.values())
        return
    assert list(ops) == ["CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ADD", "ASSIGN_VARIABLE"]
    assert ops["ASSIGN_VARIABLE"].name == "operator 4"
    assert {op.op_type: op.place for op in xnnpack.plan(path).ops} == {
        "CALL_ONCE": "fallback",
        **dict.fromkeys(("VAR_HANDLE", "READ_VARIABLE", "ADD", "ASSIGN_VARIABLE"), "delegate"),
    }


def test_real_files_are_answered_or_refused_truly(data_dir: Path) -> None:
    """Never a bug of ours, whatever the file.

    The wake word keeps its state in six resource variables.
    """
    for path in sorted((data_dir / "real").glob("*.tflite")):
        for name in ("tflite-ref", "emulator"):
            target: Any = TARGETS.load(name)
            try:
                target.plan(path)
            except TargetError as error:
                assert name == "emulator"  # only some files are refused
                assert "no arithmetic for" in error.what  # noqa: PT017
    with reference.open(data_dir / "real" / "mww_v2_okay_nabu.tflite") as session:
        x = (
            np.random.default_rng(0)
            .uniform(0, 26, (1, *session.inputs[0].shape))
            .astype(np.float32)
        )
        first, zero, again = session.run(np.concatenate([x, 0 * x, x]))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, zero)
