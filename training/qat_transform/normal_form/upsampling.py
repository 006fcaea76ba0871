"""Images made larger: one call, by whole factors.

Repeating pixels moves values only; between pixels lie weighted means of four.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import argument

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import fx

LINEAR = "bilinear"
_OPTIONS = ("size", "scale_factor", "mode", "align_corners")
_NEAREST = ("nearest", "nearest-exact")  # the same for whole factors
# up to here the inverse in float32, which torch and others sample by, reaches every pixel
_MOST = 16


def resize_by_factors(_: fx.Graph, node: fx.Node) -> None:
    """``F.interpolate`` gets its factors along height and width, by name.

    Raises:
        UsageError: its mode is another than the nearest pixels or bilinear, or its factors are not
            whole or not known.
    """
    size, factor, mode, corners = (argument(node, at, name) for at, name in enumerate(_OPTIONS, 1))
    if (mode or "nearest") not in (*_NEAREST, LINEAR):
        raise UsageError(
            f"{node.name} resizes by mode {mode}, which cannot be quantised",
            hint='use mode="nearest" or "bilinear", by a whole factor',
        )
    found = _from_sizes(node) or _from(factor)
    if found is None:
        raise UsageError(
            f"{node.name} resizes to {size if factor is None else factor}, which is no "
            "known whole multiple of each side",
            hint=f"resize by a whole factor up to {_MOST}; where it is one of sizes, give an "
            "example of the input to edgeq.quantize",
        )
    how: dict[str, Any] = (
        {"mode": LINEAR, "align_corners": bool(corners)} if mode == LINEAR else {"mode": "nearest"}
    )
    node.args, node.kwargs = (
        (node.args[0],),
        {"scale_factor": tuple(float(each) for each in found), **how},
    )
    node.target = F.interpolate


def _from_sizes(node: fx.Node) -> Sequence[int] | None:
    source: Any = node.args[0]
    have, made = source.meta.get("shape"), node.meta.get("shape")
    if have is None or made is None or len(made) != 4:
        return None
    return _whole([new / old for new, old in zip(made[2:], have[2:], strict=True)])


def _from(factor: Any) -> Sequence[int] | None:
    factors = factor if isinstance(factor, tuple | list) else (factor, factor)
    return (
        _whole(factors)
        if len(factors) == 2 and all(isinstance(each, int | float) for each in factors)
        else None
    )


def _whole(factors: Sequence[float]) -> Sequence[int] | None:
    return (
        [int(each) for each in factors]
        if all(each in range(1, _MOST + 1) for each in factors)
        else None
    )
