"""What a page draws beside the figures: graphs of the files, samples whose answer changed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from edgeq.deploy.report.documents import DRAWINGS
from edgeq.deploy.report.graphs import graph
from edgeq.deploy.report.pictures import pictures
from edgeq.errors import EdgeqError
from edgeq.plain import to_plain

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.deploy.report.graphs import Node
    from edgeq.results import Comparison

MOST_FLIPPED = 24
"""Samples of a stage of which a picture is kept."""
__all__ = ["DRAWINGS", "drawings"]


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
        "schema": "edgeq.drawings/1",
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
