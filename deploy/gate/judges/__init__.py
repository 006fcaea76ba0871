"""One function for each rule: what it says of each stage."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.gate.judges import accuracy, answers, files, gap, speed, targets

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from edgeq.deploy.gate.config import Rule
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.result import Finding

JUDGES: Mapping[str, Callable[[Rule, Context], Iterator[Finding]]] = {
    "accuracy": accuracy.figure,
    "metric": accuracy.figure,
    "gap": gap.gap,
    "agreement": answers.agreement,
    "changed": answers.changed,
    "drift": targets.drift,
    "exactness": files.exactness,
    "integer_share": targets.integer_share,
    "placement": targets.placement,
    "size": targets.limited,
    "arena": targets.limited,
    "sram": targets.limited,
    "cycles": targets.limited,
    "latency": speed.latency,
    "speed_up": speed.speed_up,
    "saturation": files.saturation,
    "lint": files.lint,
}
"""By the name of the rule."""
