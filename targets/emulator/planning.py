"""What a program does with each operator of its file, for an audit."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgeq.plan import Plan, PlannedOp

if TYPE_CHECKING:
    from edgeq.targets.emulator.program import Program, ProgramStep

_QUIET = frozenset(("QUANTIZE", "DEQUANTIZE", "QuantizeLinear", "DequantizeLinear", "Requantize"))
_TRANSPOSES = frozenset(("TRANSPOSE", "Transpose"))
_BYTE = 8


def plan_of(program: Program) -> Plan:
    """The plan of a program.

    All of it in integers, but for what stands in float behind its last tensor.
    """
    moved = [step for step in program.steps if step.work.op_type in _TRANSPOSES]
    ops = tuple(_planned(step) for step in program.steps if step.work.op_type not in _QUIET)
    return Plan(ops, len(moved), sum(_bytes(program, step) for step in moved))


def _planned(step: ProgramStep) -> PlannedOp:
    work = step.work
    why = "it stands in float in the file" if work.kind == "float" else ""
    return PlannedOp(
        work.name,
        work.op_type,
        f"emulated {work.kind}",
        "float" if why else "integer",
        "target",
        work.macs,
        why,
    )


def _bytes(program: Program, step: ProgramStep) -> int:
    return math.prod(program.slots[step.result].shape) * -(-step.work.output_bits // _BYTE)
