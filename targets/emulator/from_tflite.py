"""The program of a TFLite file: each operator with the arithmetic of TFLite's reference kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeq.errors import ArtefactError, TargetError
from edgeq.quant import CARRIER_RANGE, QuantParams
from edgeq.targets._flatbuffer import axes_in
from edgeq.targets.emulator.elementwise import Range
from edgeq.targets.emulator.program import Program, Slot, Step, Work
from edgeq.tflite_file import graph_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.targets.emulator.numerics import Profile
    from edgeq.targets.emulator.program import Kernel, WorkKind
    from edgeq.tflite_file import FileGraph, FileOperator, FileTensor

_NHWC = (0, 2, 3, 1)
_PLAIN = {"INT32", "INT64"}
_BITS = {"INT4": 4, "INT8": 8, "UINT8": 8, "INT16": 16, "INT32": 32, "INT64": 64, "FLOAT32": 32, "BOOL": 8}


@dataclass(frozen=True, slots=True, eq=False)
class Lowered:
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
    kernel: Kernel
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
    profile: Profile

    @property
    def name(self) -> str:
        """The name of its result."""
        return self.file.output.name

    def operand(self, position: int) -> FileTensor:
        """An operand that has to be there.

        Raises:
            ArtefactError: it is left out.
        """
        tensor = self.file.inputs[position] if position < len(self.file.inputs) else None
        if tensor is None:
            raise ArtefactError(f"{self.file.name} {self.name!r} lacks operand {position}", mend="export the model again")
        return tensor

    def numbers(self, position: int) -> NDArray[Any]:
        """A constant operand.

        Raises:
            TargetError: it is computed.
        """
        data = self.operand(position).data
        if data is None:
            raise self.refused(f"operand {position} is computed at run time")
        return data

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
            raise self.refused(f"{tensor.name!r} is {tensor.kind} without one scale")
        return params

    def range(self, position: int) -> Range:
        """The levels that an operand can have."""
        tensor = self.operand(position)
        if tensor.data is not None and tensor.data.size:
            levels = levels_of(tensor)
            return Range(int(levels.min()), int(levels.max()))
        params = self._grid(tensor)
        zero = int(params.zero_point)
        return Range(params.qmin - zero, params.qmax - zero)

    def is_wide(self) -> bool:
        """Whether its result has 16 bits."""
        return self.file.output.kind == "INT16"

    def refused(self, why: str) -> TargetError:
        """An error that names the operator."""
        return TargetError(f"the emulator has no arithmetic for {self.file.name} {self.name!r}: {why}", mend="run it on tflite-ref")


def read_tflite(content: bytes, path: Path, profile: Profile) -> Program:
    """The program of a file that :func:`edgeq.targets._flatbuffer.check_model` passed.

    Raises:
        ArtefactError: the graph has not exactly one input, or no output.
        TargetError: operators that the emulator does not know; names them all.
    """
    graph = graph_of(content)
    if len(graph.inputs) != 1 or not graph.outputs:
        raise ArtefactError(
            f"{path} has {len(graph.inputs)} inputs, and edgeq runs models with exactly one", mend="make the others constants"
        )
    return _Compiler(graph, profile, axes_in(content)).program()


@dataclass(slots=True)
class _Compiler:
    graph: FileGraph
    profile: Profile
    axes: dict[str, tuple[int, ...]]
    slots: list[Slot] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    constants: dict[int, Tensor] = field(default_factory=dict)

    def program(self) -> Program:
        entrance = self._slot(self.graph.inputs[0], shown=True)
        steps, errors = [], []
        for operator in self.graph.operators:
            try:
                steps.append(self._step(operator))
            except TargetError as error:
                errors.append(error)
                self._slot(operator.output, shown=False)
        if errors:
            raise TargetError("\n  ".join(dict.fromkeys(error.what for error in errors)), mend=errors[0].mend)
        exit_ = self._slot(self.graph.outputs[0], shown=False)
        return Program(tuple(self.slots), tuple(steps), self.constants, entrance, exit_)

    def _step(self, operator: FileOperator) -> Step:
        from edgeq.targets.emulator.tflite_operators import KERNELS

        op = TfliteOp(operator, self.profile)
        if operator.name not in KERNELS:
            raise op.refused("it is not among those it knows")
        lowered = KERNELS[operator.name](op)
        tensors = [op.operand(i) for i in lowered.data]
        operands = tuple(self._slot(tensor, shown=False) for tensor in tensors)
        return Step(operands, self._slot(operator.output, shown=True), lowered.kernel, _work(op, lowered, tensors))

    def _slot(self, tensor: FileTensor, *, shown: bool) -> int:
        """The slot of a tensor; made when it is first met."""
        if tensor.index not in self.places:
            self.places[tensor.index] = len(self.slots)
            self.slots.append(self._described(tensor, shown=shown))
            if tensor.data is not None:
                self.constants[self.places[tensor.index]] = torch.from_numpy(levels_of(tensor))[None]
        return self.places[tensor.index]

    def _described(self, tensor: FileTensor, *, shown: bool) -> Slot:
        params = params_of(tensor)
        taken = {slot.name for slot in self.slots if slot.shown}
        name = f"{tensor.name}#{tensor.index}" if shown and tensor.name in taken else tensor.name
        axes = self.axes.get(tensor.name, _NHWC if len(tensor.shape) == 4 else None)
        return Slot(name, tensor.shape, params, axes, shown and tensor.kind not in _PLAIN)


def params_of(tensor: FileTensor) -> QuantParams | None:
    """A tensor's grid; None where it has none."""
    kind = tensor.kind.lower()
    if not tensor.scale.size or kind not in CARRIER_RANGE:
        return None
    if tensor.scale.size == 1:
        return QuantParams.of(tensor.scale.reshape(()), int(tensor.zero_point[0]), kind)
    return QuantParams.of(tensor.scale, tensor.zero_point.astype(np.int32), kind, axis=tensor.axis)


def levels_of(tensor: FileTensor) -> NDArray[Any]:
    """A constant as its levels in float32; plain whole numbers as int64; real ones as they are."""
    if tensor.data is None:
        raise ArtefactError(f"{tensor.name!r} is no constant", mend="export the model again")
    if tensor.kind in _PLAIN and not tensor.scale.size:
        return tensor.data.astype(np.int64)
    params = params_of(tensor)
    if params is None:
        return tensor.data.astype(np.float32)
    zero = params.zero_point
    if params.axis is not None:
        zero = zero.reshape([-1 if i == params.axis else 1 for i in range(tensor.data.ndim)])
    return (tensor.data.astype(np.int64) - zero).astype(np.float32)


def _work(op: TfliteOp, lowered: Lowered, tensors: Sequence[FileTensor]) -> Work:
    constants = [tensor for tensor in tensors if tensor.data is not None]
    activations = [tensor for tensor in tensors if tensor.data is None]
    return Work(
        op.name,
        op.file.name,
        lowered.kind,
        lowered.macs,
        sum(math.prod(tensor.shape) for tensor in activations),
        lowered.weights + sum(math.prod(tensor.shape) for tensor in constants),
        math.prod(op.file.output.shape),
        lowered.weight_bits or max((_BITS.get(tensor.kind, 32) for tensor in constants), default=0),
        max((_BITS.get(tensor.kind, 32) for tensor in activations), default=0),
        _BITS.get(op.file.output.kind, 32),
    )
