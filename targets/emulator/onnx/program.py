"""The program of a QDQ ONNX file.

Each operator of its integer view with the arithmetic of one machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.errors import ArtefactError, TargetError
from edgeq.qdq.axes import CHANNELS_LAST, channel_axes
from edgeq.qdq.ir import QdqConstant, QdqTensor
from edgeq.qdq.ort_x86.forms import on_x86
from edgeq.qdq.reader import read_qdq
from edgeq.targets.emulator.onnx import operators as onnx_operators
from edgeq.targets.emulator.onnx.op import OnnxOp, centered_of
from edgeq.targets.emulator.program import LayerWorkload, Program, ProgramStep, Slot
from edgeq.targets.plans.onnx_graph import QdqView, inputs_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx
    from torch import Tensor

    from edgeq.qdq.ir import Operand, QdqGraph, QdqOutput
    from edgeq.qdq.ort_x86.forms import X86Kernels
    from edgeq.targets.emulator.hardware.machine import HardwareProfile
    from edgeq.targets.emulator.program import WorkKind
    from edgeq.targets.plans.onnx_graph import Readable


def read_onnx(model: onnx.ModelProto, path: Path, profile: HardwareProfile) -> Program:
    """The program of a QDQ model.

    Raises:
        ArtefactError: parts of it stay in float, or it has no input.
        TargetError: operators that the emulator does not know for this machine; names them all.
    """
    import onnx_ir as ir

    source = ir.from_proto(model)
    graph = read_qdq(source)
    if not graph.inputs or not graph.outputs:
        raise ArtefactError(
            f"{path} has no quantised input, or no output",
            hint="quantise the model, its inputs too",
        )
    real = {
        value.name
        for value in inputs_of(model)
        if value.type.tensor_type.elem_type == ir.DataType.FLOAT
    }
    opset = next((entry.version for entry in model.opset_import if not entry.domain), 0)
    x86 = on_x86(source, graph) if profile.kernels == "ort" else None
    return _OnnxCompiler(
        graph, profile, frozenset(real), QdqView(source).quantized(), opset, x86
    ).program()


@dataclass(slots=True)
class _OnnxCompiler:
    graph: QdqGraph
    profile: HardwareProfile
    real_inputs: frozenset[str]
    readable: Sequence[Readable]
    opset: int
    x86: X86Kernels | None
    slots: list[Slot] = field(default_factory=list)
    places: dict[str, int] = field(default_factory=dict)
    constants: dict[int, Tensor] = field(default_factory=dict)
    steps: list[ProgramStep] = field(default_factory=list)

    def program(self) -> Program:
        entering = {self._input(tensor): tensor for tensor in self.graph.inputs}
        errors = []
        for view in self.graph.ops:
            try:
                self._add(OnnxOp(view, self.profile, self.opset, self.x86))
            except TargetError as error:
                errors.append(error)
                self._slot(view.output)
        if errors:
            raise TargetError(
                "\n  ".join(dict.fromkeys(error.what for error in errors)), hint=errors[0].hint
            )
        ends = tuple(self._epilogue(output) for output in self.graph.outputs)
        axes = channel_axes(self.graph)
        last = {slot for slot, each in entering.items() if axes.get(each.name) == CHANNELS_LAST}
        return Program(
            tuple(self.slots),
            tuple(self.steps),
            self.constants,
            tuple(entering),
            ends,
            frozenset(last),
        )

    def _input(self, tensor: QdqTensor) -> int:
        """The slot of an input: of its integers, or of real numbers that a step quantises."""
        integers = self._slot(tensor)
        if tensor.graph_input not in self.real_inputs:
            return integers
        self.slots.append(Slot(tensor.graph_input, tensor.shape, None))
        real = len(self.slots) - 1
        kernel = onnx_operators.quantizer_of(tensor)
        self.steps.append(ProgramStep((real,), integers, kernel, _work_of_input(tensor)))
        return real

    def _slot(self, tensor: QdqTensor) -> int:
        self.places[tensor.name] = len(self.slots)
        known = [
            readable
            for readable in self.readable
            if self.graph.integers.get(readable.value) == tensor.name
        ]
        params = (
            None
            if tensor.is_float or tensor.is_index or not tensor.per_tensor
            else next(
                (readable.params for readable in known if readable.params is not None),
                tensor.params,
            )
        )
        self.slots.append(
            Slot(
                tensor.name,
                tensor.shape,
                params,
                shown=tuple(readable.name for readable in known),
                rows=tensor.high + 1 if tensor.is_index and tensor.is_input else 0,
                holds=None
                if tensor.is_float or tensor.is_index or not tensor.per_tensor
                else (tensor.low - tensor.zero_point, tensor.high - tensor.zero_point),
            )
        )
        return self.places[tensor.name]

    def _add(self, op: OnnxOp) -> None:
        data, kernel, kind = onnx_operators.kernel_of(op)
        operands = tuple(self._operand(op.operand(i)) for i in data)
        self.steps.append(
            ProgramStep(
                operands, self._slot(op.view.output), kernel, _work(op, kind, data), op.view.name
            )
        )

    def _operand(self, operand: Operand) -> int:
        if isinstance(operand, QdqTensor):
            return self.places[operand.name]
        self.slots.append(Slot(operand.name, operand.values.shape, operand.params))
        self.constants[len(self.slots) - 1] = torch.from_numpy(
            np.ascontiguousarray(centered_of(operand))
        )[None]
        return len(self.slots) - 1

    def _epilogue(self, output: QdqOutput) -> int:
        """The slot of an output.

        Real numbers as the file shows them, or integers where it shows those.
        """
        tensor = output.tensor
        source = self.places[tensor.name]
        if output.name in self.graph.integers or tensor.is_float:
            return source
        shape, kernel = onnx_operators.head_of(output)
        self.slots.append(Slot(output.name, shape, None))
        size, kind = math.prod(tensor.shape), output.epilogue or "DequantizeLinear"
        # what is counted is told apart by name
        name = f"{output.name}/{kind}" if output.name in self.places else output.name
        work = LayerWorkload(
            name, kind, "float", 0, size, 0, math.prod(shape), 0, tensor.params.bits, 32
        )
        self.steps.append(ProgramStep((source,), len(self.slots) - 1, kernel, work))
        return len(self.slots) - 1


def _work_of_input(tensor: QdqTensor) -> LayerWorkload:
    size = math.prod(tensor.shape)
    return LayerWorkload(
        tensor.name, "QuantizeLinear", "float", 0, size, 0, size, 0, 32, tensor.params.bits
    )


def _work(op: OnnxOp, kind: WorkKind, data: tuple[int, ...]) -> LayerWorkload:
    tensors = [o for o in op.view.inputs if isinstance(o, QdqTensor)]
    constants = [o for o in op.view.inputs if isinstance(o, QdqConstant) and o.params is not None]
    return LayerWorkload(
        op.name,
        op.view.op_type,
        kind,
        op.view.macs,
        sum(math.prod(tensor.shape) for tensor in tensors),
        sum(constant.values.size for constant in constants),
        math.prod(op.view.output.shape),
        _bits(constants[0]) if constants else 0,
        max((op.range(i).size - 1 for i in data[:1]), default=0).bit_length(),
        op.view.output.params.bits,
    )


def _bits(constant: QdqConstant) -> int:
    """The width that a constant's levels need; -1 and +1 need one bit."""
    centered = centered_of(constant)
    if centered.size and bool((abs(centered) == 1).all()):
        return 1
    needed = int(max(centered.max(initial=0), -centered.min(initial=0) - 1)).bit_length() + 1
    return needed if constant.params is None else min(needed, constant.params.bits)
