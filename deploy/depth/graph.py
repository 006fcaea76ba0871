"""What rounding does to the nodes of a graph: step by step, and by their numbers of neighbours."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from edgeq.data.splitting import SPLITS
from edgeq.deploy.evaluation.chain import ANOTHER, QUANTISATION
from edgeq.deploy.evaluation.compare import shorten
from edgeq.errors import UnknownName
from edgeq.formats.artefact import resolve, size_of
from edgeq.metrics.accuracy import share_right
from edgeq.metrics.drift import DriftMeter
from edgeq.metrics.groups import errors_by_degree
from edgeq.results import Comparison, Hop, Stage
from edgeq.training.graph.rounding_stages import rounding_stages

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.data import GraphData
    from edgeq.training.graph.rounding_stages import RoundingStage

_MOST_FLIPPED = 100


class _Run(NamedTuple):
    """A stage and the file that it is of."""

    artefact: str
    path: Path
    stage: RoundingStage

    @property
    def name(self) -> str:
        return f"{self.artefact} @ {self.stage.target}"


def compare_graph(artefacts: Sequence[Path], data: GraphData, split: str) -> Comparison:
    """Compare checkpoints of graph networks, each without rounding, with some, and with all of it.

    Between the second and the third stage of one lies what rounding activations alone does: the
    published "4A -> 32A".

    Args:
        artefacts: checkpoints or training folders, the first of which the others are compared with.
        data: the graph that they were trained on.
        split: the nodes that accuracy is measured on; errors are those of all nodes.

    Raises:
        UsageError: an unknown split, or a checkpoint of another graph.
        ArtefactError: a checkpoint is missing, broken or none of a graph network.
    """
    if split not in SPLITS:
        raise UnknownName("split", split, SPLITS)
    paths = list(dict.fromkeys(resolve(each) for each in artefacts))
    names = shorten(paths)
    runs = [
        _Run(names[path], path, stage) for path in paths for stage in rounding_stages(path, data)
    ]
    where: NDArray[np.int64] = getattr(data, split)
    return Comparison(
        data=data.name,
        samples=len(where),
        reference=runs[0].name,
        stages=tuple(_stage(run, runs[0], data, where) for run in runs),
        hops=tuple(_hop(before, after, data) for before, after in pairwise(runs)),
        from_reference=tuple(_hop(runs[0], run, data) for run in runs[1:]),
    )


def _stage(run: _Run, first: _Run, data: GraphData, where: NDArray[np.int64]) -> Stage:
    answers, wanted = (each.stage.logits[where].argmax(1) for each in (run, first))
    labels = data.labels[where]
    known = labels >= 0
    changed = np.flatnonzero(answers != wanted)
    return Stage(
        run.artefact,
        run.stage.target,
        size_of(run.path),
        share_right(int((answers == labels)[known].sum()), int(known.sum())),
        1 - len(changed) / len(where),
        tuple(where[changed][:_MOST_FLIPPED].tolist()),
        {},
        changed=len(changed),
    )


def _hop(before: _Run, after: _Run, data: GraphData) -> Hop:
    mine, its = before.stage, after.stage
    output = DriftMeter("output", len(its.states))
    output.update(mine.logits, its.logits)
    alike = [each.shape for each in mine.states] == [each.shape for each in its.states]
    pairs = list(zip(mine.states, its.states, strict=True)) if alike else []
    steps = []
    for depth, pair in enumerate(pairs):
        meter = DriftMeter(f"steps.{depth}", depth)
        meter.update(*pair)
        steps.append(meter.result())
    return Hop(
        before.name,
        after.name,
        QUANTISATION if before.path == after.path else ANOTHER,
        output.result(),
        tuple(steps),
        without_tensors="" if alike else "the networks have other steps",
        degrees=errors_by_degree(pairs, data.edges, data.nodes) if alike else (),
    )
