"""The program of a TFLite file: each operator with the arithmetic of TFLite's reference kernels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from edgeq.errors import ArtefactError, TargetError
from edgeq.formats.tflite_file import BROKEN, axes_in, graphs_of, images_last, rows_picked
from edgeq.targets.emulator.program import LayerWorkload, Program, ProgramStep, Slot
from edgeq.targets.emulator.tflite.op import PLAIN, TfliteOp, centered_of, params_of
from edgeq.targets.emulator.tflite.operators import KERNELS
from edgeq.targets.emulator.tflite.splitting import one_result_each
from edgeq.targets.emulator.tflite.variables import without_variables

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from torch import Tensor

    from edgeq.formats.tflite_file import FileGraph, FileOperator, FileTensor
    from edgeq.targets.emulator.hardware.machine import HardwareProfile
    from edgeq.targets.emulator.tflite.op import KernelSetup

_NHWC = (0, 2, 3, 1)
_NAMED = 12  # operators in one message
_BITS = {
    "INT4": 4,
    "INT8": 8,
    "UINT8": 8,
    "INT16": 16,
    "INT32": 32,
    "INT64": 64,
    "FLOAT32": 32,
    "BOOL": 8,
}


def read_tflite(content: bytes, path: Path, profile: HardwareProfile) -> Program:
    """The program of a file that :func:`edgeq.formats.tflite_validation.check_model` passed.

    Raises:
        ArtefactError: the graph has no input, or no output; or the file is damaged.
        TargetError: operators that the emulator does not know; names the first of them.
    """
    try:
        program = _TfliteCompiler(_graph(content, path), profile, axes_in(content)).program()
        last, rows = images_last(content), rows_picked(content)
        names = {slot: program.slots[slot].name for slot in program.input_slots}
        slots = [
            replace(slot, rows=rows.get(slot.name, 0) if place in names else 0)
            for place, slot in enumerate(program.slots)
        ]
        return replace(
            program,
            slots=tuple(slots),
            channels_last=frozenset(slot for slot, name in names.items() if last.get(name)),
        )
    except (*BROKEN, ZeroDivisionError, RuntimeError) as error:
        raise ArtefactError(
            f"{path} is no sound TFLite model: {type(error).__name__} while setting it up",
            hint="export it again; it is truncated or damaged",
        ) from error


def _graph(content: bytes, path: Path) -> FileGraph:
    graph = without_variables(graphs_of(content))
    if not graph.inputs or not graph.outputs:
        raise ArtefactError(
            f"{path} has {len(graph.inputs)} inputs and {len(graph.outputs)} outputs",
            hint="export it again; it may be truncated",
        )
    return graph


@dataclass(slots=True)
class _TfliteCompiler:
    graph: FileGraph
    profile: HardwareProfile
    axes: dict[str, tuple[int, ...]]
    slots: list[Slot] = field(default_factory=list)
    places: dict[int, int] = field(default_factory=dict)
    constants: dict[int, Tensor] = field(default_factory=dict)

    def program(self) -> Program:
        entering = tuple(self._slot(tensor, shown=True) for tensor in self.graph.inputs)
        steps, errors = [], []
        for whole in self.graph.operators:
            try:
                steps += [self._step(operator) for operator in one_result_each(whole)]
            except TargetError as error:
                errors.append(error)
        if errors:
            told = list(dict.fromkeys(error.what for error in errors))
            more = [f"and {len(told) - _NAMED} more"] if len(told) > _NAMED else []
            raise TargetError("\n  ".join([*told[:_NAMED], *more]), hint=errors[0].hint)
        ends = tuple(self._slot(output, shown=False) for output in self.graph.outputs)
        known = {*entering, *self.constants, *(step.result for step in steps)}
        for place in (*(operand for step in steps for operand in step.operands), *ends):
            if place not in known:
                raise ArtefactError(
                    f"nothing computes the tensor {self.slots[place].name!r}",
                    hint="export the model again",
                )
        return Program(tuple(self.slots), tuple(steps), self.constants, entering, ends)

    def _step(self, operator: FileOperator) -> ProgramStep:
        op = TfliteOp(operator, self.profile)
        kept = [
            tensor
            for tensor in operator.inputs
            if tensor is not None and (tensor.variable or tensor.kind == "RESOURCE")
        ]
        if kept or not operator.outputs:
            raise op.refused("it keeps something from one inference to the next")
        if operator.name not in KERNELS:
            raise op.refused("it is not among those it knows")
        lowered = KERNELS[operator.name](op)
        tensors = [op.operand(i) for i in lowered.data]
        for position in (i for i in lowered.data if op.operand(i).sparse):
            op.numbers(position)
        operands = tuple(self._slot(tensor, shown=False) for tensor in tensors)
        return ProgramStep(
            operands,
            self._slot(operator.output, shown=True),
            lowered.kernel,
            _work(op, lowered, tensors),
        )

    def _slot(self, tensor: FileTensor, *, shown: bool) -> int:
        """The slot of a tensor; made when it is first met."""
        if tensor.index not in self.places:
            self.places[tensor.index] = len(self.slots)
            self.slots.append(self._described(tensor, shown=shown))
            if tensor.data is not None:
                self.constants[self.places[tensor.index]] = torch.from_numpy(centered_of(tensor))[
                    None
                ]
        return self.places[tensor.index]

    def _described(self, tensor: FileTensor, *, shown: bool) -> Slot:
        params = params_of(tensor)
        taken = {name for slot in self.slots for name in slot.shown}
        name = f"{tensor.name}#{tensor.index}" if tensor.name in taken else tensor.name
        axes = self.axes.get(tensor.name, _NHWC if len(tensor.shape) == 4 else None)
        return Slot(
            tensor.name,
            tensor.shape,
            params,
            axes,
            (name,) if shown and tensor.kind not in PLAIN else (),
        )


def _work(op: TfliteOp, lowered: KernelSetup, tensors: Sequence[FileTensor]) -> LayerWorkload:
    constants = [tensor for tensor in tensors if tensor.data is not None]
    activations = [tensor for tensor in tensors if tensor.data is None]
    return LayerWorkload(
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
