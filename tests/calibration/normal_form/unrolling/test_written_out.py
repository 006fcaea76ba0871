"""Operators that ONNX defines by others are quantised as these, and answer as they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeq.calibration.graph import classify
from edgeq.calibration.normal_form.unrolling.written_out import WRITTEN_OUT
from edgeq.calibration.quantize import fold_onnx, integer_form, quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

CAUSAL = np.where(np.tri(16, dtype=np.float32) > 0, 0.0, -np.inf).astype(np.float32)[None, None]
HEADS = {"q_num_heads": 2, "kv_num_heads": 2}
TO_TOKENS, TO_IMAGES = np.array([0, 16, 4]), np.array([0, 4, 4, 4])


def node(kind: str, inputs: str, made: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(kind, inputs.split(), [made], **attributes)


def attention(inputs: str = "t t t", **attributes: Any) -> list[onnx.NodeProto]:
    return [
        node("Reshape", "a tokens", "t"),
        node("Attention", inputs, "u", **HEADS, **attributes),
        node("Reshape", "u images", "b"),
    ]


CASES: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "RMSNormalization": ([node("RMSNormalization", "a s", "b", axis=-1)], {"s": [1, 2, 0.5, 1.5]}),
    "Attention": (attention(), {}),
    "Attention of images": ([node("Attention", "a a a", "b", scale=0.3)], {}),
    "Attention, causal": (attention(is_causal=1), {}),
    "Attention, masked": (attention("t t t mask"), {"mask": CAUSAL}),
    "CastLike": ([node("CastLike", "a x", "b")], {}),
    "Shrink": ([node("Shrink", "a", "b", bias=0.1, lambd=0.2)], {}),
    "CenterCropPad": ([node("CenterCropPad", "a crop", "b", axes=[2, 3])], {"crop": [3, 5]}),
    "MeanVarianceNormalization": ([node("MeanVarianceNormalization", "a", "b")], {}),
    "MeanVarianceNormalization of rows": (
        [node("MeanVarianceNormalization", "a", "b", axes=[-1])],
        {},
    ),
    "ReduceLogSum": (
        [node("Abs", "a", "p"), node("ReduceLogSum", "p ax", "m"), node("Add", "a m", "b")],
        {"ax": [1]},
    ),
    "ReduceLogSumExp": (
        [node("ReduceLogSumExp", "a ax", "m"), node("Add", "a m", "b")],
        {"ax": [1]},
    ),
}


FUNCTIONS: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "Clip": ([node("Clip", "a low", "b")], {"low": np.float32(0)}),
    "PRelu": ([node("PRelu", "a slope", "b")], {"slope": np.full((4, 1, 1), 0.2, np.float32)}),
    "DepthToSpace": (
        [node("DepthToSpace", "a", "d", blocksize=2), node("SpaceToDepth", "d", "b", blocksize=2)],
        {},
    ),
    "SpaceToDepth": (
        [node("SpaceToDepth", "a", "d", blocksize=2), node("DepthToSpace", "d", "b", blocksize=2)],
        {},
    ),
    "LayerNormalization": ([node("LayerNormalization", "a s", "b")], {"s": [1, 2, 1, 2]}),
    "GroupNormalization": (
        [node("GroupNormalization", "a s z", "b", num_groups=2)],
        {"s": [1, 2, 1, 2], "z": np.zeros(4, np.float32)},
    ),
    "Range": (
        [node("Range", "from to by", "r"), node("Mul", "a r", "b")],
        {"from": np.float32(0), "to": np.float32(4), "by": np.float32(1)},
    ),
    "Gelu": ([node("Gelu", "a", "b", approximate="tanh")], {}),
    "SwiGLU": ([node("SwiGLU", "a x", "b")], {}),
    "Bernoulli": ([node("Sigmoid", "a", "p"), node("Bernoulli", "p", "b")], {}),
    "AffineGrid": (
        [node("AffineGrid", "turn size", "g"), node("GridSample", "a g", "b")],
        {"turn": np.eye(2, 3, dtype=np.float32)[None], "size": [1, 4, 4, 4]},
    ),
    **{
        name: ([node(name, "four", "v"), node("Mul", "a v", "b")], {"four": np.array(4)})
        for name in ("BlackmanWindow", "HammingWindow", "HannWindow")
    },
    **{
        name: (
            [node("Abs", "a", "p"), node(name, "p ax", "m"), node("Add", "a m", "b")],
            {"ax": [1]},
        )
        for name in ("ReduceL1", "ReduceL2", "ReduceSumSquare")
    },
    **{
        name: ([node(name, "a zero", "c"), node("Where", "c a zero", "b")], {"zero": np.float32(0)})
        for name in ("GreaterOrEqual", "LessOrEqual")
    },
}
"""Networks around an operator, where it takes more than one tensor."""
TRAINING = "belongs to training"
OF_OTHER_TENSORS = "holds no real numbers: a sequence, or integers already"
REFUSED = {
    "AffineGrid": "GridSample node 'b' has no integer form",
    "Bernoulli": "has no integer form",
    "CausalConvWithState": "of a language model with states",
    "FlexAttention": "a preview that no exporter writes",
    "LinearAttention": "of a language model with states",
    "RotaryEmbedding": "belongs to a language model",
    "DynamicQuantizeLinear": OF_OTHER_TENSORS,
    "SequenceMap": OF_OTHER_TENSORS,
    "NegativeLogLikelihoodLoss": TRAINING,
    "SoftmaxCrossEntropyLoss": TRAINING,
}
"""The operators that ONNX defines by others and that are not quantised, and why."""


def network(case: str, batch: int | str, opset: int = 23) -> onnx.ModelProto:
    nodes, given = {**FUNCTIONS, **CASES}.get(case, ([node(case, "a", "b")], {}))
    rng = np.random.default_rng(0)
    constants: dict[str, Any] = {
        "w": rng.normal(size=(4, 4, 1, 1)).astype(np.float32) / 2,
        **{name: np.asarray(value) for name, value in given.items()},
    }
    if any("t" in each.output for each in nodes):
        constants |= {"tokens": TO_TOKENS, "images": TO_IMAGES}
    if "s" in constants:
        constants["s"] = constants["s"].astype(np.float32)
    whole = [node("Conv", "x w", "a", name="first"), *nodes, node("Conv", "b w", "y", name="last")]
    graph = helper.make_graph(
        whole,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 4, 4, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * 4)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)


@pytest.mark.parametrize("batch", [1, "n"])
@pytest.mark.parametrize("case", CASES)
def test_it_answers_as_before_and_is_quantised(case: str, batch: int | str, tmp_path: Path) -> None:
    proto = network(case, batch)
    images = np.random.default_rng(1).normal(size=(8, 4, 4, 4)).astype(np.float32)
    folded = ir.to_proto(fold_onnx(ir.from_proto(proto)))
    assert not {each.op_type for each in folded.graph.node} & WRITTEN_OUT
    wanted, found = (
        np.asarray(next(iter(ReferenceEvaluator(each).run(None, {"x": images[:1]}))))
        for each in (proto, folded)
    )
    np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)

    told = list[str]()
    made = quantize_onnx(ir.from_proto(proto), [images], tell=told.append)
    near = next(float(line.split(": ")[1].split()[0]) for line in told if "dB SQNR" in line)
    assert near > 15, told
    path = tmp_path / "made.onnx"
    path.write_bytes(serialize(made))
    answers = []
    for target in ("emulator", "ort-cpu-ref"):
        with TARGETS.load(target).open(path) as session:
            answers.append(session.run(images[:1]))
    np.testing.assert_array_equal(answers[0], answers[1])


SCHEMAS = onnx.defs.get_all_schemas_with_history()


@pytest.mark.parametrize(
    "schema",
    [
        schema
        for schema in onnx.defs.get_all_schemas()
        if any(getattr(schema, kind) for kind in ("has_function", "has_context_dependent_function"))
    ],
    ids=lambda schema: schema.name,
)
def test_what_onnx_defines_by_others_is_quantised_or_listed(schema: onnx.defs.OpSchema) -> None:
    """Whatever onnx is installed: a new one is put into one of the two."""
    why = REFUSED.get(schema.name)
    if schema.name in REFUSED and schema.name not in FUNCTIONS:
        assert schema.name not in WRITTEN_OUT
        return
    since = (each.since_version for each in SCHEMAS if each.name == schema.name)
    made = ir.from_proto(network(schema.name, 1, max(min(since), 23)))
    if why is None:
        classify(integer_form(made).graph)
    else:
        with pytest.raises(ArtefactError, match=why):
            classify(integer_form(made).graph)


def test_names_of_what_is_written_out_are_short() -> None:
    """Each is called after what it is for and its operator, not after all that follows."""
    nodes = fold_onnx(ir.from_proto(network("Attention, masked", 1))).graph
    names = [str(each.name) for each in nodes]
    assert {"first", "u_softmax", "u_matmul", "last"} <= {*names}
    assert max(map(len, names)) < 16
    assert len({*names}) == len(names)
