"""What a target really does with an artefact's operators.

Which of them it computes in integers, where, and why not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

Arithmetic = Literal["integer", "hybrid", "float", "none"]
Place = Literal["target", "delegate", "fallback"]
HYBRID_WHY = (
    "it quantises its activations as it runs, sums in integers, and scales the sums in float"
)
"""What keeps a hybrid kernel out of pure integers."""

_MAX_NAME = 48


@dataclass(frozen=True, slots=True)
class PlannedOp:
    """One operator of an artefact, as a target runs it.

    Attributes:
        name: its name in the artefact, or its output's where it has none.
        op_type: what it is there.
        kernel: what computes it; that of the operator it was fused into where it was.
        arithmetic: the numbers that the kernel computes with; ``hybrid`` where it quantises
            activations in float as it runs and sums products of integers; ``none`` for an operator
            that was found to do nothing.
        place: the target's own kernels, a delegate's, or what takes over where the delegate left
            it.
        macs: multiplications with addition for one sample; 0 for operators that have none to speak
            of, None where the artefact does not tell how many there are.
        why: what keeps it out of integers or of the delegate; empty where nothing does.
    """

    name: str
    op_type: str
    kernel: str
    arithmetic: Arithmetic
    place: Place
    macs: int | None
    why: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """All operators of an artefact, quantisers left out.

    Attributes:
        ops: in the artefact's order.
        transposes: operators that only change the order of axes, those inserted by the runtime
            included.
        transposed_bytes: what they write for one sample; those of unknown shape left out.
    """

    ops: tuple[PlannedOp, ...]
    transposes: int
    transposed_bytes: int


def called(name: str | None) -> str:
    """A tensor's name in quotes, as it may stand in a sentence.

    Some tools write whole histories into one.
    """
    text = name or ""
    return repr(text if len(text) <= _MAX_NAME else f"…{text[1 - _MAX_NAME :]}")


@runtime_checkable
class Planner(Protocol):
    """A target that can tell what it does with an artefact without being given data."""

    def plan(self, artefact: Path, *, threads: int = 1) -> Plan:
        """Load an artefact as :meth:`edgeq.target.Target.open` does, and see what it became.

        Raises:
            ArtefactError: the file is missing, broken or of another format.
            TargetError: the runtime is absent or refuses the file.
        """
        ...
