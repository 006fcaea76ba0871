"""How many pairs of products really saturate on samples.

By the emulator of a processor that adds them in 16 bits.

It runs the file as a whole. A file of which it refuses something that has nothing to do with pairs,
such as layers that ONNX Runtime leaves in float, is counted layer by layer instead, each fed with
what exact kernels give it.
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeq.data.batching import fed
from edgeq.deploy.evaluation.chain import reference_of
from edgeq.errors import TargetError
from edgeq.files import temporary_folder
from edgeq.quant import QuantizedTensor
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from edgeq.data import DataSource, Split
    from edgeq.qdq.ir import QdqConstant, QdqOp, QdqTensor
    from edgeq.target import Session
    from edgeq.targets.emulator.program import OverflowStats
    from edgeq.targets.emulator.session import EmulatorSession

EMULATED = "emulator:avx2"
_BATCH = 16
_WIDE = 2.0**20  # a grid of results that none leaves


def pair_overflows(
    artefact: Path, tensors: Collection[str], source: DataSource, part: Split, *, threads: int = 1
) -> Mapping[str, OverflowStats]:
    """What happened to the sums of layers, by the name of what they make.

    A layer that cannot be fed is left out.

    Args:
        artefact: an ONNX file.
        tensors: the names of the results of those layers.
        source: the data set.
        part: the samples.
        threads: the most threads the emulator may use.

    Raises:
        ArtefactError: the artefact does not fit the data, or its graph cannot be read.
        TargetError: a runtime refuses the file.
    """
    try:
        with _emulator(artefact, threads) as session:
            for images, _ in fed(part, source, _BATCH):
                session.run(images)
            return {name: stats for name, stats in _overflow_stats(session) if name in tensors}
    except TargetError:
        return _by_layer(artefact, tensors, source, part, threads)


def _emulator(artefact: Path, threads: int) -> EmulatorSession:
    return cast("EmulatorSession", TARGETS.load(EMULATED).open(artefact, threads=threads))


def _overflow_stats(session: EmulatorSession) -> Iterator[tuple[str, OverflowStats]]:
    return ((report.work.name, report.stats) for report in session.layers())


def _by_layer(
    artefact: Path, tensors: Collection[str], source: DataSource, part: Split, threads: int
) -> Mapping[str, OverflowStats]:
    from edgeq.formats.onnx_io import read
    from edgeq.qdq.op_traits import traits_of
    from edgeq.qdq.reader import read_qdq

    graph = read_qdq(read(artefact), float_fallback=True)
    layers = [op for op in graph.ops if op.output.name in tensors]
    views = {op.output.name: op for op in graph.ops if traits_of(op.op_type).reshapes}
    with ExitStack() as stack:
        folder = stack.enter_context(temporary_folder())
        exact: Session = stack.enter_context(
            reference_of("onnx").open(artefact, threads=threads, intermediates=True)
        )
        sessions = {}
        for index, op in enumerate(layers):
            path = folder / f"{index}.onnx"
            path.write_bytes(_alone(op).SerializeToString())
            sessions[index] = stack.enter_context(_emulator(path, threads))
        counted = set()
        for images, _ in fed(part, source, _BATCH):
            seen = exact.tensors(images)
            for index, op in enumerate(layers):
                if (numbers := _read_by(op, views, seen)) is not None:
                    sessions[index].run(numbers)
                    counted.add(index)
        return {
            layers[index].output.name: dict(_overflow_stats(sessions[index]))["y"]
            for index in counted
        }


def _read_by(
    op: QdqOp, views: Mapping[str, QdqOp], seen: Mapping[str, QuantizedTensor | NDArray[np.float32]]
) -> NDArray[np.float32] | None:
    """What a layer reads, in real numbers, sample by sample; None where no runtime shows it."""
    data = cast("QdqTensor", op.inputs[0])
    name = data.name
    while name not in seen and name in views:  # the same numbers in another shape
        name = cast("QdqTensor", views[name].inputs[0]).name
    found = seen.get(name)
    if found is None:
        return None
    numbers = found.dequantize() if isinstance(found, QuantizedTensor) else found
    return numbers.reshape(-1, *data.shape[1:])


def _alone(op: QdqOp) -> onnx.ModelProto:
    """A layer as a file of its own, from ``x`` to ``y``; its bias moves no pair and is left out."""
    from onnx import TensorProto, helper, numpy_helper

    data, weights = cast("QdqTensor", op.inputs[0]), cast("QdqConstant", op.inputs[1])
    stored = weights.params
    channels = 0 if stored is None or stored.axis is None else stored.axis
    constants = {
        "x_scale": np.float32(data.scale),
        "x_zero_point": np.array(data.zero_point, data.params.dtype),
        "w_quantized": weights.values.astype(np.int8),
        "w_scale": np.float32(1),
        "w_zero_point": np.int8(0),
        "y_scale": np.float32(_WIDE * float(data.scale)),
        "y_zero_point": np.uint8(128),
    }
    if stored is not None and np.any(stored.zero_point):
        constants["w_zero_point"] = np.asarray(stored.zero_point, np.int8)
        constants["w_scale"] = np.ones(np.shape(stored.zero_point), np.float32)
    node = helper.make_node
    attributes: dict[str, Any] = {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in op.attributes.items()
    }
    nodes = [
        node("QuantizeLinear", ["x", "x_scale", "x_zero_point"], ["x_quantized"]),
        node("DequantizeLinear", ["x_quantized", "x_scale", "x_zero_point"], ["x_dequantized"]),
        node("DequantizeLinear", ["w_quantized", "w_scale", "w_zero_point"], ["w"], axis=channels),
        node(op.op_type, ["x_dequantized", "w"], ["y"], **attributes),
        node("QuantizeLinear", ["y", "y_scale", "y_zero_point"], ["y_quantized"]),
        node("DequantizeLinear", ["y_quantized", "y_scale", "y_zero_point"], ["y_dequantized"]),
    ]
    shapes = (("x", (1, *data.shape[1:])), ("y_dequantized", None))
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes]
    stored_constants = [
        numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()
    ]
    graph = helper.make_graph(nodes, "layer", ends[:1], ends[1:], stored_constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
