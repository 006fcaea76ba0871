"""The detectors of causes, one file a cause, in the order in which they are asked.

What a file says goes before what a runtime does, and what is known of a runtime before what only
looks like it. The last one always answers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.why.causes import (
    accumulator,
    clipping,
    file_numbers,
    float_fallback,
    graph_optimization,
    kernel_rounding,
    layout,
    padding,
    pair_saturation,
    runtime_bug,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.deploy.why.evidence import Evidence
    from edgeq.deploy.why.records import Cause

    Detector = Callable[[Evidence], list[Cause]]

DETECTORS: tuple[Detector, ...] = (
    file_numbers.find,
    pair_saturation.find,
    accumulator.find,
    float_fallback.find,
    layout.find,
    padding.find,
    clipping.find,
    kernel_rounding.find,
    graph_optimization.find,
    runtime_bug.find,
)


def causes_of(evidence: Evidence) -> list[Cause]:
    """The causes of a stage that is not exact; those of the first detector that finds any."""
    return next((found for each in DETECTORS if (found := each(evidence))), [])
