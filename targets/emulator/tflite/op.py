"""One operator of a TFLite file, as the emulator's set-up functions see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError, TargetError
from edgeq.plan import called
from edgeq.quant import STORAGE_RANGE, QuantParams
from edgeq.targets.emulator.arithmetic.elementwise import CenteredRange
from edgeq.targets.emulator.arithmetic.numerics import OutputRange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.formats.tflite_file import FileOperator, FileTensor
    from edgeq.targets.emulator.hardware.machine import HardwareProfile
    from edgeq.targets.emulator.program import StepKernel, WorkKind

PLAIN = frozenset(("INT32", "INT64"))
"""Types of numbers that are what they are, unless they have a scale."""
_ACTIVATIONS: Mapping[int, tuple[float | None, float | None]] = {
    0: (None, None),
    1: (0.0, None),
    2: (-1.0, 1.0),
    3: (0.0, 6.0),
}


@dataclass(frozen=True, slots=True, eq=False)
class KernelSetup:
    """What an operator becomes.

    Attributes:
        data: which of its operands are read as it runs.
        kernel: its arithmetic.
        kind: what sort of loop it is.
        macs: its multiplications with addition, for one sample.
        weights: elements of the constants it holds.
        weight_bits: the width of these.
    """

    data: tuple[int, ...]
    kernel: StepKernel
    kind: WorkKind
    macs: int = 0
    weights: int = 0
    weight_bits: int = 0


@dataclass(frozen=True, slots=True, eq=False)
class TfliteOp:
    """One operator of a file, on one machine.

    Attributes:
        file: what the file says.
        profile: the machine.
    """

    file: FileOperator
    profile: HardwareProfile

    @property
    def name(self) -> str:
        """What to call it."""
        return self.file.title

    def operand(self, position: int) -> FileTensor:
        """An operand that has to be there.

        Raises:
            ArtefactError: it is left out.
        """
        tensor = self.file.inputs[position] if position < len(self.file.inputs) else None
        if tensor is None:
            raise ArtefactError(
                f"{self.file.name} {self.name!r} lacks operand {position}",
                hint="export the model again",
            )
        return tensor

    def numbers(self, position: int) -> NDArray[Any]:
        """A constant operand.

        Raises:
            TargetError: it is computed.
        """
        tensor = self.operand(position)
        if tensor.sparse:
            raise self.refused(f"its operand {called(tensor.name)} is stored without its zeros")
        if tensor.data is None:
            raise self.refused(f"its operand {called(tensor.name)} is computed at run time")
        return tensor.data

    def centered(self, position: int) -> NDArray[Any]:
        """The levels of a constant operand; see :func:`centered_of`.

        Raises:
            TargetError: it is computed.
        """
        self.numbers(position)
        return centered_of(self.operand(position))

    def grid(self, position: int) -> QuantParams:
        """The grid of an operand."""
        return self._grid(self.operand(position))

    @property
    def output_grid(self) -> QuantParams:
        """The grid of the result."""
        return self._grid(self.file.output)

    def _grid(self, tensor: FileTensor) -> QuantParams:
        params = params_of(tensor)
        if params is None or params.axis is not None:
            raise self.refused(f"{called(tensor.name)} is {tensor.kind} without one scale")
        return params

    def range(self, position: int) -> CenteredRange:
        """The levels that an operand can have."""
        tensor = self.operand(position)
        if tensor.data is not None and tensor.data.size:
            centered = centered_of(tensor)
            return CenteredRange(int(centered.min()), int(centered.max()))
        params = self._grid(tensor)
        zero = int(params.zero_point)
        return CenteredRange(params.qmin - zero, params.qmax - zero)

    def is_wide(self) -> bool:
        """Whether its result has 16 bits."""
        return self.file.output.kind == "INT16"

    def refused(self, why: str) -> TargetError:
        """An error that names the operator."""
        what = f"the emulator has no arithmetic for {self.file.name} {called(self.name)}: {why}"
        return TargetError(what, hint="run it on tflite-ref")


def params_of(tensor: FileTensor) -> QuantParams | None:
    """A tensor's grid; None where it has none."""
    kind = tensor.kind.lower()
    if not tensor.scale.size or kind not in STORAGE_RANGE:
        return None
    if tensor.scale.size == 1:
        return QuantParams.of(tensor.scale.reshape(()), int(tensor.zero_point[0]), kind)
    return QuantParams.of(tensor.scale, tensor.zero_point.astype(np.int32), kind, axis=tensor.axis)


def centered_of(tensor: FileTensor) -> NDArray[Any]:
    """A constant as its levels in float32; plain whole numbers as int64; real ones as they are."""
    if tensor.data is None:
        raise ArtefactError(f"{tensor.name!r} is no constant", hint="export the model again")
    if tensor.kind in PLAIN and not tensor.scale.size:
        return tensor.data.astype(np.int64)
    params = params_of(tensor)
    if params is None:
        return tensor.data.astype(np.float32)
    _, zero = params.broadcast(tensor.data.ndim)
    # numpy makes numbers of arrays without dimensions
    return np.asarray(tensor.data.astype(np.int64) - zero, np.float32)


def output_range_of(op: TfliteOp) -> OutputRange:
    """The bounds of the result's levels, those of a fused activation included."""
    params = op.output_grid
    zero = int(params.zero_point)
    activation = int(getattr(op.file.options, "fusedActivationFunction", 0) or 0)
    if activation not in _ACTIVATIONS:
        raise op.refused(f"its fused activation is number {activation}")
    bounds = [
        None if bound is None else _rounded(np.float32(bound) / np.float32(params.scale))
        for bound in _ACTIVATIONS[activation]
    ]
    low, high = params.qmin - zero, params.qmax - zero
    return OutputRange(
        0,
        low if bounds[0] is None else max(low, bounds[0]),
        high if bounds[1] is None else min(high, bounds[1]),
    )


def _rounded(real: np.float32) -> int:
    """The nearest integer, ties away from zero."""
    return int(np.copysign(np.floor(np.abs(real) + np.float32(0.5)), real))
