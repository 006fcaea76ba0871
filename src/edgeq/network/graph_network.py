"""What an exporter has to know of a trained graph network.

Numbers alone, so that the exporters' room knows no network of ours.

The network is ``x = relu(open(x))``, then for each step ``x - h S^T K2 Q2(tanh(S K1 Q1(x)))``, then
``close(x)``, where ``S`` takes differences along the edges of one fixed graph and ``Q1``, ``Q2``
put their input onto a grid.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeq.brief import brief

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.quant import QuantParams


@dataclass(frozen=True, slots=True, eq=False)
class ChannelProduct:
    """A product with a matrix on the channels.

    Attributes:
        weight: (out, in); int8 where it lies on a grid, else float32.
        params: the grid; None for none.
    """

    weight: NDArray[Any]
    params: QuantParams | None

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class NetworkStep:
    """One step of the network.

    Attributes:
        step_size: ``h``.
        k1: the operator in front of ``tanh``.
        k2: the one behind it; None for the transpose of ``k1``.
        state: the grid of the state; None for none.
        inner: the grid behind ``tanh``; None for none.
    """

    step_size: float
    k1: ChannelProduct
    k2: ChannelProduct | None
    state: QuantParams | None
    inner: QuantParams | None


@dataclass(frozen=True, slots=True, eq=False)
class GraphNetwork:
    """A graph network with its graph.

    Attributes:
        nodes: how many the graph has.
        edges: int64, (2, edges): where each begins and ends.
        weights: float32, (edges, 1): what each difference is multiplied by.
        back: float32, (edges, 1): what each is multiplied by on the way back to the nodes.
        open: float32, (channels, features).
        steps: in order.
        close: float32, (classes, channels).
    """

    nodes: int
    edges: NDArray[Any]
    weights: NDArray[Any]
    back: NDArray[Any]
    open: NDArray[Any]
    steps: tuple[NetworkStep, ...]
    close: NDArray[Any]

    __repr__ = brief
