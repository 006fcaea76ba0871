"""What two spellings of one model are compared by.

Every dequantised tensor, as ONNX Runtime computes it with optimisation off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import helper

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

LEVELS = {
    "off": ort.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": ort.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "all": ort.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


def run(
    proto: onnx.ModelProto, x: NDArray[np.float32], level: str, folder: Path | None = None
) -> tuple[list[NDArray[np.float32]], list[str]]:
    """All outputs for one input, and the operators that ran.

    They are told where a folder for the optimised graph is given.
    """
    options = ort.SessionOptions()
    options.graph_optimization_level = LEVELS[level]
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    if folder is not None:
        options.optimized_model_filepath = str(folder / "optimized.onnx")
    session = ort.InferenceSession(
        proto.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    values = [np.asarray(value) for value in session.run(None, {proto.graph.input[0].name: x})]
    ran = onnx.load(options.optimized_model_filepath).graph.node if folder is not None else ()
    return values, [node.op_type for node in ran]


def real_tensors(model: ir.Model, x: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
    """Every dequantised activation by name, and the outputs by their number."""
    proto = ir.to_proto(model)
    constants = {tensor.name for tensor in proto.graph.initializer}
    shown = [
        n.output[0]
        for n in proto.graph.node
        if n.op_type == "DequantizeLinear" and n.input[0] not in constants
    ]
    outputs = [value.name for value in proto.graph.output]
    proto.graph.output.extend(
        helper.make_empty_tensor_value_info(name) for name in shown if name not in outputs
    )
    values, _ = run(proto, x, "off")
    names = [f"output {i}" for i in range(len(outputs))] + [
        name for name in shown if name not in outputs
    ]
    return dict(zip(names, values, strict=True))


def assert_same_numbers(model: ir.Model, other: ir.Model, x: NDArray[np.float32]) -> None:
    """Bit for bit, for each tensor of ``model``; ``other`` may have more."""
    expected, found = real_tensors(model, x), real_tensors(other, x)
    for name, values in expected.items():
        assert found[name].tobytes() == values.tobytes(), name
