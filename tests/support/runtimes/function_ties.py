"""Where ONNX Runtime's polynomials and the emulator's formulas round a function apart.

Each operator is given the runtime's own integers. What functions give then may differ by one, and
only where the exact value lies within the error of float32 arithmetic of a tie.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.numerics.pointwise import UNARY
from edgeq.qdq.ir import QdqTensor
from edgeq.qdq.reader import read_qdq
from edgeq.quant import QuantizedTensor
from edgeq.targets import ort
from edgeq.targets.emulator import emulator

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.qdq.ir import QdqOp

# what ONNX Runtime's functions may be off, times the larger of 1, the argument and the value: ten
# times the most that was seen over a hundred thousand arguments of each in -8 to 8
FUNCTION_ERROR = 1e-5


@dataclass(frozen=True)
class Ties:
    """What came out.

    Attributes:
        compared: integers of functions; 0 where there are none.
        different: those that differ, each at a tie.
    """

    compared: int
    different: int


def function_ties(path: Path, images: NDArray[np.float32]) -> Ties:
    """Hold every operator of an ONNX file, given equal integers, against ``ort-cpu-ref``.

    Raises:
        AssertionError: an integer differs that is no function's, or lies at no tie.
    """
    ops = {op.output.name: op for op in read_qdq(ir.load(path), float_fallback=True).ops}
    with ort.cpu_reference.open(path, intermediates=True) as session:
        recorded = session.tensors(images)
    compared = different = 0
    # unlike a replay's, its sums are added in the runtime's order where they lie at ties
    program = emulator.open(path, intermediates=True)
    for found in program.replay(images, recorded):
        off = found.expected != found.seen
        op = ops.get(found.operator.tensor)
        if op is None or op.op_type not in UNARY:
            assert not off.any(), f"{off.sum()} integers of {found.operator.name} differ"
            continue
        compared += off.size
        different += int(off.sum())
        if off.any():
            assert np.abs(found.expected - found.seen).max() <= 1, op.name
            assert _near_tie(op, recorded[_source(op).name])[off.reshape(-1)].all(), op.name
    return Ties(compared, different)


def _source(op: QdqOp) -> QdqTensor:
    source = op.inputs[0]
    assert isinstance(source, QdqTensor)
    return source


def _near_tie(op: QdqOp, read: QuantizedTensor | NDArray[np.float32]) -> NDArray[np.bool_]:
    """Which of a function's results, one after the other, float32 may round either way."""
    assert isinstance(read, QuantizedTensor)
    arguments = read.dequantize().astype(np.float64).reshape(-1)
    values = UNARY[op.op_type](arguments, op.attributes)
    step = float(op.output.scale)
    error = FUNCTION_ERROR * np.maximum(1, np.maximum(np.abs(arguments), np.abs(values))) / step
    distance: NDArray[np.float64] = np.abs(np.abs(values / step - np.rint(values / step)) - 0.5)
    return distance <= error
