"""A model file as lint rules see it, whatever its format: layers, grids, and who hands to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeq.brief import brief
from edgeq.quant import STORAGE_RANGE

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.device import Device
    from edgeq.quant import QuantParams

ACCUMULATOR_RANGE = (-(2**31), 2**31 - 1)
"""What 32 bits hold."""


@dataclass(frozen=True, slots=True, eq=False)
class LintLayer:
    """An operator with weights.

    Attributes:
        node: its name.
        op_type: what the file calls it.
        source: the grid of its input, as narrow as what comes before makes it; None in float.
        weights: the integers less their zero point, (out, in / groups, ...); None in float.
        weight_grid: their grid as stored; None in float.
        depthwise: whether each output channel sees one input channel of its own.
        bias: integers, (out,); None for none, or one in float.
        bias_grid: its grid; None where the file gives it none.
        result: the grid of its output; None where that is not quantised.
        why_float: what keeps it from integers; empty where nothing does.
        size: how many weights it has.
        dead: whether no output needs its result.
    """

    node: str
    op_type: str
    source: QuantParams | None = None
    weights: NDArray[np.int64] | None = None
    weight_grid: QuantParams | None = None
    depthwise: bool = False
    bias: NDArray[np.int64] | None = None
    bias_grid: QuantParams | None = None
    result: QuantParams | None = None
    why_float: str = ""
    size: int = 0
    dead: bool = False

    __repr__ = brief

    @property
    def step(self) -> NDArray[np.float64] | None:
        """Input scale times weight scale, what one step of the sums stands for; (out,) or (1,).

        None where the layer has no integers, or as many scales as neither channels nor one.
        """
        if self.source is None or self.weight_grid is None or self.source.axis is not None:
            return None
        scales = np.atleast_1d(self.weight_grid.scale).astype(np.float64)
        if self.weights is None or scales.size not in (1, len(self.weights)):
            return None
        return scales * float(self.source.scale)

    def reach(self) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
        """The smallest and the largest sum of each channel, without its bias, exactly.

        Positive weights times the largest input and negative ones times the smallest, or the other
        way round. Padding adds zeros to the inputs. None where the layer has no integers.
        """
        if self.weights is None or self.source is None or self.source.axis is not None:
            return None
        zero = int(self.source.zero_point)
        low, high = min(self.source.qmin - zero, 0), max(self.source.qmax - zero, 0)
        rows = self.weights.reshape(len(self.weights), -1)
        up, down = np.maximum(rows, 0).sum(1), np.minimum(rows, 0).sum(1)
        return up * low + down * high, up * high + down * low


@dataclass(frozen=True, slots=True, eq=False)
class Handover:
    """Integers that one part of a file writes and another reads as they are.

    Attributes:
        node: who reads.
        written: the grid that they were written on.
        read: the grid that they are taken for.
    """

    node: str
    written: QuantParams
    read: QuantParams

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class LintActivation:
    """A quantised tensor that is computed.

    Attributes:
        name: its name.
        grid: its grid as stored; ``qmin`` and ``qmax`` are narrower where the file clips integers.
        op_type: what made it; empty for an input of the graph.
        positive: whether a Relu, or a Clip from zero on, stands before its quantiser.
    """

    name: str
    grid: QuantParams
    op_type: str = ""
    positive: bool = False

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class LintInput:
    """An input of the graph.

    Attributes:
        name: its name.
        shape: its dimensions; -1 for an open one.
    """

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True, slots=True, eq=False)
class LintModel:
    """One file.

    Attributes:
        name: the file's name.
        format: its format.
        layers: operators with weights, in graph order.
        handovers: integers that are written on one grid and read on another, or on the same.
        activations: quantised tensors, in graph order, inputs first.
        inputs: the inputs of the graph.
        preprocessing: whether the file says how its inputs are prepared.
        broken: quantisers whose grid means nothing, each with what is wrong.
        device: the device that the file is for; None for any.
        not_finite: operators with the name of a constant of theirs that holds NaN or infinity.
    """

    name: str
    format: Literal["onnx", "tflite"]
    layers: tuple[LintLayer, ...]
    handovers: tuple[Handover, ...]
    activations: tuple[LintActivation, ...]
    inputs: tuple[LintInput, ...]
    preprocessing: bool
    broken: tuple[tuple[str, str], ...] = ()
    device: Device | None = None
    not_finite: tuple[tuple[str, str], ...] = ()

    __repr__ = brief

    @property
    def with_weights(self) -> tuple[LintLayer, ...]:
        """The layers but for products of two tensors that are computed, as attention has them."""
        return tuple(layer for layer in self.layers if layer.size)

    @property
    def is_quantized(self) -> bool:
        """Whether anything in it is quantised."""
        return bool(self.activations) or any(layer.weight_grid for layer in self.layers)


def fills(grid: QuantParams) -> bool:
    """Whether a grid uses all integers of its storage dtype."""
    return (grid.qmin, grid.qmax) == STORAGE_RANGE[grid.dtype]
