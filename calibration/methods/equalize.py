"""Cross-layer equalisation: the same function with weights of equal ranges."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np

from edgeq.calibration.graph import lower_bound
from edgeq.calibration.methods.parts.float_pairs import float_pairs, layers_of
from edgeq.calibration.normal_form.layers import replace
from edgeq.errors import UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.calibration.methods.parts.float_pairs import FloatPair
    from edgeq.calibration.normal_form.draft import Draft

_SWEEPS = 100
_SETTLED = 1e-7


class CrossLayerEqualization:
    """Gives each channel between two layers equal weight ranges on both sides of it.

    Nagel et al., *Data-free quantization through weight equalization and bias correction* (2019),
    Eq. 11: channel i of the first layer is divided by ``s_i = sqrt(r1_i r2_i) / r2_i``, and the
    second layer multiplied by it, where r are the largest magnitudes of its weights. All pairs are
    swept until nothing changes. Between the two may stand ReLU, leaky ReLU and pooling, since they
    commute with the factors. A depthwise layer is the second of one pair and the first of the next.
    Layers that share their weights are left alone, and so are two of which one is the transpose of
    the other (K and K^T of a symmetric block), which no factor would leave so.

    A ReLU6 does not commute with factors. The paper takes ReLU for it, which changes the function
    where values exceed 6; that is done if asked for.

    Args:
        relu6: ``keep`` to leave pairs around a ReLU6 alone, ``relu`` to make a ReLU of it.

    Raises:
        UsageError: another word.
    """

    stage: ClassVar[Literal["float"]] = "float"

    def __init__(self, relu6: str = "keep") -> None:
        if relu6 not in ("keep", "relu"):
            raise UsageError(
                f"equalize cannot make {relu6!r} of a ReLU6", hint="choose relu6=keep or relu6=relu"
            )
        self._replaces = relu6 == "relu"

    def apply(self, draft: Draft) -> str:
        """Scale the weights of all pairs in place."""
        clips = frozenset(("Clip",) if self._replaces else ())
        pairs = [pair for pair in float_pairs(draft.graph, clips) if _without_bounds(pair)]
        replaced = 0
        for node in {node for pair in pairs for node in pair.between if node.op_type == "Clip"}:
            replace(draft, node, "Relu", [node.inputs[0]], {})
            replaced += 1
        for _ in range(_SWEEPS):
            if max((_equalize(pair) for pair in pairs), default=0.0) < _SETTLED:
                break
        for layer in layers_of(pairs):
            layer.write(draft)
        made = f"; made ReLUs of {replaced} ReLU6" if replaced else ""
        return f"equalised {counted(len(pairs), 'pair')} of layers{made}"


def _without_bounds(pair: FloatPair) -> bool:
    """Whether each clip between the two begins at zero, so that a ReLU can stand for it."""
    return all(node.op_type != "Clip" or lower_bound(node) == 0 for node in pair.between)


def _equalize(pair: FloatPair) -> float:
    """Scale both; gives the largest change of a factor from 1."""
    behind = pair.second.by_input()
    r1, r2 = _magnitudes(pair.first.weight), _magnitudes(behind)
    used = (r1 > 0) & (r2 > 0)
    factor = np.where(used, np.sqrt(r1 / np.where(used, r2, 1.0)), 1.0)
    pair.first.divide(factor)
    behind *= factor.reshape(-1, *[1] * (behind.ndim - 1))
    return float(np.abs(factor - 1.0).max(initial=0.0))


def _magnitudes(rows: NDArray[np.float64]) -> NDArray[np.float64]:
    found: NDArray[np.float64] = np.abs(rows).reshape(len(rows), -1).max(axis=1)
    return found
