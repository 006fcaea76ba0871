"""Attributes that an operator of a quantised file has otherwise than the float one."""

from __future__ import annotations

from math import isclose
from typing import TYPE_CHECKING

from edgeq.diffing.records import Difference

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeq.deploy.origin.unrounded import FloatNode

_DEFAULTS: Mapping[str, tuple[int | float | str, ...]] = {
    "group": (1,),
    "ceil_mode": (0,),
    "count_include_pad": (0,),
    "blocksize": (1,),
    "mode": ("",),
    "coordinate_transformation_mode": ("half_pixel",),
}
_COMPARED = frozenset((*_DEFAULTS, "pads", "strides", "dilations", "kernel_shape", "perm", "axis"))
_REAL = frozenset(("alpha", "beta", "gamma", "epsilon", "lambd", "bias"))
"""Attributes that are real numbers, which files may write in other digits."""
_FACTOR = 1e-5


def attribute_differences(real: FloatNode, other: FloatNode, where: str) -> Iterator[Difference]:
    """The attributes that say otherwise what an operator computes.

    Args:
        real: the float network's operator.
        other: the quantised file's.
        where: what the differences are called by.
    """
    for name in sorted(_COMPARED & (real.attributes.keys() | other.attributes.keys())):
        mine, its = (each.attributes.get(name, _DEFAULTS.get(name)) for each in (real, other))
        if mine is None or its is None or mine == its:
            continue
        if name != "axis" or str(mine[0]).startswith("-") == str(its[0]).startswith("-"):
            yield Difference("attribute", where, f"{name}: {list(mine)} became {list(its)}")
    for name in sorted(_REAL & (real.attributes.keys() | other.attributes.keys())):
        before, after = _real(real, name), _real(other, name)
        if before is None or after is None or isclose(before, after, rel_tol=_FACTOR):
            continue
        yield Difference("attribute", where, f"{name}: {before:.6g} became {after:.6g}")


def _real(node: FloatNode, name: str) -> float | None:
    """An attribute that is a real number, or what ONNX takes where it is not said."""
    from onnx import defs

    said = node.attributes.get(name)
    if said is not None:
        return float(said[0])
    known = defs.get_schema(node.op_type).attributes if defs.has(node.op_type) else {}
    return float(known[name].default_value.f) if name in known else None
