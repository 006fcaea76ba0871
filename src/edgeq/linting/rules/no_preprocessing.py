"""Files that do not say how their inputs are prepared."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel


class NoPreprocessing:
    """The file does not say how its inputs are prepared: size, scale, mean, order of the channels.

    Whoever runs it has to guess, and a wrong guess looks like a bad model. Files of edgeq carry it,
    if it was known when they were made.
    """

    severity: ClassVar[Severity] = "note"
    summary: ClassVar[str] = "files that do not say how their inputs are prepared"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem for the whole file."""
        if not model.preprocessing and model.inputs:
            yield Problem(
                model.inputs[0].name,
                "the file does not say how its inputs are prepared",
                "make it with data (edgeq calibrate --data), which writes size, scale, mean, "
                "standard deviation and layout into the file",
            )
