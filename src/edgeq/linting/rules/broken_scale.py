"""Scales that are no step."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel


class BrokenScale:
    """A scale that is zero, negative, infinite or not a number, or a constant that holds such.

    Quantisers write such scales for tensors that they never saw a value of. Some runtimes end on
    opening such a file, others divide by zero. Weights that are NaN or infinite come from a
    training that diverged, and answer nothing.
    """

    severity: ClassVar[Severity] = "error"
    summary: ClassVar[str] = "scales that are zero, negative or no number, and weights likewise"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a quantiser or tensor."""
        for node, what in model.broken:
            yield Problem(
                node, what, "calibrate the model again, with data that reaches this tensor"
            )
        for node, name in model.not_finite:
            yield Problem(
                node,
                f"its constant {name!r} holds NaN or infinity",
                "write the file again from a training that did not diverge",
            )
