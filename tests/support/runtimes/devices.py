"""Runs a cut model on runtimes that have targets of their own.

Every operator answers for itself, given equal integers.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from edgeq.formats.onnx_io import serialize
from edgeq.qdq.segments import cut
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    Array = NDArray[Any]
    Run = Callable[[bytes, Mapping[str, Array], Sequence[str]], list[Array]]


def need(name: str) -> None:
    """Skip the test where a target is not usable."""
    state = TARGETS.load(name).probe()
    if not state.usable:
        pytest.skip(f"{name} is not usable here: {state.why_not}")


def reference(content: bytes, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    """ONNX Runtime with all optimisation off."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    session = ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return [np.asarray(values) for values in session.run(list(names), dict(feeds))]


def openvino(content: bytes, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    """OpenVINO's CPU plug-in."""
    from openvino import Core

    core = Core()
    compiled = core.compile_model(
        core.read_model(content),
        "CPU",
        {"INFERENCE_NUM_THREADS": 1, "INFERENCE_PRECISION_HINT": "f32"},
    )
    answers = compiled(dict(feeds))
    return [np.array(answers[name]) for name in names]


def htp(content: bytes, feeds: Mapping[str, Array], names: Sequence[str]) -> list[Array]:
    """The simulator of Qualcomm's HTP, the whole graph."""
    from edgeq.targets.workers.engines import qnn

    session = qnn._start(content, qnn._device())
    return [np.asarray(values) for values in session.run(list(names), dict(feeds))]


def batch_of_one(model: ir.Model) -> onnx.ModelProto:
    """The model as a file, its batch fixed."""
    proto = onnx.load_from_string(serialize(model))
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        dims = value.type.tensor_type.shape.dim
        if dims and not dims[0].HasField("dim_value"):
            dims[0].dim_value = 1
    return proto


def layer_by_layer(model: ir.Model, images: Array, run: Run) -> dict[str, Counter[int]]:
    """For each quantised tensor.

    Difference from the reference in LSB to how often, every operator fed with the same integers.

    Args:
        model: a QDQ model with a float input.
        images: float32, (samples, ...).
        run: the runtime.
    """
    fixed = ir.from_proto(batch_of_one(model))
    segments = cut(fixed)
    names = [piece.output for piece in segments.cuts]
    whole, pieces = batch_of_one(fixed), batch_of_one(segments.model).SerializeToString()
    input_info, present = whole.graph.input[0].name, {value.name for value in whole.graph.output}
    whole.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in names if name not in present
    )
    found: dict[str, Counter[int]] = {piece.name: Counter() for piece in segments.cuts}
    for image in images:
        integers = reference(whole.SerializeToString(), {input_info: image[None]}, names)
        feeds = {
            piece.feed: value
            for piece, value in zip(segments.cuts, integers, strict=True)
            if piece.feed is not None
        }
        feeds[input_info] = image[None]
        for piece, got, want in zip(
            segments.cuts, run(pieces, feeds, names), reference(pieces, feeds, names), strict=True
        ):
            found[piece.name].update(
                (got.astype(np.int64) - want.astype(np.int64)).ravel().tolist()
            )
    return found


def output_lsb(model: ir.Model, image: Array, run: Run) -> Counter[int]:
    """Difference of the whole model's output from the reference's, in LSB, to how often."""
    proto = batch_of_one(model)
    names, feeds = [proto.graph.output[0].name], {proto.graph.input[0].name: image}
    got, want = (
        values[0].astype(np.float64)
        for values in (each(proto.SerializeToString(), feeds, names) for each in (run, reference))
    )
    return Counter(np.rint((got - want) / _output_step(proto)).astype(int).ravel().tolist())


def _output_step(proto: onnx.ModelProto) -> float:
    constants = {tensor.name: numpy_helper.to_array(tensor) for tensor in proto.graph.initializer}
    last = next(node for node in proto.graph.node if node.output[0] == proto.graph.output[0].name)
    return float(constants[last.input[1]])
