"""Which of a network's outputs answers, and in which layout.

By its name, then by its shape, then by what is in it; a guess is told.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

OPTION = "which output answers, where their shapes do not tell: its name"


@dataclass(slots=True)
class OneOutput:
    """Finds the output that answers, in the first batch, and gives it from every batch.

    Attributes:
        task: its name, for messages.
        wanted: the name that the user gave; empty to go by shapes.
        remark: what was guessed, a sentence; empty where nothing was.
    """

    task: str
    wanted: str = ""
    remark: str = ""
    _chosen: str = ""

    def of(
        self, outputs: Mapping[str, NDArray[np.float32]], fitting: Sequence[str]
    ) -> NDArray[np.float32]:
        """The output of a batch.

        Args:
            outputs: all, by name.
            fitting: the names of those whose shapes can be it.

        Raises:
            UsageError: none can be it, or the one that is named is not there.
        """
        if not self._chosen:
            self._chosen = self._choose(outputs, fitting)
        return outputs[self._chosen]

    def _choose(self, outputs: Mapping[str, NDArray[np.float32]], fitting: Sequence[str]) -> str:
        told = ", ".join(f"{name} {values.shape[1:]}" for name, values in outputs.items())
        if self.wanted:
            if self.wanted not in outputs:
                raise UsageError(
                    f"there is no output {self.wanted!r} for the task {self.task}",
                    hint=f"the outputs are {told}",
                )
            return self.wanted
        if not fitting:
            raise UsageError(
                f"the outputs {told} answer nothing that the task {self.task} could judge",
                hint="choose the task that the network was made for, or name the output with "
                "--task-option output=NAME",
            )
        if len(outputs) > 1:
            self.remark = f"of the outputs {told}, {fitting[0]} was taken for the one that answers"
        return fitting[0]


def fitting_size(outputs: Mapping[str, NDArray[np.float32]], size: int) -> list[str]:
    """The names of the outputs with so many values a sample along one dimension, scores first."""
    names = [
        name
        for name, values in outputs.items()
        if math.prod(values.shape[1:]) == size and size in (*values.shape[1:], 1)
    ]
    return sorted(names, key=lambda name: "score" not in name and "prob" not in name)


def per_sample(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values of a batch as one row a sample."""
    return np.ascontiguousarray(values.reshape(len(values), -1))
