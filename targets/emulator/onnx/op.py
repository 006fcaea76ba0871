"""One operator of the integer view of a QDQ file, as the emulator's set-up functions see it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import TargetError
from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.targets.emulator.arithmetic.elementwise import CenteredRange
from edgeq.targets.emulator.arithmetic.numerics import OutputRange

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.qdq.ir import Operand, QdqOp
    from edgeq.qdq.ort_x86.forms import X86Kernels
    from edgeq.quant import QuantParams
    from edgeq.targets.emulator.hardware.machine import HardwareProfile


@dataclass(frozen=True, slots=True, eq=False)
class OnnxOp:
    """One operator of the view, on one machine.

    Attributes:
        view: what it is.
        profile: the machine.
        opset: ONNX's operator set, which decides how some are computed.
        x86: what ONNX Runtime on x86 makes of the file; None for a machine that is none.
    """

    view: QdqOp
    profile: HardwareProfile
    opset: int
    x86: X86Kernels | None = None

    @property
    def name(self) -> str:
        """The name of its result."""
        return self.view.output.name

    @property
    def in_float(self) -> bool:
        """Whether the machine computes in float between integers, as ONNX says."""
        return self.profile.rounding == "half-even" or bool(self.left_in_float)

    @property
    def left_in_float(self) -> str:
        """Why ONNX Runtime on x86 computes it in float.

        Empty where it does not, and on other machines.
        """
        return "" if self.x86 is None else self.x86.in_float.get(self.view.output.name, "")

    @property
    def on_ort(self) -> bool:
        """Whether ONNX Runtime's integer kernels compute it."""
        return self.profile.kernels == "ort" and not self.in_float

    def operand(self, position: int) -> Operand:
        """An operand that has to be there.

        Raises:
            TargetError: it is left out.
        """
        operand = self.view.inputs[position] if position < len(self.view.inputs) else None
        if operand is None:
            raise self.refused(f"operand {position} is left out")
        return operand

    def shape(self, position: int) -> tuple[int, ...]:
        """The dimensions of an operand."""
        operand = self.operand(position)
        return operand.shape if isinstance(operand, QdqTensor) else operand.values.shape

    def grid(self, position: int) -> QuantParams:
        """The grid of an operand, one scale for all of it.

        Raises:
            TargetError: it has none, or several.
        """
        params = self.operand(position).params
        if params is None or params.axis is not None:
            raise self.refused(f"operand {position} has not one scale")
        return params

    @property
    def output_grid(self) -> QuantParams:
        """The grid of the result.

        Raises:
            TargetError: it has several scales.
        """
        if self.view.output.params.axis is not None:
            raise self.refused("its result has one scale a channel")
        return self.view.output.params

    def range(self, position: int) -> CenteredRange:
        """The levels that an operand can have."""
        operand = self.operand(position)
        if isinstance(operand, QdqConstant):
            centered = centered_of(operand)
            return CenteredRange(int(centered.min(initial=0)), int(centered.max(initial=0)))
        return CenteredRange(operand.low - operand.zero_point, operand.high - operand.zero_point)

    @property
    def output_range(self) -> OutputRange:
        """The bounds of the result's levels."""
        zero = int(self.output_grid.zero_point)
        return OutputRange(0, self.view.output.low - zero, self.view.output.high - zero)

    @property
    def stored_range(self) -> tuple[int, int, int]:
        """Zero point, min and max integer of the result as the machine holds it."""
        output = self.view.output
        shift = 0 if self.x86 is None else self.x86.shift_of(output)
        return int(self.output_grid.zero_point) + shift, output.low + shift, output.high + shift

    def stored_zero(self, position: int) -> int:
        """The zero point of an operand as the machine holds it."""
        operand = self.operand(position)
        shift = (
            self.x86.shift_of(operand)
            if self.x86 is not None and isinstance(operand, QdqTensor)
            else 0
        )
        return int(self.grid(position).zero_point) + shift

    def storage_dtype(self, position: int) -> str:
        """The type of an operand as the machine holds it; empty for a constant in float."""
        operand = self.operand(position)
        if self.x86 is not None and isinstance(operand, QdqTensor):
            return self.x86.held[operand.name]
        return "" if operand.params is None else operand.params.dtype

    def numbers(self, name: str, default: tuple[int, ...] = ()) -> tuple[int, ...]:
        """An attribute that is a list of whole numbers."""
        value = self.view.attributes.get(name, default)
        return tuple(int(each) for each in value) if isinstance(value, tuple) else default

    def number(self, name: str, default: float) -> float:
        """An attribute that is a number."""
        value = self.view.attributes.get(name, default)
        return float(value) if isinstance(value, (int, float)) else default

    def refused(self, why: str) -> TargetError:
        """An error that names the operator."""
        return TargetError(
            f"the emulator has no arithmetic of {self.profile.name} for "
            f"{self.view.op_type} {self.view.name!r}: {why}",
            hint="run it on ort-cpu-ref, or write it as TFLite and open that",
        )


def centered_of(constant: QdqConstant) -> NDArray[np.float32]:
    """A constant's integers with the zero point taken off, or its real numbers; float32."""
    values = constant.values if constant.params is None else constant.centered()
    return values.astype(np.float32)
