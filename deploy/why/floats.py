"""Stages in float beside the first of them: the same network, or another one.

Float kernels add up in another order, which costs parts in a million. What is apart by a part in a
hundred computes something else: another weight, order of gates, attribute or operator.
"""

from __future__ import annotations

import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.diff.run import diff
from edgeq.deploy.evaluation.chain import load_target
from edgeq.deploy.why.causes import file_numbers
from edgeq.deploy.why.evidence import Evidence, Place
from edgeq.deploy.why.measure import StageMeter
from edgeq.diffing.replay import Operator
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_io import read
from edgeq.metrics.sqnr import sqnr_db

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.evaluation.compare import Observed
    from edgeq.deploy.why.records import Cause, CauseKind, State
    from edgeq.deploy.why.stages import Judged
    from edgeq.diffing.records import Difference
    from edgeq.results import Comparison
    from edgeq.target import Shown

OTHERS_DB = 40.0
"""Below it, float outputs are another network's; half precision stays above it."""
ALIKE_DB = 80.0
"""Above it, the order of sums explains what is apart."""
_CHOICES = frozenset(("ArgMax", "ArgMin", "TopK", "NonMaxSuppression"))
"""Operators that turn the smallest difference into a large one."""


class Floats:
    """The float stages of a run, each beside the first of them."""

    def __init__(self, stages: Sequence[Judged]) -> None:
        self.stages = stages
        self.tensors: dict[Pair, dict[str, float]] = {}

    def see(self, seen: Sequence[Shown]) -> None:
        """Hold the tensors of one batch against each other; later ones tell nothing more."""
        shown = {each.pair: one for each, one in zip(self.stages, seen, strict=True)}
        for stage in self.stages:
            if stage.quantized or stage.against is None or stage.pair in self.tensors:
                continue
            if stage.against in shown:
                self.tensors[stage.pair] = apart(shown[stage.against], shown[stage.pair])

    def causes(self, stage: Judged, observed: Observed, names: Mapping[Pair, str]) -> list[Cause]:
        """Why a stage computes something else than the first; empty where it does not."""
        if stage.quantized or stage.against is None:
            return []
        found_db = output_db(observed.comparison, names[stage.pair], names[stage.against])
        if found_db is None or found_db >= OTHERS_DB:
            return []
        places = _places(stage.against.artefact)
        tensors = self.tensors.get(stage.pair, {})
        first = next((name for name, each in tensors.items() if each < OTHERS_DB), "")
        place = places.get(first)
        if place is None or place.operator.op_type in _CHOICES:
            how = observed.answering.get(names[stage.pair])
            chosen = any(each.operator.op_type in _CHOICES for each in places.values())
            if place is not None or chosen or (how is not None and how.kind == "classes"):
                return []
        seen = _seen(found_db, first, tensors)
        evidence = Evidence(
            stage.pair,
            stage.against,
            load_target(stage.pair.target).capabilities,
            places,
            StageMeter(),
            _differences(stage.against.artefact, stage.pair.artefact),
            remedy=f"edgeq diff {stage.against.artefact} {stage.pair.artefact}",
        )
        known = file_numbers.by_operator(evidence, evidence.differences)
        known.sort(key=lambda each: place is not None and each.number != place.number)
        if known:
            return [replace(known[0], evidence=(*known[0].evidence, seen)), *known[1:]]
        same = stage.pair.artefact == stage.against.artefact
        kind: CauseKind = "graph optimisation" if same else "conversion"
        return [evidence.cause(kind, seen, evidence.remedy, place=place)]


def apart(before: Shown, after: Shown) -> dict[str, float]:
    """How far the tensors of one name and shape are apart, in dB, in the order of the first."""
    found = {}
    for name, real in before.items():
        other = after.get(name)
        if not isinstance(real, np.ndarray) or not isinstance(other, np.ndarray):
            continue
        if real.shape == other.shape and real.size:
            one = real.astype(np.float64)
            found[name] = sqnr_db(float((one**2).sum()), float(((one - other) ** 2).sum()))
    return found


def output_db(comparison: Comparison, name: str, against: str) -> float | None:
    """How far the outputs of a stage are from those of another; None where they were not held."""
    for hop in (*comparison.from_reference, *comparison.hops):
        if (hop.source, hop.stage) == (against, name):
            return min(each.sqnr_db for each in (hop.output, *hop.outputs))
    return None


def of_float(distance_db: float | None) -> tuple[State, str]:
    """What a float stage without a cause comes to, by the distance of its outputs in dB."""
    if distance_db is None or distance_db >= ALIKE_DB:
        return "exact", "the same network in float"
    return "unknown", f"in float, {distance_db:.1f} dB from the first"


def _seen(found_db: float, first: str, tensors: Mapping[str, float]) -> str:
    outputs = f"its outputs are {found_db:.1f} dB from the first stage's, where rounding leaves 80"
    if not first or not math.isfinite(tensors[first]):
        return outputs
    return f"{outputs}; {first!r} is the first tensor that is another: {tensors[first]:.1f} dB"


def _differences(first: Path, other: Path) -> tuple[Difference, ...]:
    if first == other:
        return ()
    with suppress(EdgeqError):
        return diff(first, other).differences
    return ()


def _places(path: Path) -> dict[str, Place]:
    """The operators of a float ONNX file by their names, their results and their constants."""
    found: dict[str, Place] = {}
    if detect(path) != "onnx":
        return found
    from edgeq.qdq.nodes import constant_of, title

    with suppress(EdgeqError):
        nodes = [node for node in read(path).graph if node.op_type != "Constant"]
        for number, node in enumerate(nodes, start=1):
            reads = [value for value in node.inputs if value is not None and value.name]
            results = [value.name for value in node.outputs if value.name]
            operator = Operator(
                results[0],
                title(node),
                node.op_type,
                number,
                None,
                None,
                tuple(value.name or "" for value in reads),
            )
            place = Place(operator, title(node), number, len(nodes))
            constants = [value.name or "" for value in reads if constant_of(value) is not None]
            for name in (title(node), *results, *constants):
                found.setdefault(name, place)
    return found
