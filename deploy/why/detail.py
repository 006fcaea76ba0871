"""All that can be told of one tensor: its error by channel, by position and by class."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.batching import fed
from edgeq.deploy.evaluation.chain import load_target
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.errors import UnknownName, UsageError
from edgeq.metrics.divergence import ValueDivergence
from edgeq.metrics.groups import GroupedErrors
from edgeq.metrics.lsb import LsbHistogram
from edgeq.quant import QuantizedTensor
from edgeq.tabular import Table, Tabular

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.why.run import Findings
    from edgeq.diffing.replay import Recorded

_BATCH = 16
_CLASSES = 1000
_AXES = {1: "channel", 2: "row", 3: "column"}


@dataclass(frozen=True, slots=True, repr=False)
class TensorDetail(Tabular):
    """One tensor of one stage, held against another stage's.

    Attributes:
        tensor: its name.
        stage: whose.
        against: what it is held against.
        qmse: the mean squared error, in squared real units.
        qce: the cross entropy of its values, in nats; see :mod:`edgeq.metrics.divergence`.
        qkl: the divergence of them, in nats.
        lsb: difference in steps to number of values; empty where the grids are not one.
        sqnr_db: by channel, row, column and class, the SQNR of each.
    """

    tensor: str
    stage: str
    against: str
    qmse: float
    qce: float
    qkl: float
    lsb: Mapping[int, int]
    sqnr_db: Mapping[str, tuple[float, ...]]

    def table(self) -> Table:
        """The worst of each kind of group."""
        rows = []
        for kind, values in self.sqnr_db.items():
            known = [(db, i) for i, db in enumerate(values) if db == db]
            for db, i in sorted(known)[:3]:
                rows.append((kind, str(i), f"{db:.1f}"))
        return Table(
            f"{self.tensor}, {self.stage} against {self.against}: QMSE {self.qmse:.4g}, QCE "
            f"{self.qce:.4g}, QKL {self.qkl:.4g}",
            ("by", "number", "SQNR dB"),
            rows,
        )


def details_of(
    tensor: str,
    findings: Findings,
    source: DataSource,
    *,
    split: str = "test",
    limit: int | None = None,
    threads: int = 1,
) -> list[TensorDetail]:
    """:func:`detail_of` for each stage that shows its tensors, against what it is judged by."""

    def shows(pair: Pair) -> bool:
        return load_target(pair.target).capabilities.intermediates

    return [
        detail_of(
            tensor, each.pair, each.against, source, split=split, limit=limit, threads=threads
        )
        for each in findings.stages
        if each.against is not None and shows(each.pair) and shows(each.against)
    ]


def detail_of(
    tensor: str,
    stage: Pair,
    against: Pair,
    source: DataSource,
    *,
    split: str = "test",
    limit: int | None = None,
    threads: int = 1,
) -> TensorDetail:
    """Hold one tensor of a stage against the same tensor of another, sample by sample.

    Args:
        tensor: its name, in both.
        stage: whose.
        against: what is taken as true.
        source: the data.
        split: which part of it.
        limit: how many samples, spread evenly; None for all.
        threads: the most threads a runtime may use.

    Raises:
        UsageError: a stage shows no such tensor, or another size of it.
    """
    part = select(source, split, limit)
    labels = part.class_labels if source.task == "top1" and part.labels is not None else None
    meter: _Meter | None = None
    done = 0
    with ExitStack() as stack:
        sessions = [
            stack.enter_context(
                load_target(pair.target).open(pair.artefact, threads=threads, intermediates=True)
            )
            for pair in (against, stage)
        ]
        for images, _ in fed(part, source, _BATCH):
            before, after = (_named(tensor, session.tensors(images)) for session in sessions)
            if _real(before).shape != _real(after).shape:
                raise UsageError(
                    f"{tensor!r} has {_real(before).shape[1:]} values in {against.artefact} and "
                    f"{_real(after).shape[1:]} in {stage.artefact}",
                    hint="compare files of one network",
                )
            meter = meter or _Meter(before, after)
            size = len(_real(before))
            meter.add(before, after, None if labels is None else labels[done : done + size])
            done += size
    assert meter is not None  # noqa: S101  select gives at least one sample
    names = [f"{pair.artefact.name} @ {pair.target}" for pair in (stage, against)]
    return meter.result(tensor, names[0], names[1])


def _named(tensor: str, seen: Mapping[str, Recorded]) -> Recorded:
    if tensor not in seen:
        raise UnknownName("tensor", tensor, seen)
    return seen[tensor]


def _real(values: Recorded) -> NDArray[np.float32]:
    return values.dequantize() if isinstance(values, QuantizedTensor) else values


class _Meter:
    """The errors of a tensor by every group."""

    def __init__(self, before: Recorded, after: Recorded) -> None:
        self._steps = LsbHistogram()
        self._rounded = isinstance(before, QuantizedTensor) and isinstance(after, QuantizedTensor)
        shape = _real(before).shape
        self._along = {axis: GroupedErrors(shape[axis]) for axis in _AXES if axis < len(shape)}
        self._classes: GroupedErrors | None = None
        ends = [_real(each) for each in (before, after)]
        low = min(float(each.min()) for each in ends)
        high = max(float(each.max()) for each in ends)
        self._values = ValueDivergence(low, max(high, low + 1e-12))
        self._whole = GroupedErrors(1)

    def add(self, before: Recorded, after: Recorded, labels: NDArray[np.int64] | None) -> None:
        mine, theirs = _real(before), _real(after)
        if isinstance(before, QuantizedTensor) and isinstance(after, QuantizedTensor):
            self._steps.update(after.centered() - before.centered())
        for axis, errors in self._along.items():
            errors.along(mine, theirs, axis)
        if labels is not None:
            self._classes = self._classes or GroupedErrors(_CLASSES)
            self._classes.of(mine, theirs, labels % _CLASSES)
        self._values.update(mine, theirs)
        self._whole.of(mine, theirs, np.zeros(len(mine), np.int64))

    def result(self, tensor: str, stage: str, against: str) -> TensorDetail:
        groups: dict[str, Any] = {
            _AXES[axis]: tuple(map(float, errors.sqnr_db)) for axis, errors in self._along.items()
        }
        if self._classes is not None:
            found = self._classes.sqnr_db
            groups["class"] = tuple(
                map(float, found[: int(np.flatnonzero(found == found)[-1]) + 1])
            )
        return TensorDetail(
            tensor,
            stage,
            against,
            float(self._whole.mse[0]),
            self._values.qce,
            self._values.qkl,
            dict(sorted(self._steps.counts.items())) if self._rounded else {},
            groups,
        )
