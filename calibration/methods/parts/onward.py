"""What becomes of a layer's answer before the next layer reads it: an addition, and a clip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.calibration._nodes import number, output, sole_reader
from edgeq.calibration.graph import lower_bound

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

_STEPS = 12  # of Newton's method, which takes four or five
_LEAST_SLOPE = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Onward:
    """An addition to both answers of a layer, and the clip behind it.

    Attributes:
        added: what is added to the quantised layer's answer, float32, of its shape; None for
            nothing.
        float_added: what is added to the float layer's.
        low: where the clip begins; minus infinity for none.
        high: where it ends.
    """

    added: NDArray[np.float32] | None = None
    float_added: NDArray[np.float32] | None = None
    low: float = -np.inf
    high: float = np.inf

    __repr__ = brief

    def missing(self) -> NDArray[np.float64] | float:
        """How far the mean of what is added is below that in float, (out,)."""
        if self.added is None or self.float_added is None:
            return 0.0
        axes = (0, *range(2, self.added.ndim))
        means = (each.mean(axes, dtype=np.float64) for each in (self.float_added, self.added))
        return np.asarray(np.subtract(*means))

    def shift(
        self, answer: NDArray[np.float32], target: NDArray[np.float32]
    ) -> NDArray[np.float64]:
        """How far each channel has to move for the float mean behind the clip, (out,).

        Where the clip leaves no mean to aim at, that in front of it is aimed at.

        Args:
            answer: of the quantised layer, (samples, out, ...).
            target: of the float layer.
        """
        return np.array(
            [
                self._channel(_rows(answer, self.added, i), _rows(target, self.float_added, i))
                for i in range(answer.shape[1])
            ]
        )

    def _channel(self, answer: NDArray[np.float64], target: NDArray[np.float64]) -> float:
        start = shift = float(target.mean() - answer.mean())
        wanted = float(target.clip(self.low, self.high).mean())
        if not self.low < wanted < self.high:
            return start
        for _ in range(_STEPS):
            moved = answer + shift
            missing = wanted - float(moved.clip(self.low, self.high).mean())
            slope = float(((moved > self.low) & (moved < self.high)).mean())
            step = missing / max(slope, _LEAST_SLOPE)
            shift += step
            if abs(step) <= 1e-4 * abs(shift):
                break
        return shift


def _rows(
    array: NDArray[np.float32], added: NDArray[np.float32] | None, channel: int
) -> NDArray[np.float64]:
    own = array[:, channel].astype(np.float64).reshape(-1)
    return own if added is None else own + added[:, channel].reshape(-1)


def addition_behind(layer: ir.Node) -> tuple[ir.Node, int] | None:
    """The addition that alone reads a layer's answer, and which of its inputs is the other one."""
    answer = output(layer)
    reader = sole_reader(answer)
    if reader is None or reader.op_type != "Add" or reader.inputs[0] is reader.inputs[1]:
        return None
    return reader, int(reader.inputs[0] is answer)


def clip_behind(node: ir.Node) -> tuple[float, float]:
    """Where the clip that alone reads what a node makes begins and ends; infinite for none."""
    reader = sole_reader(output(node))
    if reader is None or reader.op_type not in ("Relu", "Clip"):
        return -np.inf, np.inf
    end = number(reader.inputs[2]) if len(reader.inputs) > 2 else None
    return lower_bound(reader), np.inf if end is None else end
