"""What runs in integers in a TFLite file.

Products of each operator by hand, and hybrid kernels, held against LiteRT itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from tests.support.models.tflite_models import ModelBuilder
from tests.targets.test_foreign_tflite import lstm_model, svdf_model

from edgeq.deploy.evaluation.audit import audit, require_share
from edgeq.errors import Inconclusive, TargetError
from edgeq.formats.tflite_file import graphs_of
from edgeq.formats.tflite_schema import schema
from edgeq.targets.plans.tflite import plan_of
from edgeq.targets.plans.tflite_macs import macs_of
from edgeq.targets.workers.engines.tflite import RESOLVERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgeq.plan import PlannedOp

Op, Kind, Options = schema.BuiltinOperator, schema.TensorType, schema.BuiltinOptions
RNG = np.random.default_rng(0)


class Hybrid:
    """One operator with float activations of ``shape`` and int8 weights."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.build = ModelBuilder()
        self.shape, self.x = shape, self.build.tensor("x", shape, Kind.FLOAT32)

    def weights(self, *shape: int, scales: int = 1, axis: int = 0) -> int:
        numbers = RNG.integers(-127, 128, shape).astype(np.int8)
        return self.build.tensor(
            f"w{len(self.build.graph.tensors)}",
            shape,
            Kind.INT8,
            [0.001] * scales,
            value=numbers,
            axis=axis,
        )

    def zeros(self, size: int) -> int:
        return self.build.tensor(
            f"b{len(self.build.graph.tensors)}",
            (size,),
            Kind.FLOAT32,
            value=np.zeros(size, np.float32),
        )

    def state(self, size: int) -> int:
        return self.build.tensor(
            f"s{len(self.build.graph.tensors)}", (1, size), Kind.FLOAT32, variable=True
        )

    def shape_of(self, *sizes: int) -> int:
        return self.build.tensor(
            "shape", (len(sizes),), Kind.INT32, value=np.array(sizes, np.int32)
        )

    def finish(
        self, name: str, inputs: Sequence[int], result: tuple[int, ...], options: Any, version: int
    ) -> bytes:
        y = self.build.tensor("y", result, Kind.FLOAT32)
        kind = getattr(Options, type(options).__name__.removesuffix("T"))
        self.build.operator(getattr(Op, name), list(inputs), [y], kind, options, version)
        self.build.graph.inputs, self.build.graph.outputs = [self.x], [y]
        return self.build.content()


def options_of(name: str, **values: Any) -> Any:
    options = getattr(schema, f"{name}OptionsT")()
    for key, value in values.items():
        setattr(options, key, value)
    return options


STRIDES = {"strideH": 1, "strideW": 1, "dilationHFactor": 1, "dilationWFactor": 1}
TANH = schema.ActivationFunctionType.TANH


def convolution() -> bytes:
    one = Hybrid((1, 4, 4, 2))
    return one.finish(
        "CONV_2D",
        [one.x, one.weights(3, 3, 3, 2, scales=3), one.zeros(3)],
        (1, 4, 4, 3),
        options_of("Conv2D", **STRIDES),
        5,
    )


def depthwise() -> bytes:
    one = Hybrid((1, 4, 4, 2))
    weights = one.weights(1, 3, 3, 2, scales=2, axis=3)
    options = options_of("DepthwiseConv2D", depthMultiplier=1, **STRIDES)
    return one.finish("DEPTHWISE_CONV_2D", [one.x, weights, one.zeros(2)], (1, 4, 4, 2), options, 6)


def transposed() -> bytes:
    one = Hybrid((1, 4, 4, 2))
    inputs = [one.shape_of(1, 8, 8, 3), one.weights(3, 2, 2, 2), one.x]
    return one.finish(
        "TRANSPOSE_CONV", inputs, (1, 8, 8, 3), options_of("TransposeConv", strideH=2, strideW=2), 3
    )


def dense() -> bytes:
    one = Hybrid((1, 8))
    return one.finish(
        "FULLY_CONNECTED", [one.x, one.weights(5, 8), -1], (1, 5), options_of("FullyConnected"), 9
    )


def product() -> bytes:
    one = Hybrid((1, 2, 8))
    return one.finish(
        "BATCH_MATMUL", [one.x, one.weights(1, 8, 5)], (1, 2, 5), options_of("BatchMatMul"), 4
    )


def svdf() -> bytes:
    one = Hybrid((1, 8))
    inputs = [one.x, one.weights(6, 8), one.weights(6, 3), one.zeros(3), one.state(18)]
    return one.finish("SVDF", inputs, (1, 3), options_of("SVDF", rank=2), 2)


