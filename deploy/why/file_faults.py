"""What is wrong with a file whatever it is compared with: the errors of `edgeq lint`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.why.records import Cause
from edgeq.linting import findings_in

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from edgeq.deploy.why.evidence import Place
    from edgeq.deploy.why.records import CauseKind
    from edgeq.linting.model import LintModel

_KINDS: Mapping[str, CauseKind] = {
    "accumulator-overflow": "accumulator",
    "bias-limit": "accumulator",
    "bias-scale": "grid",
    "broken-scale": "grid",
    "grid-mismatch": "grid",
    "range-clipped": "clipping",
    "saturating-pairs": "pair saturation",
    "float-in-fact": "float fallback",
}


def faults_in(
    view: LintModel, places: Mapping[str, Place], *, without: Collection[str] = ()
) -> list[Cause]:
    """The errors that lint rules find in a file.

    Args:
        view: an ONNX or TFLite file as rules see it.
        places: its operators by name.
        without: rules whose findings are explained otherwise.
    """
    found = []
    for each in findings_in(view):
        if each.severity != "error" or each.rule not in _KINDS or each.rule in without:
            continue
        place = places.get(each.node)
        found.append(
            Cause(
                _KINDS[each.rule],
                each.message,
                each.node if place is None else place.title,
                "" if place is None else place.operator.op_type,
                0 if place is None else place.number,
                0 if place is None else place.count,
                "" if place is None else place.operator.tensor,
                each.channels,
                (f"lint rule {each.rule}",),
                each.hint,
                (view.name,),
            )
        )
    return found
