"""A program whose operators read what another run recorded; see :mod:`edgeq.diffing.replay`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from edgeq.brief import brief
from edgeq.diffing.replay import Operator, Replayed
from edgeq.quant import QuantizedTensor

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from torch import Tensor

    from edgeq.diffing.replay import Recorded
    from edgeq.targets.emulator.program import Log, Program, ProgramStep, Slot


@dataclass(frozen=True, slots=True, eq=False)
class Recording:
    """One part of what a run recorded, as the slots of a program hold it.

    Each tensor is brought into that form when its operator's turn comes, so that it is in the cache
    while it is compared and read.

    Attributes:
        program: the file.
        recorded: tensors by its names, of more samples than those of the part.
        part: which of them.
    """

    program: Program
    recorded: Mapping[str, Recorded]
    part: slice

    __repr__ = brief

    def of(self, place: int) -> tuple[Tensor, Tensor] | None:
        """What the program's operators read of a slot, and the same in full precision.

        Of integers the second is the first. None where the recording lacks it, or has it in another
        size than the program.
        """
        slot = self.program.slots[place]
        name = next((name for name in slot.shown if name in self.recorded), None)
        if name is None:
            return None
        found = self.recorded[name]
        values = found.values if isinstance(found, QuantizedTensor) else found
        if values[0].size != math.prod(slot.shape):
            return None
        seen = _stored(slot, _numbers(found, slot, self.part))
        if isinstance(found, QuantizedTensor) or slot.params is None:
            return seen, seen
        zero = int(slot.params.zero_point)
        low, high = slot.holds or (slot.params.qmin - zero, slot.params.qmax - zero)
        return torch.round(seen).clamp_(low, high), seen


def operators_of(program: Program) -> tuple[Operator, ...]:
    """The operators whose results have a name, in the order of execution."""
    return tuple(
        _operator(program, step, number)
        for number, step in enumerate(program.steps, start=1)
        if program.slots[step.result].shown
    )


def replay(
    program: Program,
    operators: Mapping[str, Operator],
    entered: Mapping[int, Tensor],
    recording: Recording,
    log: Log,
) -> Iterator[Replayed]:
    """Compute each operator from a recording; see :mod:`edgeq.diffing.replay`.

    Args:
        program: the file.
        operators: those of :func:`operators_of`, by the name of what they compute.
        entered: the inputs by slot.
        recording: of the same samples.
        log: where sums are counted.
    """
    values: dict[int, Tensor] = {**program.constants, **entered}
    for place in entered:
        if (held := recording.of(place)) is not None:
            values[place] = held[0]
    hidden: dict[int, int] = dict.fromkeys(values, 0)
    for step, freed in zip(program.steps, program.last_uses(), strict=True):
        operands = [values[i] for i in step.operands]
        result = step.kernel(operands, log)
        behind = max((hidden[i] for i in step.operands), default=0)
        slot = program.slots[step.result]
        if slot.shown and (held := recording.of(step.result)) is not None:
            given, seen = held
            yield Replayed(
                operators[slot.shown[0]],
                result.numpy(),
                seen.reshape(result.shape).numpy(),
                {
                    _name(program.slots[i]): values[i].numpy()
                    for i in step.operands
                    if i not in program.constants
                },
                behind,
            )
            values[step.result] = given.reshape(result.shape)
            hidden[step.result] = 0
        else:
            values[step.result], hidden[step.result] = result, behind + 1
        for i in freed:
            del values[i]


def _operator(program: Program, step: ProgramStep, number: int) -> Operator:
    slot = program.slots[step.result]
    images = len(slot.shape) > 1
    axis = 1 + (slot.axes.index(1) if slot.axes else 1) if images else None
    read = tuple(_name(program.slots[i]) for i in step.operands if i not in program.constants)
    kind = step.work.op_type
    return Operator(
        slot.shown[0], step.work.name, kind, number, slot.params, axis, read, step.title
    )


def _name(slot: Slot) -> str:
    return slot.shown[0] if slot.shown else slot.name


def _numbers(found: Recorded, slot: Slot, part: slice) -> NDArray[np.float32]:
    """Integers less their zero point, or real numbers in steps of the slot's grid."""
    if isinstance(found, QuantizedTensor):
        _, zero = found.params.broadcast(found.values.ndim)
        if slot.params is None:
            return QuantizedTensor(found.values[part], found.params).dequantize()
        return found.values[part].astype(np.float32) - zero.astype(np.float32)
    values = found[part].astype(np.float32, copy=False)
    if slot.params is None or slot.params.axis is not None:
        return values
    return values / np.float32(slot.params.scale)


def _stored(slot: Slot, upright: NDArray[Any]) -> Tensor:
    """Numbers in the axes of the model, as a slot holds them: (samples, *shape).

    A row that a file holds as an image of one line has an axis more there.
    """
    if slot.axes is not None and slot.axes[0] == 0:
        sizes = [slot.shape[slot.axes.index(axis)] for axis in range(len(slot.axes))]
        whole = upright.reshape(len(upright), *sizes)
        upright = whole.transpose(0, *(axis + 1 for axis in slot.axes))
    return torch.from_numpy(np.ascontiguousarray(upright).reshape(len(upright), *slot.shape))
