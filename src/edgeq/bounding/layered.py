"""How far two networks of one architecture can be apart, from the norms of their layers.

A network is ``x -> W_L f(... f(W_1 x + b_1) ...) + b_L`` with an ``f`` of Lipschitz constant 1 that
keeps zero, such as ReLU. The other has other weights: rounded ones. Norms are of one kind
throughout, l2 or l-infinity, and of inputs no larger than ``D`` in it.

Where a bound comes from is said at each. Houache, Aujol, Traonmilin ("On the impact of the
parametrization of deep CNNs on post-training quantization", arXiv 2502.01156, Theorem 3.5) publish
the form of :func:`geometric`; its full text was not at hand, so that its constants are derived
here and must not be cited as theirs. The form of :func:`maximal` is that of Gonon, Brisebarre,
Gribonval, Riccietti ("Approximation speed of quantized vs. unquantized ReLU neural networks and
beyond", arXiv 2205.11874), with constants derived here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class LayerPair:
    """One layer of both networks.

    Attributes:
        norm: of its weights.
        other: of those of the other network.
        apart: of the difference of the two.
        bias: the norm of its bias.
        other_bias: of the other's.
        bias_apart: of the difference.
        inputs: how many weights meet in one sum: ``p^2 c / groups`` of a convolution.
    """

    norm: float
    other: float
    apart: float
    bias: float = 0.0
    other_bias: float = 0.0
    bias_apart: float = 0.0
    inputs: int = 1


def telescoping(
    layers: Sequence[LayerPair], size: float, hidden: Sequence[float] | None = None
) -> float:
    """The tightest of them: one layer is exchanged after the other. Derived here.

    ``sum_l (prod_{k>l} |W_k|) (|W_l - W'_l| |y'_{l-1}| + |b_l - b'_l|)``

    Args:
        layers: in order.
        size: the largest norm of an input.
        hidden: the norms of what each layer of the other network reads, the input first, where
            these are measured; else they are bounded.
    """
    read = _sizes(layers, size) if hidden is None else list(hidden)
    total, behind = 0.0, 1.0
    for layer, what in zip(reversed(layers), reversed(read), strict=True):
        total += behind * (layer.apart * what + layer.bias_apart)
        behind *= layer.norm
    return total


def _sizes(layers: Sequence[LayerPair], size: float) -> list[float]:
    """The largest norm of what each layer of the other network reads."""
    found = [size]
    for layer in layers[:-1]:
        found.append(layer.other * found[-1] + layer.other_bias)
    return found


def products(layers: Sequence[LayerPair], size: float) -> float:
    """``D sum_l (prod_{k!=l} r_k) |W_l - W'_l|`` with the larger norm ``r_k``. Derived here.

    It assumes that there are no biases.
    """
    radii = [max(layer.norm, layer.other) for layer in layers]
    return size * sum(
        _product_without(radii, place) * layer.apart for place, layer in enumerate(layers)
    )


def geometric_mean_radius(layers: Sequence[LayerPair]) -> float:
    """``r_mean``: the largest geometric mean of all radii but one, biases included, at least 1.

    Radii are ``max(1, |W| + |b|)`` of the larger network, the last one without the 1.
    """
    radii = _radii(layers)
    if len(radii) == 1:
        return 1.0
    logarithms = [math.log(radius) if radius else -math.inf for radius in radii]
    total = math.fsum(logarithms)
    return math.exp((total - min(logarithms)) / (len(radii) - 1))


def geometric(layers: Sequence[LayerPair], size: float, step: float) -> float:
    """``max(D, 1) r_mean^{L-1} sum_l (N_{l-1} + 1) e``, in l-infinity.

    The form of Houache et al., Theorem 3.5, which assumes ``r >= 1``; constants derived here. With
    convolutions their ``r_conv`` and ``p_l^2 c_{l-1}`` are the same formula.

    Args:
        layers: in order, with norms in l-infinity.
        size: the largest magnitude of an input.
        step: the largest difference ``e`` of two parameters.
    """
    radius = geometric_mean_radius(layers) ** (len(layers) - 1)
    return max(size, 1.0) * radius * sum(layer.inputs + 1 for layer in layers) * step


def maximal(layers: Sequence[LayerPair], size: float, step: float) -> float:
    """``sum_l B^{L-1} (W (D + l - 1) + 1) e``: the form of Gonon et al. Constants derived here.

    ``B`` is the largest norm of all weights and biases, at least 1, and ``W`` the largest number of
    weights that meet in a sum.
    """
    largest, width = _largest(layers), max(layer.inputs for layer in layers)
    return sum(
        largest ** (len(layers) - 1) * (width * (size + place) + 1) * step
        for place in range(len(layers))
    )


def improvement(layers: Sequence[LayerPair]) -> float:
    """By what power of ten ``r_mean^{L-1}`` is below ``r_max^{L-1}``: what Houache et al. report.

    The decimal logarithm of the quotient.
    """
    most = max(_radii(layers))
    return (len(layers) - 1) * math.log10(most / geometric_mean_radius(layers))


def lipschitz_in_parameters(layers: Sequence[LayerPair], size: float) -> tuple[float, float]:
    """Bounds on ``K``, by how much answers change with parameters in l-infinity.

    Gonon et al.: ``L B^{L-1} / c <= K <= c W L^2 B^{L-1}`` over all networks of norms up to ``B``.
    The upper one is :func:`maximal` by step; the lower one is attained by a network of width 1.
    """
    return len(layers) * _largest(layers) ** (len(layers) - 1) * size, maximal(layers, size, 1.0)


def bits_needed(
    layers: Sequence[LayerPair], size: float, error: float, largest_weight: float
) -> int:
    """Bits a parameter with which :func:`maximal` promises an error: they grow with depth.

    Args:
        layers: in order.
        size: the largest magnitude of an input.
        error: how far answers may be apart.
        largest_weight: the range is from its negative to it, in steps of equal size.
    """
    step = error / maximal(layers, size, 1.0)  # half of the distance of two levels
    return max(1, math.ceil(math.log2(largest_weight / step + 1)))


def additive(steps: Sequence[tuple[float, float, float]]) -> float:
    """``sum_j e_j + h_j |K_j| i_j``: errors through steps that do not expand, in l2.

    Ben-Yair et al., Eq. 16, without its approximation of first order: it holds where every
    ``h_j |K_j|^2 <= 2`` and the reference clips alike. Errors add up with depth; they do not
    multiply.

    Args:
        steps: of each block the l2 norm ``e`` of the rounding of its result, ``h |K|``, and the l2
            norm ``i`` of the rounding inside.
    """
    return math.fsum(result + through * inner for result, through, inner in steps)


def graph_step_is_stable(step: float, norm: float, squared_graph: float = 9 / 8) -> bool:
    """Whether ``x - h S^T K^T tanh(K S x)`` does not expand: ``h |K|^2 |S|^2 <= 2``.

    Args:
        step: ``h``.
        norm: of ``K`` in l2.
        squared_graph: ``|S|^2``; at most 9/8 on any graph with normalised weights (derived here).
    """
    return step * norm**2 * squared_graph <= 2


def _radii(layers: Sequence[LayerPair]) -> list[float]:
    found = [max(a.norm + a.bias, a.other + a.other_bias) for a in layers]
    return [*(max(1.0, radius) for radius in found[:-1]), found[-1]]


def _largest(layers: Sequence[LayerPair]) -> float:
    return max(1.0, *(max(a.norm, a.other, a.bias, a.other_bias) for a in layers))


def _product_without(radii: Sequence[float], place: int) -> float:
    return math.prod(radius for index, radius in enumerate(radii) if index != place)
