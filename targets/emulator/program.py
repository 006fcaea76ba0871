"""A model as the steps that the emulator takes, whatever file it came from.

Each tensor holds levels: integers with the zero point taken off, as whole numbers in float32, which
is exact for all that 16 bits can hold. Its dimensions are those of the file with one more in front,
the samples of a batch; so an operator that turns or joins the file's own first dimension is right
too, and no sample can touch another.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol

from edgeq.brief import brief

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from torch import Tensor

    from edgeq.quant import QuantParams

WorkKind = Literal["dot", "elementwise", "table", "pool", "move", "float"]


@dataclass(frozen=True, slots=True)
class LayerWorkload:
    """What one step costs a machine, for one sample.

    Attributes:
        name: the step's, which is its output's.
        op_type: the operator in the file.
        kind: what sort of loop it is.
        macs: multiplications with addition.
        inputs: elements of activations read.
        weights: elements of constants read.
        outputs: elements written.
        weight_bits: the width that its constants need; 0 without.
        input_bits: the width of its first operand.
        output_bits: the width of its result.
    """

    name: str
    op_type: str
    kind: WorkKind
    macs: int
    inputs: int
    weights: int
    outputs: int
    weight_bits: int
    input_bits: int
    output_bits: int


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """A tensor of the program.

    Attributes:
        name: as in the file.
        shape: as in the file, with its batch of one.
        params: its grid; None for one that holds plain numbers.
        axes: the axis of the model at each of its dimensions; None where they are the same.
        shown: the names under which people may ask for it.
        rows: of an input of whole numbers that pick rows of a table, how many rows that has; 0 for
            any other tensor.
        holds: the smallest and the largest integer less its zero point that it can hold, where an
            activation leaves fewer than its grid has; None for the whole grid.
    """

    name: str
    shape: tuple[int, ...]
    params: QuantParams | None
    axes: tuple[int, ...] | None = None
    shown: tuple[str, ...] = ()
    rows: int = 0
    holds: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class OverflowStats:
    """What happened to the sums of one layer, added up over the samples seen.

    Attributes:
        sums: sums of products computed.
        steps: additions into an accumulator, one a product or pair of products.
        overflowed: sums that left the accumulator's range at least once, and so were wrapped or
            saturated.
        pairs: pairs of products that saturated at 16 bits.
        wrong: sums that differ from the exact ones in the end.
        clipped: outputs that lie on a bound of their range and were beyond it before.
    """

    sums: int = 0
    steps: int = 0
    overflowed: int = 0
    pairs: int = 0
    wrong: int = 0
    clipped: int = 0

    def __add__(self, other: OverflowStats) -> OverflowStats:
        return OverflowStats(
            *(getattr(self, name) + getattr(other, name) for name in self.__slots__)
        )


@dataclass(slots=True)
class Log:
    """What happened in the steps of a run, by the name of the step."""

    stats: dict[str, OverflowStats] = field(default_factory=dict)

    def add(self, name: str, stats: OverflowStats) -> None:
        """Add to what is known of a step."""
        self.stats[name] = self.stats.get(name, OverflowStats()) + stats


class StepKernel(Protocol):
    """The arithmetic of one step."""

    def __call__(self, operands: Sequence[Tensor], log: Log) -> Tensor:
        """Compute the levels of the result.

        Args:
            operands: levels, (samples, *shape); constants have one sample. They are never written
                to.
            log: where sums are counted.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class ProgramStep:
    """One operator.

    Attributes:
        operands: the slots it reads.
        result: the slot it writes.
        kernel: what it computes.
        work: what that costs.
        title: what the file calls it; empty for what calls its operators nothing.
    """

    operands: tuple[int, ...]
    result: int
    kernel: StepKernel
    work: LayerWorkload
    title: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class Program:
    """A model.

    Attributes:
        slots: all its tensors.
        steps: in an order in which they can run.
        constants: levels of constant operands by slot, (1, *shape).
        input_slots: those of the inputs.
        output_slots: those of the outputs.
        channels_last: those of the inputs that take images with their channels last.
    """

    slots: tuple[Slot, ...]
    steps: tuple[ProgramStep, ...]
    constants: Mapping[int, Tensor]
    input_slots: tuple[int, ...]
    output_slots: tuple[int, ...]
    channels_last: frozenset[int] = frozenset()

    __repr__ = brief

    def last_uses(self) -> tuple[tuple[int, ...], ...]:
        """For each step, the slots that nothing reads after it."""
        seen = set(self.output_slots)
        freed = []
        for step in reversed(self.steps):
            last = {
                slot
                for slot in (*step.operands, step.result)
                if slot not in seen and slot not in self.constants
            }
            freed.append(tuple(last))
            seen |= last
        return tuple(reversed(freed))
