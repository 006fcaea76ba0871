"""Scales that are no step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel


class BrokenScale:
    """A scale that is zero, negative, infinite or not a number.

    Quantisers write them for tensors
    that they never saw a value of. Some runtimes end on opening such a file, others divide by zero.
    """

    severity: ClassVar[Severity] = "error"
    summary: ClassVar[str] = "scales that are zero, negative or no number"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a quantiser or tensor."""
        for node, what in model.broken:
            yield Problem(
                node, what, "calibrate the model again, with data that reaches this tensor"
            )
