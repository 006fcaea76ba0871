"""Biases on another grid than that of the sums."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from edgeq.errors import channels_named
from edgeq.linting import Problem

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgeq.linting import Severity
    from edgeq.linting.model import LintModel

_ROUNDING = 2.0**-21  # of the scale: 4 units in the last place of float32


class BiasScale:
    """The bias lies on another grid than the sums that it is added to.

    Those count in input scale times weight scale, and integer kernels never look at the scale that
    the file gives the bias. With another one they add another number.
    """

    severity: ClassVar[Severity] = "error"
    summary: ClassVar[str] = "biases whose scale is not input scale times weight scale"

    def check(self, model: LintModel) -> Iterator[Problem]:
        """One problem a layer."""
        for layer in model.layers:
            step, grid = layer.step, layer.bias_grid
            if step is None or grid is None or layer.bias is None or not layer.bias.size:
                continue
            if np.any(grid.zero_point) or grid.dtype not in ("int32", "int64"):
                yield Problem(
                    layer.node,
                    f"its bias is {grid.dtype} with zero point "
                    f"{int(np.max(np.atleast_1d(grid.zero_point)))}",
                    "store it as int32 with zero point 0",
                )
                continue
            if grid.scale.size not in (1, layer.bias.size):
                yield Problem(
                    layer.node,
                    f"its bias has {grid.scale.size} scales for {layer.bias.size} channels",
                    "give the bias one scale, or one a channel",
                    float(grid.scale.size),
                    "scales",
                )
                continue
            given = np.broadcast_to(np.atleast_1d(grid.scale).astype(np.float64), layer.bias.shape)
            off = np.abs(given / np.broadcast_to(step, layer.bias.shape) - 1)
            wrong = tuple(int(i) for i in np.flatnonzero(off > _ROUNDING))
            if wrong:
                yield Problem(
                    layer.node,
                    f"{channels_named(wrong)}: the scale of the bias is not input scale times "
                    f"weight scale, but off by {100 * off.max():.3g} %",
                    "find the wrong one of the three: edgeq diff with the float file shows weights "
                    "on a wrong scale, which are to be quantised again; edgeq export --requantize "
                    "rounds a bias again on the scales of the others, and states the error",
                    float(off.max()),
                    "of the scale",
                    wrong,
                )
