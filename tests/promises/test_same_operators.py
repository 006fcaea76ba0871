"""What ``edgeq export`` takes in a QDQ file, ``edgeq calibrate`` takes in a float one.

Each row of the table that ``edgeq operators`` prints has a small float network here, which is
calibrated and then written as TFLite; so has each operator that calibration rewrites.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper
from tests.support.checks.calibrated import CHANNELS, SIZE, between, images, model_of, weights

from edgeq.calibration.operators import KINDS, REWRITTEN
from edgeq.calibration.quantize import quantize_onnx
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.operators import operators
from edgeq.numerics.pointwise import UNARY
from edgeq.qdq.op_traits import TRAITS

node, single = helper.make_node, np.float32
PICKS = np.arange(CHANNELS)[::-1].copy()
NORM = {"g": weights(CHANNELS), "b": weights(CHANNELS, seed=2)}
BEYOND = {"Log", "Sqrt", "Reciprocal"}  # of what is positive
FROM_TRAINING = {"ScatterElements"}  # only graph networks have it, and they are trained


def ints(*values: int) -> Any:
    return np.array(values, np.int64)


def pooled(operator: str, **attributes: Any) -> ir.Model:
    attributes = {"kernel_shape": [2, 2], "strides": [2, 2], **attributes}
    return between([node(operator, ["c"], ["t"], **attributes)])


def reduced(operator: str) -> ir.Model:
    return between([node(operator, ["c", "axes"], ["t"], keepdims=1)], {"axes": ints(2, 3)})


def with_constant(operator: str, constant: Any) -> ir.Model:
    return between([node(operator, ["c", "k"], ["t"])], {"k": np.asarray(constant, single)})


def unary(name: str) -> ir.Model:
    if name not in BEYOND:
        return between([node(name, ["c"], ["t"])], opset=24 if name == "Swish" else 21)
    nodes = [
        node("Softplus", ["c"], ["s"]),
        node("Add", ["s", "k"], ["u"]),
        node(name, ["u"], ["t"]),
    ]
    return between(nodes, {"k": single(0.1)})


def last(nodes: list[Any], constants: dict[str, Any] | None = None, batch: Any = "N") -> ir.Model:
    return between([], constants, last=nodes, batch=batch)


def tokens(nodes: list[Any], constants: dict[str, Any]) -> ir.Model:
    """What reads ``s``, (batch, 8, 6), and makes ``y``."""
    first = [
        node("MatMul", ["x", "w"], ["s"]),
    ]
    known = {"w": weights(3, CHANNELS), **constants}
    return model_of([*first, *nodes], known, ("N", SIZE, 3))


def steps(operator: str, gates: int) -> ir.Model:
    shapes = {"i": (1, gates * 4, CHANNELS), "r": (1, gates * 4, 4)}
    nodes = [
        node("Transpose", ["s"], ["turned"], perm=[1, 0, 2]),
        node(operator, ["turned", "i", "r"], ["all", "end"], hidden_size=4),
        node("Squeeze", ["end", "zero"], ["y"]),
    ]
    return tokens(nodes, {**{k: weights(*v) for k, v in shapes.items()}, "zero": ints(0)})


def argmax() -> ir.Model:
    proto = ir.to_proto(last([node("Relu", ["c"], ["y"])]))
    proto.graph.node[-1].CopyFrom(node("ArgMax", ["c"], ["y"], axis=1))
    proto.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return ir.from_proto(proto)


def compared(*conditions: Any) -> ir.Model:
    """``c`` where the condition ``b`` holds, else half of it."""
    nodes = [
        node("Mul", ["c", "k"], ["half"]),
        *conditions,
        node("Where", ["b", "c", "half"], ["t"]),
    ]
    return between(nodes, {"k": single(0.5), "zero": single(0), "one": single(1)})


def logical(*last: Any) -> ir.Model:
    return compared(node("Greater", ["c", "zero"], ["p"]), node("Less", ["c", "one"], ["q"]), *last)


SMALL: dict[str, Any] = {
    "And": lambda: logical(node("And", ["p", "q"], ["b"])),
    "Or": lambda: logical(node("Or", ["p", "q"], ["b"])),
    "Not": lambda: logical(node("Not", ["p"], ["b"])),
    "Where": lambda: compared(node("Greater", ["c", "zero"], ["b"])),
    **{
        name: (lambda name=name: compared(node(name, ["c", "zero"], ["b"])))
        for name in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
    },
    "Add": lambda: between([node("Relu", ["c"], ["r"]), node("Add", ["r", "c"], ["t"])]),
    "ArgMax": argmax,
    "AveragePool": lambda: pooled("AveragePool"),
    "BatchNormalization": lambda: between(
        [node("Relu", ["c"], ["r"]), node("BatchNormalization", ["r", "g", "b", "b", "v"], ["t"])],
        {**NORM, "v": np.ones(CHANNELS, single)},
    ),
    "Cast": lambda: between([node("Cast", ["c"], ["t"], to=1)]),
    "Clip": lambda: between(
        [node("Clip", ["c", "low", "high"], ["t"])], {"low": single(-0.4), "high": single(0.6)}
    ),
    "Concat": lambda: between(
        [node("Relu", ["c"], ["r"]), node("Concat", ["r", "c"], ["t"], axis=1)],
        channels=2 * CHANNELS,
    ),
    "Conv": lambda: between([node("Relu", ["c"], ["t"])]),
    "ConvTranspose": lambda: between(
        [node("ConvTranspose", ["c", "k"], ["t"], strides=[2, 2])],
        {"k": weights(CHANNELS, CHANNELS, 2, 2)},
    ),
    "DepthToSpace": lambda: between(
        [
            node("Concat", ["c", "c"], ["d"], axis=1),
            node("DepthToSpace", ["d"], ["t"], blocksize=2),
        ],
        channels=3,
    ),
    "Div": lambda: between(
        [node("Exp", ["c"], ["e"]), node("Div", ["c", "e"], ["q"]), node("Add", ["q", "c"], ["t"])]
    ),
    "Dropout": lambda: between([node("Dropout", ["c"], ["t"])]),
    "Expand": lambda: between(
        [node("GlobalAveragePool", ["c"], ["p"]), node("Expand", ["p", "shape"], ["t"])],
        {"shape": ints(1, CHANNELS, 3, 3)},
        batch=1,
    ),
    "Flatten": lambda: last(
        [node("Flatten", ["c"], ["f"]), node("Gemm", ["f", "k"], ["y"])],
        {"k": weights(CHANNELS * SIZE * SIZE, 4)},
    ),
    "Gather": lambda: between([node("Gather", ["c", "places"], ["t"], axis=1)], {"places": PICKS}),
    "GatherND": lambda: last(
        [
            node("Transpose", ["c"], ["turned"], perm=[1, 0, 2, 3]),
            node("GatherND", ["turned", "places"], ["y"]),
        ],
        {"places": PICKS[:, None]},
        batch=1,
    ),
    "Gemm": lambda: SMALL["Flatten"](),
    "GlobalAveragePool": lambda: between([node("GlobalAveragePool", ["c"], ["t"])]),
    "GlobalMaxPool": lambda: between([node("GlobalMaxPool", ["c"], ["t"])]),
    "GroupNormalization": lambda: between(
        [node("GroupNormalization", ["c", "g", "b"], ["t"], num_groups=2)], NORM
    ),
    "GRU": lambda: steps("GRU", 3),
    "Identity": lambda: between([node("Identity", ["c"], ["t"])]),
    "InstanceNormalization": lambda: between(
        [node("InstanceNormalization", ["c", "g", "b"], ["t"])], NORM
    ),
    "LSTM": lambda: steps("LSTM", 4),
    "LayerNormalization": lambda: tokens(
        [node("LayerNormalization", ["s", "g", "b"], ["y"])], NORM
    ),
    "LogSoftmax": lambda: between([node("LogSoftmax", ["c"], ["t"], axis=1)]),
    "MatMul": lambda: between(
        [node("Transpose", ["c"], ["d"], perm=[0, 1, 3, 2]), node("MatMul", ["c", "d"], ["t"])]
    ),
    "Max": lambda: with_constant("Max", 0.1),
    "MaxPool": lambda: pooled("MaxPool"),
    "MeanVarianceNormalization": lambda: between(
        [node("MeanVarianceNormalization", ["c"], ["t"], axes=[2, 3])]
    ),
    "Min": lambda: with_constant("Min", 0.1),
    "Mul": lambda: between(
        [
            node("Sigmoid", ["c"], ["s"]),
            node("Mul", ["s", "c"], ["m"]),
            node("Mul", ["m", "c"], ["t"]),
        ]
    ),
    "PRelu": lambda: with_constant("PRelu", np.abs(weights(CHANNELS, 1, 1))),
    "Pad": lambda: between(
        [node("Pad", ["c", "pads"], ["t"])], {"pads": ints(0, 0, 1, 1, 0, 0, 2, 0)}
    ),
    "Pow": lambda: with_constant("Pow", 2),
    "Attention": lambda: between([node("Attention", ["c", "c", "c"], ["t"])], opset=23),
    "CastLike": lambda: between([node("CastLike", ["c", "x"], ["t"])]),
    "CenterCropPad": lambda: between(
        [node("CenterCropPad", ["c", "size"], ["t"], axes=[2, 3])], {"size": ints(6, 6)}
    ),
    "ReduceL1": lambda: reduced("ReduceL1"),
    "ReduceL2": lambda: reduced("ReduceL2"),
    "ReduceLogSum": lambda: between(
        [node("Softplus", ["c"], ["s"]), node("ReduceLogSum", ["s", "axes"], ["t"])],
        {"axes": ints(2, 3)},
    ),
    "ReduceLogSumExp": lambda: reduced("ReduceLogSumExp"),
    "ReduceMax": lambda: reduced("ReduceMax"),
    "ReduceMean": lambda: reduced("ReduceMean"),
    "ReduceMin": lambda: reduced("ReduceMin"),
    "ReduceSum": lambda: reduced("ReduceSum"),
    "ReduceSumSquare": lambda: reduced("ReduceSumSquare"),
    "Relu": lambda: between([node("Relu", ["c"], ["t"])]),
    "Reshape": lambda: last([node("Reshape", ["c", "shape"], ["y"])], {"shape": ints(0, 2, -1)}),
    "Resize": lambda: between(
        [node("Resize", ["c", "", "twice"], ["t"], mode="linear")],
        {"twice": np.array([1, 1, 2, 2], single)},
    ),
    "RMSNormalization": lambda: between(
        [node("RMSNormalization", ["c", "g"], ["t"])], {"g": weights(SIZE)}, opset=23
    ),
    "RNN": lambda: steps("RNN", 1),
    "ScatterND": lambda: between(
        [
            node("GlobalMaxPool", ["c"], ["p"]),
            node("Resize", ["p", "", "eight"], ["q"]),
            node("Slice", ["q", "zero", "one", "one"], ["row"]),
            node("ScatterND", ["c", "places", "row"], ["t"]),
        ],
        {
            "eight": np.array([1, 1, 8, 8], single),
            "zero": ints(0),
            "one": ints(1),
            "places": np.stack(
                np.meshgrid([0], [2], np.arange(8), np.arange(8), indexing="ij"), -1
            ),
        },
        batch=1,
    ),
    "Shrink": lambda: between([node("Shrink", ["c"], ["t"], lambd=0.3, bias=0.3)]),
    "Slice": lambda: between(
        [node("Slice", ["c", "low", "high", "axes"], ["t"])],
        {"low": ints(1, 2), "high": ints(7, 8), "axes": ints(2, 3)},
    ),
    "Softmax": lambda: between([node("Softmax", ["c"], ["t"], axis=1)]),
    "SpaceToDepth": lambda: between(
        [node("SpaceToDepth", ["c"], ["t"], blocksize=2)], channels=4 * CHANNELS
    ),
    "Split": lambda: between(
        [node("Split", ["c"], ["a", "b"], axis=1, num_outputs=2), node("Add", ["a", "b"], ["t"])],
        channels=CHANNELS // 2,
    ),
    "Squeeze": lambda: last(
        [
            node("GlobalAveragePool", ["c"], ["p"]),
            node("Squeeze", ["p", "axes"], ["f"]),
            node("Gemm", ["f", "k"], ["y"]),
        ],
        {"axes": ints(2, 3), "k": weights(CHANNELS, 4)},
    ),
    "Sub": lambda: between([node("Relu", ["c"], ["r"]), node("Sub", ["r", "c"], ["t"])]),
    "Sum": lambda: between([node("Relu", ["c"], ["r"]), node("Sum", ["r", "c", "c"], ["t"])]),
    "Tile": lambda: between([node("Tile", ["c", "times"], ["t"])], {"times": ints(1, 1, 2, 1)}),
    "Transpose": lambda: between([node("Transpose", ["c"], ["t"], perm=[0, 1, 3, 2])]),
    "Unsqueeze": lambda: last([node("Unsqueeze", ["c", "axes"], ["y"])], {"axes": ints(1)}),
    "Upsample": lambda: between(
        [node("Upsample", ["c", "twice"], ["t"], mode="nearest")],
        {"twice": np.array([1, 1, 2, 2], single)},
        opset=9,
    ),
    **{name: (lambda name=name: unary(name)) for name in UNARY},
}


def test_every_operator_has_a_network() -> None:
    written = {row.onnx for row in operators()} - FROM_TRAINING
    assert written | set(REWRITTEN) == set(SMALL)
    assert {name for name, row in TRAITS.items() if row.kind} == set(KINDS)


@pytest.mark.parametrize("name", SMALL)
def test_what_is_exported_is_calibrated(name: str) -> None:
    model = SMALL[name]()
    x = images()
    rows = x[:, :, 0].transpose(0, 2, 1) if len(model.graph.inputs[0].shape or ()) == 3 else x
    assert name in {each.op_type for each in model.graph}
    made = quantize_onnx(model, [np.ascontiguousarray(rows)])
    exported = exporter.export(made, ExportOptions())
    assert exported.parity.different == ()
    assert exported.in_float is None
