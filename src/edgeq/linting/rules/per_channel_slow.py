"""Per-channel weights where a device is slow with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel


class PerChannelSlow:
    """A device is many times slower with per-channel weights.

    Some accelerators have no multiplier a channel: layers with per-channel weights leave them
    and run many times slower elsewhere. The rule speaks where `--device` names one of them; what
    is known of which device is data, with its source.
    """

    severity: ClassVar[Severity] = "warning"
    summary: ClassVar[str] = "per-channel weights on a device that is slow with them (--device)"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem for the whole file."""
        device = model.device
        if device is None or device.granularity == "per-channel":
            return
        slow = [
            layer.node
            for layer in model.layers
            if layer.weight_grid is not None and layer.weight_grid.scale.size > 1
        ]
        if slow:
            yield Problem(
                slow[0],
                f"{counted(len(slow), 'layer', 'have', of=len(model.layers))} per-channel "
                f"weights, with which {device.title} was measured {device.slower:g} times slower "
                f"({device.facts_about('slower')[0].source})",
                f"edgeq calibrate --device {device.name} chooses per-tensor weights",
                device.slower,
                "times slower",
            )
