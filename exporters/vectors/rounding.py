"""Whether the installed TensorFlow Lite rounds a fully connected layer's sums once or twice.

Its reference kernel multiplied by mantissa and shift, which rounds twice, until it began to
multiply by the real factor, which rounds once; TensorFlow Lite Micro still rounds twice. No version
number is asked: a layer of one weight tells.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from edgeq.exporters.tflite.file.builder import Builder, StoredGrid
from edgeq.formats.tflite_schema import schema

_SUM, _FACTOR, _STEP = 32, 0.99, 64.0  # 31.68 / 64: below a half, but 32 / 64 is not


@cache
def dense_rounds_once() -> bool:
    """Whether the reference kernel of FULLY_CONNECTED rounds once."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_content=_probe(), experimental_op_resolver_type=OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    interpreter.set_tensor(
        interpreter.get_input_details()[0]["index"], np.full((1, 1), _SUM, np.int8)
    )
    interpreter.invoke()
    return int(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]).item()) == 0


def _probe() -> bytes:
    builder = Builder()
    source = builder.activation("input", (1, 1), StoredGrid.of(1.0))
    weights = builder.constant("weights", np.ones((1, 1), np.int8), StoredGrid.of(_FACTOR))
    bias = builder.constant("bias", np.zeros(1, np.int32), StoredGrid.of(_FACTOR))
    output = builder.activation("output", (1, 1), StoredGrid.of(_STEP))
    builder.operator(
        schema.BuiltinOperator.FULLY_CONNECTED,
        4,
        [source, weights, bias],
        [output],
        schema.FullyConnectedOptionsT(),
    )
    return builder.finish([source], [output], "which rounding", {})
