"""Sensitivity by layer: what a network answers with one layer quantised and all others in float."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.calibration.search.precision import FLOAT

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgeq.calibration.search.precision import Precision
    from edgeq.calibration.search.study import Assignment, Figures, LayerSize


@dataclass(frozen=True, slots=True)
class Sensitivity:
    """What one layer costs at one precision.

    Attributes:
        layer: its name.
        precision: its name, such as ``w4a8``.
        sqnr_db: of the outputs against float, with all other layers in float.
        score: of the task then; in the unit of the study.
        drop: how much worse than in float; below 0 where it is better.
    """

    layer: str
    precision: str
    sqnr_db: float
    score: float
    drop: float

    @property
    def noise(self) -> float:
        """The share of noise in the power of the outputs."""
        return float(10.0 ** (-self.sqnr_db / 10.0))


def sensitivities(
    layers: Sequence[LayerSize],
    precisions: Sequence[Precision],
    evaluate: Callable[[Assignment], Figures],
    *,
    float_score: float,
    higher_is_better: bool = True,
    open_still: Callable[[], bool] = lambda: True,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> tuple[Sensitivity, ...]:
    """Each layer at each precision, the widest first.

    Args:
        layers: of the network.
        precisions: to look at; float is left out, as it costs nothing.
        evaluate: judges the network with some layers quantised.
        float_score: of the float network.
        higher_is_better: of the score.
        open_still: whether there is time left; those that were not reached are left out.
        progress: called with those done and those in all.
    """
    asked = [precision for precision in precisions if not precision.is_float]
    floats = dict.fromkeys((layer.name for layer in layers), FLOAT)
    found: list[Sensitivity] = []
    total = len(asked) * len(layers)
    for precision in sorted(asked, key=lambda each: -each.work):
        for layer in layers:
            if not open_still():
                return tuple(found)
            figures = evaluate({**floats, layer.name: precision})
            drop = float_score - figures.score
            found.append(
                Sensitivity(
                    layer.name,
                    precision.name,
                    figures.sqnr_db,
                    figures.score,
                    drop if higher_is_better else -drop,
                )
            )
            progress(len(found), total)
    return tuple(found)