def rnn() -> bytes:
    one = Hybrid((1, 8))
    inputs = [one.x, one.weights(5, 8), one.weights(5, 5), one.zeros(5), one.state(5)]
    return one.finish("RNN", inputs, (1, 5), options_of("RNN"), 2)


def rnn_over_steps() -> bytes:
    one = Hybrid((1, 3, 8))
    inputs = [one.x, one.weights(5, 8), one.weights(5, 5), one.zeros(5), one.state(5)]
    return one.finish(
        "UNIDIRECTIONAL_SEQUENCE_RNN", inputs, (1, 3, 5), options_of("SequenceRNN"), 2
    )


def rnn_both_ways() -> bytes:
    one = Hybrid((1, 3, 8))
    cells = [
        part
        for _ in range(2)
        for part in (one.weights(5, 8), one.weights(5, 5), one.zeros(5), one.state(5))
    ]
    options = options_of("BidirectionalSequenceRNN", mergeOutputs=True, timeMajor=False)
    return one.finish(
        "BIDIRECTIONAL_SEQUENCE_RNN", [one.x, *cells, -1, -1, -1], (1, 3, 10), options, 2
    )


def _cell(one: Hybrid) -> list[int]:
    matrices = [one.weights(5, 8) for _ in range(4)] + [one.weights(5, 5) for _ in range(4)]
    return [*matrices, -1, -1, -1, *(one.zeros(5) for _ in range(4)), -1, -1]


def lstm() -> bytes:
    one = Hybrid((1, 8))
    inputs = [one.x, *_cell(one), one.state(5), one.state(5), -1, -1, -1, -1]
    return one.finish("LSTM", inputs, (1, 5), options_of("LSTM", fusedActivationFunction=TANH), 2)


def lstm_over_steps() -> bytes:
    one = Hybrid((1, 3, 8))
    inputs = [one.x, *_cell(one), one.state(5), one.state(5), -1, -1, -1, -1]
    options = options_of("UnidirectionalSequenceLSTM", fusedActivationFunction=TANH)
    return one.finish("UNIDIRECTIONAL_SEQUENCE_LSTM", inputs, (1, 3, 5), options, 2)


def lstm_both_ways() -> bytes:
    one = Hybrid((1, 3, 8))
    inputs = [one.x, *_cell(one), *_cell(one), *(one.state(5) for _ in range(4)), *[-1] * 9]
    options = options_of(
        "BidirectionalSequenceLSTM",
        fusedActivationFunction=TANH,
        mergeOutputs=True,
        timeMajor=False,
    )
    return one.finish("BIDIRECTIONAL_SEQUENCE_LSTM", inputs, (1, 3, 10), options, 2)


HYBRID: dict[str, tuple[Callable[[], bytes], int]] = {
    "CONV_2D": (convolution, 16 * 3 * 9 * 2),
    "DEPTHWISE_CONV_2D": (depthwise, 16 * 2 * 9),
    "TRANSPOSE_CONV": (transposed, 16 * 2 * 3 * 4),
    "FULLY_CONNECTED": (dense, 40),
    "BATCH_MATMUL": (product, 2 * 8 * 5),
    "SVDF": (svdf, 6 * 8 + 6 * 3),
    "RNN": (rnn, 5 * 13),
    "UNIDIRECTIONAL_SEQUENCE_RNN": (rnn_over_steps, 3 * 5 * 13),
    "BIDIRECTIONAL_SEQUENCE_RNN": (rnn_both_ways, 2 * 3 * 5 * 13),
    "LSTM": (lstm, 4 * 5 * 13),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": (lstm_over_steps, 3 * 4 * 5 * 13),
    "BIDIRECTIONAL_SEQUENCE_LSTM": (lstm_both_ways, 2 * 3 * 4 * 5 * 13),
}


def planned(content: bytes) -> tuple[PlannedOp, ...]:
    return plan_of(graphs_of(content), (), delegate=False).ops


def hidden_difference(shape: tuple[int, ...]) -> list[np.ndarray]:
    """Two inputs of magnitude 127 that differ by a third of a step.

    Equal to a kernel that quantises them, unequal to any other.
    """
    first = np.random.default_rng(1).integers(-100, 100, shape).astype(np.float32)
    first.reshape(-1)[:3] = 127, -127, 0
    second = first.copy()
    second.reshape(-1)[2] = 0.3
    return [first, second]


