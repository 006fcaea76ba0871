"""Operators that ONNX defines by others are quantised as these, and answer as they do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgeq.calibration.normal_form.unrolling.written_out import WRITTEN_OUT
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
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
    "ReduceLogSum": (
        [node("Abs", "a", "p"), node("ReduceLogSum", "p ax", "m"), node("Add", "a m", "b")],
        {"ax": [1]},
    ),
    "ReduceLogSumExp": (
        [node("ReduceLogSumExp", "a ax", "m"), node("Add", "a m", "b")],
        {"ax": [1]},
    ),
}


def network(case: str, batch: int | str) -> onnx.ModelProto:
    nodes, given = CASES[case]
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
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)


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
