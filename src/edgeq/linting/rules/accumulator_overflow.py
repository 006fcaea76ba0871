"""Sums that do not fit 32 bits."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from edgeq.errors import channels_named
from edgeq.linting import Problem
from edgeq.linting.layer_bounds import leaves_accumulator
from edgeq.linting.model import ACCUMULATOR_RANGE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel

_WIDE = ("int16", "uint16")  # kernels sum these in 64 bits


class AccumulatorOverflow:
    """Some input makes the sum of a channel leave 32 bits, where integer kernels wrap around.

    The bound is exact: bias, plus positive weights times the largest input, plus negative weights
    times the smallest. Float arithmetic, in which quantisers test their files, does not notice.
    """

    severity: ClassVar[Severity] = "error"
    summary: ClassVar[str] = "channels whose sums can leave 32 bits"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a layer."""
        low, high = ACCUMULATOR_RANGE
        for layer in model.layers:
            if layer.source is None or layer.source.dtype in _WIDE:
                continue
            found = leaves_accumulator(layer)
            if found is not None:
                sums, beyond = found
                ends = (sums.smallest, sums.largest)
                furthest = max((int(end[i]) for i in beyond for end in ends), key=abs)
                yield Problem(
                    layer.node,
                    f"{channels_named(beyond)}: the sum can reach {furthest:,}, and 32 bits end at "
                    f"{high if furthest > 0 else low:,}",
                    "quantise these channels with a larger weight scale; edgeq export --to tflite "
                    "--requantize does so and states the error",
                    float(furthest),
                    "steps of the sum",
                    beyond,
                )