@pytest.mark.parametrize("kernels", RESOLVERS)
@pytest.mark.parametrize("name", HYBRID)
def test_hybrid_kernels_quantise_their_activations(name: str, kernels: str) -> None:
    content = HYBRID[name][0]()
    resolver = OpResolverType[RESOLVERS[kernels]]
    interpreter = Interpreter(
        model_content=content, num_threads=1, experimental_op_resolver_type=resolver
    )
    interpreter.allocate_tensors()
    input_info, exit_ = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    answers = []
    for x in hidden_difference(tuple(input_info["shape"])):
        interpreter.reset_all_variables()
        interpreter.set_tensor(input_info["index"], x)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(exit_["index"]))
    assert np.array_equal(*answers)
    assert answers[0].any()
    (op,) = planned(content)
    assert (op.op_type, op.arithmetic, op.macs) == (name, "hybrid", HYBRID[name][1])


def test_float_weights_are_no_hybrid() -> None:
    for content, macs in ((svdf_model(), 4 * 6 + 4 * 3), (lstm_model(), 2 * 4 * 4 * (6 + 4))):
        (op,) = planned(content)
        assert (op.arithmetic, op.macs, op.why) == ("float", macs, "its input 'x' is in float")


def test_an_audit_calls_hybrid_kernels_by_their_name(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    path.write_bytes(dense())
    found = audit(path, "tflite")
    assert [(op.state, op.integer, op.hybrid) for op in found.ops] == [("delegated", True, True)]
    assert (found.macs, found.integer_macs, found.hybrid_macs, found.integer_share) == (
        40,
        40,
        40,
        1.0,
    )
    with pytest.raises(TargetError, match="filter type: INT8 not supported"):
        audit(path, "tflm")


def loop(*, counts: bool = True, multiplies: bool = True) -> bytes:
    """A WHILE over five steps with a fully connected layer of 8 x 8 in float inside.

    A state decides its end where it does not count.
    """
    build = ModelBuilder()
    main = build.graph
    condition = build.subgraph()
    i, state = build.tensor("i", (), Kind.INT32), build.tensor("state", (1, 8), Kind.FLOAT32)
    limit = build.tensor("limit", (), Kind.INT32, value=np.array(5, np.int32))
    less = build.tensor("less", (), Kind.BOOL)
    build.operator(
        Op.LESS if counts else Op.NOT_EQUAL,
        [i, limit],
        [less],
        Options.LessOptions,
        schema.LessOptionsT(),
    )
    condition.inputs, condition.outputs = [i, state], [less]
    body = build.subgraph()
    i, state = build.tensor("i", (), Kind.INT32), build.tensor("state", (1, 8), Kind.FLOAT32)
    one, after = (
        build.tensor("one", (), Kind.INT32, value=np.array(1, np.int32)),
        build.tensor("after", (), Kind.INT32),
    )
    build.operator(Op.ADD, [i, one], [after], Options.AddOptions, schema.AddOptionsT())
    new = build.tensor("new", (1, 8), Kind.FLOAT32)
    if multiplies:
        weights = build.tensor("weights", (8, 8), Kind.FLOAT32, value=np.eye(8, dtype=np.float32))
        build.operator(
            Op.FULLY_CONNECTED,
            [state, weights, -1],
            [new],
            Options.FullyConnectedOptions,
            options_of("FullyConnected"),
        )
    else:
        build.operator(Op.TANH, [state], [new])
    body.inputs, body.outputs = [i, state], [after, new]
    build.graph = main
    start, x = (
        build.tensor("start", (), Kind.INT32, value=np.array(0, np.int32)),
        build.tensor("x", (1, 8), Kind.FLOAT32),
    )
    end, y = build.tensor("end", (), Kind.INT32), build.tensor("y", (1, 8), Kind.FLOAT32)
    options = options_of("While", condSubgraphIndex=1, bodySubgraphIndex=2)
    build.operator(Op.WHILE, [start, x], [end, y], Options.WhileOptions, options)
    main.inputs, main.outputs = [x], [y]
    return build.content()


def test_a_loop_that_counts_tells_its_products() -> None:
    (op,) = planned(loop())
    assert (op.arithmetic, op.macs) == ("float", 5 * 64)
    assert op.why == "FULLY_CONNECTED inside of it: its input 'state' is in float"
    (op,) = planned(loop(multiplies=False))
    assert op.macs == 0


def test_another_loop_does_not_and_no_gate_can_decide(tmp_path: Path) -> None:
    graphs = graphs_of(loop(counts=False))
    assert macs_of(graphs[0].operators[0], graphs) is None
    path = tmp_path / "model.tflite"
    path.write_bytes(loop(counts=False))
    with pytest.raises(Inconclusive, match="WHILE 'end' may multiply"):
        require_share(audit(path, "tflite-ref"), 0.9)
