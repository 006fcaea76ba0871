"""Numbers, attributes and operators that the stage's file has otherwise than the first one.

Grid, fold, conversion, layout, padding, clipping, and another version altogether.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.deploy.why.evidence import Evidence, Place
    from edgeq.deploy.why.records import Cause, CauseKind
    from edgeq.diffing.records import Difference

_KINDS: Mapping[str, CauseKind] = {
    "activation scale": "grid",
    "zero point": "grid",
    "integers read on another grid": "grid",
    "broken scale": "grid",
    "weight scale": "grid",
    "weight zero point": "grid",
    "bias scale": "grid",
    "range": "clipping",
    "number format": "grid",
    "channels reordered": "layout",
    "weights transposed": "layout",
    "shape": "layout",
}
_NUMBERS = frozenset(
    (
        *_KINDS,
        "weights",
        "weights requantised",
        "bias",
        "layer missing",
        "layer added",
    )
) - {"number format", "shape"}
"""Differences of numbers that mean something even where no sample shows it."""
_REWRITTEN = frozenset(("layer missing", "layer added", "zero point"))
"""What another format may have otherwise and compute alike: operators in the place of one that it
lacks, and integers stored elsewhere in the type, as behind a pooling that cuts off too."""
_PADS = ("pads", "auto_pad", "padding", "ceil_mode", "count_include_pad")
_SIZES = frozenset((*_PADS, "strides", "dilations", "kernel_shape"))
"""Attributes that change the size of a result."""
_AXES = ("perm", "axis", "axes", "group")
_VERSION = 0.5  # of the layers
_FEW_LAYERS = 3


def find(evidence: Evidence) -> list[Cause]:
    """The differences, one cause for each operator; those that measurements show go first."""
    telling = _NUMBERS
    if evidence.pair.artefact.suffix != evidence.against.artefact.suffix and evidence.meter.meters:
        telling -= _REWRITTEN
    relevant = [
        each
        for each in evidence.differences
        if evidence.meter.wrong
        or evidence.unmeasured
        or each.kind in telling
        or _resized(evidence, each)
    ]
    if not relevant:
        return []
    if other := _another_version(evidence, relevant):
        return [other]
    return by_operator(evidence, relevant)


def _resized(evidence: Evidence, difference: Difference) -> bool:
    """Whether an operator reads other places, and its result is of another size for it.

    No number of it can be compared then, so that no measurement tells.
    """
    name, place = difference.detail.partition(":")[0], _place(evidence, difference)
    if difference.kind != "attribute" or name not in _SIZES or place is None:
        return False
    known = evidence.meter.meters
    return bool(known) and place.operator.tensor not in known


def by_operator(evidence: Evidence, relevant: Sequence[Difference]) -> list[Cause]:
    """One cause for each operator that differences are about."""
    grouped: dict[str, list[Difference]] = defaultdict(list)
    for each in relevant:
        place = _place(evidence, each)
        grouped["" if place is None else place.operator.tensor].append(each)
    found = [
        _cause(evidence, evidence.places.get(tensor), together)
        for tensor, together in grouped.items()
    ]
    first = evidence.first

    def order(cause: Cause) -> tuple[bool, bool, int]:
        other = first is not None and cause.number != first.number
        return (other, not cause.operator, cause.number)

    return sorted(found, key=order)


def _another_version(evidence: Evidence, differences: Sequence[Difference]) -> Cause | None:
    layers = {each.where for each in differences if each.kind in ("weights", "weight scale")}
    if len(layers) < _FEW_LAYERS or len(layers) <= _VERSION * evidence.layers:
        return None
    return evidence.cause(
        "another version",
        f"{evidence.pair.artefact.name} is another version of the network: the weights of "
        f"{counted(len(layers), 'layer', 'are', of=evidence.layers)} others",
        f"edgeq diff {evidence.against.artefact} {evidence.pair.artefact} lists them; compare "
        "files of one training",
    )


def _place(evidence: Evidence, difference: Difference) -> Place | None:
    """The operator that a difference is about."""
    where = difference.where
    for prefix in ("input of ", "result of "):
        where = where.removeprefix(prefix)
    for name in (where, where.removesuffix("_dequantized"), where.removesuffix("_quantized")):
        if name in evidence.places:
            return evidence.places[name]
    return None


def _cause(evidence: Evidence, place: Place | None, together: Sequence[Difference]) -> Cause:
    main = together[0]
    return evidence.cause(
        _kind(together),
        "; ".join(f"{_named(each, place)}: {each.detail}" for each in together),
        evidence.remedy,
        place=place,
        channels=next((each.channels for each in together if each.channels), main.channels),
        evidence=_unseen(evidence),
    )


def _unseen(evidence: Evidence) -> tuple[str, ...]:
    """What is to be said where no operator is wrong given equal inputs."""
    if evidence.meter.wrong or not evidence.meter.meters:
        return ()
    moved = [
        meter
        for meter in evidence.meter.meters.values()
        if meter.accumulated_noise and meter.accumulates
    ]
    if not moved:
        return ("these samples do not show it: none has a value that it changes; others may",)
    first = min(moved, key=lambda meter: meter.operator.number)
    where = repr(first.operator.tensor)
    return (f"every operator is right given what it reads; the numbers are others from {where} on",)


def _named(difference: Difference, place: Place | None) -> str:
    """The kind of a difference, with its place where that is not the operator itself."""
    known = place is not None and difference.where in (place.title, place.operator.name)
    return difference.kind if known else f"{difference.kind} of {difference.where!r}"


def _kind(together: Sequence[Difference]) -> CauseKind:
    kinds = {each.kind for each in together}
    texts = [each.detail for each in together]
    norms = any("BatchNormalization" in text for text in texts)
    spread = all(
        len(each.channels) != 1 for each in together if each.kind in ("weight scale", "bias")
    )
    if norms or ({"weight scale", "bias"} <= kinds and spread):
        return "fold"
    rewired = "operator" in kinds
    for each in together:
        if each.kind == "shape" and rewired:  # what follows from another operator
            continue
        if each.kind == "attribute":
            name = each.detail.partition(":")[0]
            if name in _PADS:
                return "padding"
            if name in _AXES:
                return "layout"
        if each.kind in _KINDS:
            return _KINDS[each.kind]
    return "conversion"
