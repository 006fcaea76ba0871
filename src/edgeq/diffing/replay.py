"""Each operator of a file computed from numbers that another run recorded.

Two runs that differ by one step in an early tensor differ everywhere behind it. Given equal inputs,
each operator answers for itself.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from edgeq.brief import brief

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.quant import QuantizedTensor, QuantParams
    from edgeq.target import Batch

Recorded: TypeAlias = "QuantizedTensor | NDArray[np.float32]"
"""What a session shows of a tensor: integers on their grid, or real numbers."""


@dataclass(frozen=True, slots=True, eq=False)
class Operator:
    """One operator of a file.

    Attributes:
        tensor: the name of what it computes, as sessions show it.
        name: its own.
        op_type: what the file calls it.
        number: its place in the order of execution, from 1.
        params: the grid of its result; None for real numbers.
        channel_axis: where the arrays of :class:`Replayed` have its channels; None for no channels.
        inputs: the names of the tensors that it reads.
        title: what the file calls it; empty where it does not.
        alone: whether it computes its result from ``inputs`` by itself; False where others in front
            of it compute in float what it reads.
    """

    tensor: str
    name: str
    op_type: str
    number: int
    params: QuantParams | None
    channel_axis: int | None
    inputs: tuple[str, ...]
    title: str = ""
    alone: bool = True

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class Replayed:
    """What an operator computes from the numbers that a run recorded, beside what the run has.

    Attributes:
        operator: which.
        expected: float32 whole numbers, the integers less their zero point, (samples, ...) in the
            file's own order of axes; real numbers where the operator gives those.
        seen: the same of the recording; of a recording in real numbers, divided by the scale.
        inputs: what the operator read, by name, in the same form.
        hidden: how many operators before it, in a row, the recording does not show.
    """

    operator: Operator
    expected: NDArray[np.float32]
    seen: NDArray[np.float32]
    inputs: Mapping[str, NDArray[np.float32]]
    hidden: int

    __repr__ = brief


class ReplaySession(Protocol):
    """A session that computes operators from given numbers; it holds nothing to be closed."""

    @property
    def operators(self) -> tuple[Operator, ...]:
        """Those whose results have a name, in the order of execution."""
        ...

    def replay(self, batch: Batch, recorded: Mapping[str, Recorded]) -> Iterator[Replayed]:
        """Compute each operator from what a run recorded for its inputs.

        A tensor that was not recorded is computed from those before it.

        Args:
            batch: the samples.
            recorded: tensors of the run by this file's names, in the axes of the model.

        Yields:
            Each operator whose result was recorded, in the order of execution. Many samples may
            come in several rounds.
        """
        ...


@runtime_checkable
class ReplayTarget(Protocol):
    """A target that opens files so that operators can be given numbers."""

    def open_replay(self, artefact: Path, *, threads: int = 1) -> ReplaySession:
        """Load a file.

        Raises:
            ArtefactError: the file is missing, broken or of another format.
            TargetError: it has operators that the target does not know.
        """
        ...
