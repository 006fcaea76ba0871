"""What a page draws beside the figures: graphs, samples whose answer changed, layers."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.report.documents import DRAWINGS
from edgeq.deploy.report.graphs import graph
from edgeq.deploy.report.pictures import pictures
from edgeq.errors import EdgeqError
from edgeq.plain import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.calibration.inspection.profiles import Distribution, LayerProfile, Ranges
    from edgeq.data import DataSource
    from edgeq.deploy.report.graphs import Node
    from edgeq.plain import Json
    from edgeq.results import Comparison

MOST_FLIPPED = 24
"""Samples of a stage of which a picture is kept."""
MOST_LAYERS = 40
"""Layers of a calibration that are drawn one by one: those that cost most."""
MOST_CHANNELS = 64
"""Channels of a layer whose ranges are drawn, evenly spread."""
_SCHEMA = "edgeq.drawings/1"
__all__ = ["DRAWINGS", "drawings", "layer_drawings"]


def drawings(
    comparison: Comparison,
    answers: Mapping[str, NDArray[np.int64]],
    files: Mapping[str, Path],
    source: DataSource,
    split: str,
) -> bytes:
    """JSON of the graphs, pictures, true classes and answers that belong to a comparison.

    Args:
        comparison: what was found.
        answers: stage to its class for each sample, of stages that answer classes.
        files: artefact to where it lies.
        source: the data.
        split: the part that was used, from its first sample on.
    """
    flipped = dict.fromkeys(
        sample for stage in comparison.stages for sample in stage.flipped[:MOST_FLIPPED]
    )
    shown, classes = pictures(source, split, flipped)
    ids = getattr(source, split).ids
    places = {int(sample): place for place, sample in enumerate(ids) if int(sample) in flipped}
    content = {
        "schema": _SCHEMA,
        "graphs": dict(_graphs(files)),
        "pictures": {str(sample): address for sample, address in shown.items()},
        "titles": {str(sample): name for sample, name in classes.items()},
        "answers": {
            name: {
                str(sample): _class(source, int(found[place]))
                for sample, place in places.items()
                if place < len(found)
            }
            for name, found in answers.items()
        },
    }
    return json.dumps(to_plain(content)).encode()


def _class(source: DataSource, answer: int) -> str:
    return source.classes[answer] if 0 <= answer < len(source.classes) else str(answer)


def _graphs(files: Mapping[str, Path]) -> Iterator[tuple[str, tuple[Node, ...]]]:
    for name, path in files.items():
        try:
            nodes = graph(path)
        except EdgeqError:  # it ran, so whatever cannot be drawn of it is no fault of the file
            continue
        if nodes:
            yield name, nodes


def layer_drawings(profiles: Sequence[LayerProfile]) -> dict[str, Json]:
    """Ranges and distributions of a calibration's layers, in their order.

    Every layer has its average precision; the most costly ones have what is drawn of one.
    """
    costly = sorted(profiles, key=lambda each: each.cost.sqnr_db)[:MOST_LAYERS]
    drawn = {each.cost.layer for each in costly}
    return {
        "schema": _SCHEMA,
        "layers": [_layer(each, whole=each.cost.layer in drawn) for each in profiles],
    }


def _layer(profile: LayerProfile, *, whole: bool) -> Json:
    results = profile.results
    precision = {name: _short(each.average_precision) for name, each in profile.weights.items()}
    if results is not None:
        precision["activations"] = _short(results.average_precision)
    found: dict[str, Json] = {"layer": profile.cost.layer, "average_precision": {**precision}}
    if not whole:
        return found
    found["channels"] = max(len(each.low) for each in profile.weights.values())
    found["weights"] = {name: _ranges(each) for name, each in profile.weights.items()}
    found["weight_values"] = _distribution(profile.weight_values)
    if results is not None:
        found["result_channels"] = len(results.low)
        found["results"] = _ranges(results)
    if profile.result_values is not None:
        found["result_values"] = _distribution(profile.result_values)
        found["grid"] = None if profile.grid is None else [_short(end) for end in profile.grid]
    return found


def _ranges(found: Ranges) -> Json:
    count = len(found.low)
    shown = np.linspace(0, count - 1, min(count, MOST_CHANNELS)).astype(int)
    ends = zip(found.low[shown].tolist(), found.high[shown].tolist(), strict=True)
    return [[_short(low), _short(high)] for low, high in ends]


def _distribution(found: Distribution) -> Json:
    counts: dict[str, Json] = {name: [int(n) for n in each] for name, each in found.counts.items()}
    return {"edges": [_short(edge) for edge in found.edges.tolist()], "counts": counts}


def _short(value: float) -> float:
    """As many digits as anybody sees in a chart."""
    return float(f"{value:.6g}")
