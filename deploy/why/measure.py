"""All operators of all samples, in one pass: local and accumulated errors of each stage.

Memory does not grow with the samples: of each operator sums and counts are kept, and of the first
that is wrong a few samples with all that it read and wrote.
"""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from edgeq.brief import brief
from edgeq.deploy.why.records import OperatorError
from edgeq.metrics.lsb import LsbHistogram
from edgeq.metrics.sqnr import sqnr_db
from edgeq.quant import QuantizedTensor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.stage_runner import StageOutput
    from edgeq.deploy.why.stages import Judged
    from edgeq.diffing.replay import Operator, Recorded, Replayed, ReplaySession
    from edgeq.quant import QuantParams
    from edgeq.target import Batch, Shown

ROUNDING = 1
"""What one operator may differ by, in LSB, given equal inputs: a sum is rounded once or twice."""
KEPT = 8
"""Samples of the first wrong operator that are kept."""
_FLOAT = 1e-3
"""What real numbers may differ by, of their largest: kernels add in other orders."""


@dataclass(slots=True)
class WrongSamples:
    """What the first wrong operator read and wrote, on samples on which it is wrong.

    Attributes:
        inputs: by name, as of :class:`edgeq.diffing.replay.Replayed`.
        expected: what it should give.
        seen: what it gave.
        recorded: all tensors of the stage on the first of them, by the first file's names.
        indices: which of all samples they are.
    """

    inputs: Mapping[str, NDArray[np.float32]]
    expected: NDArray[np.float32]
    seen: NDArray[np.float32]
    recorded: Mapping[str, Recorded]
    indices: NDArray[np.int64]

    __repr__ = brief


@dataclass(slots=True)
class OperatorMeter:
    """The errors of one operator, added up over batches.

    Attributes:
        operator: which.
        elements: values compared.
        lsb: differences in steps.
        wrong: values that differ by more than rounding can.
        clipped: the squared error of values beyond the grid, in squared steps.
        noise: the squared local error, in squared steps.
        signal: the squared values, in squared steps.
        rounded: whether the recording holds integers.
        read: of a recording in real numbers, the mean square of what the operator reads, in squared
            steps.
    """

    operator: Operator
    elements: int = 0
    lsb: LsbHistogram = field(default_factory=LsbHistogram)
    wrong: int = 0
    wrong_channels: NDArray[np.int64] | None = None
    clipped: float = 0.0
    noise: float = 0.0
    signal: float = 0.0
    rounded: bool = True
    read: float = 0.0
    accumulated_noise: float = 0.0
    accumulated_signal: float = 0.0
    accumulated_lsb: int = 0
    accumulates: bool = False

    __repr__ = brief

    def update(self, found: Replayed, *, rounded: bool) -> NDArray[np.bool_] | None:
        """Add one batch.

        Returns:
            The samples on which it is wrong, (samples,); None where it is on none.
        """
        self.elements += found.seen.size
        self.rounded = rounded
        self.signal += _squares(found.seen)
        if not rounded:
            self._count_read(found)
        error = found.seen - found.expected
        noise = _squares(error)
        if not noise:
            self.lsb.update(error)
            return None
        self.noise += noise
        if not rounded:
            self._count_clipped(found, error)
            return None
        if self.operator.params is None:
            limit = _FLOAT * max(float(np.abs(found.expected).max()), 1e-12)
        else:
            limit = float(ROUNDING + found.hidden)
            self.lsb.update(error)
        wrong = np.abs(error) > limit
        if not wrong.any():
            return None
        self.wrong += int(wrong.sum())
        if self.operator.channel_axis is not None:
            others = tuple(i for i in range(wrong.ndim) if i != self.operator.channel_axis)
            counts = wrong.sum(axis=others)
            self.wrong_channels = (
                counts if self.wrong_channels is None else self.wrong_channels + counts
            )
        samples: NDArray[np.bool_] = np.logical_or.reduce(wrong.reshape(len(wrong), -1), axis=1)
        return samples

    def accumulate(self, reference: Recorded, seen: Recorded) -> None:
        """Add the difference between two recordings of the tensor, inputs as they are."""
        self.accumulates = True
        if isinstance(reference, QuantizedTensor) and isinstance(seen, QuantizedTensor):
            before: NDArray[Any] = reference.centered()
            apart: NDArray[Any] = seen.centered() - before
            if apart.any():
                self.accumulated_lsb = max(self.accumulated_lsb, int(np.abs(apart).max()))
        else:
            before, after = map(_real, (reference, seen))
            if isinstance(seen, QuantizedTensor):
                apart = np.subtract(after, before, out=after)
            else:
                apart = after - before
        self.accumulated_signal += _squares(before)
        self.accumulated_noise += _squares(apart)

    def result(self) -> OperatorError:
        """The errors of all batches so far."""
        return OperatorError(
            self.operator.tensor,
            self.operator.name,
            self.operator.op_type,
            self.operator.number,
            self.elements,
            dict(sorted(self.lsb.counts.items())) if self.rounded else {},
            self.max_lsb if self.rounded else None,
            self.wrong,
            self.channels,
            sqnr_db(self.signal, self.noise),
            self.accumulated_lsb if self.accumulates and self.rounded else None,
            sqnr_db(self.accumulated_signal, self.accumulated_noise) if self.accumulates else None,
            self.clipped / self.noise if self.noise else 0.0,
        )

    @property
    def max_lsb(self) -> int:
        """The largest local error, in steps."""
        return self.lsb.largest

    @property
    def cut_off(self) -> float:
        """The mean squared error of values beyond the grid, in squared steps."""
        return self.clipped / self.elements if self.elements else 0.0

    @property
    def channels(self) -> tuple[int, ...]:
        """The channels in which values are wrong; empty where all of them are."""
        if self.wrong_channels is None:
            return ()
        found = tuple(int(i) for i in np.flatnonzero(self.wrong_channels))
        return () if len(found) == self.wrong_channels.size else found

    def _count_read(self, found: Replayed) -> None:
        """Take one batch into the mean square of what is read."""
        count = sum(values.size for values in found.inputs.values())
        if count:
            mean = sum(map(_squares, found.inputs.values())) / count
            self.read += (mean - self.read) * found.seen.size / self.elements

    def _count_clipped(self, found: Replayed, error: NDArray[np.float32]) -> None:
        params = self.operator.params
        if params is None or params.axis is not None:
            return
        zero = int(params.zero_point)
        low, high = params.qmin - zero - 0.5, params.qmax - zero + 0.5
        if found.seen.min() < low or found.seen.max() > high:
            beyond = (found.seen < low) | (found.seen > high)
            self.clipped += _squares(error[beyond])


@dataclass(slots=True)
class StageMeter:
    """The errors of one stage.

    Attributes:
        meters: of its operators, by tensor.
        kept: the samples of the first wrong operator.
        first: that operator; None where none is wrong.
        samples: how many samples were recorded.
    """

    meters: dict[str, OperatorMeter] = field(default_factory=dict)
    kept: WrongSamples | None = None
    first: Operator | None = None
    samples: int = 0

    def add(
        self, program: ReplaySession, batch: Batch, recorded: Mapping[str, Recorded], before: int
    ) -> None:
        """Judge each operator by the numbers that the stage itself gave it.

        Args:
            program: computes the operators.
            batch: the samples.
            recorded: what the stage shows of its tensors.
            before: how many samples came before this batch.
        """
        begun: dict[str, int] = {}  # samples of each operator, as they come in rounds
        for found in program.replay(batch, recorded):
            operator = found.operator
            start = begun.get(operator.tensor, 0)
            begun[operator.tensor] = start + len(found.seen)
            meter = self.meters.setdefault(operator.tensor, OperatorMeter(operator))
            rounded = operator.params is None or isinstance(
                recorded[operator.tensor], QuantizedTensor
            )
            samples = meter.update(found, rounded=rounded)
            if samples is None:
                continue
            if self.first is None or operator.number < self.first.number:
                self.first = operator
                where = np.flatnonzero(samples)[:KEPT]
                self.kept = WrongSamples(
                    {name: _few(values, where) for name, values in found.inputs.items()},
                    found.expected[where],
                    found.seen[where],
                    _sample(recorded, start + int(where[0])),
                    before + start + where,
                )

    def accumulate(
        self,
        program: ReplaySession,
        reference: Mapping[str, Recorded],
        seen: Mapping[str, Recorded],
    ) -> None:
        """Add what the stage is off from the one that it is judged by.

        A tensor whose axes the two show in another order is left out.
        """
        for operator in program.operators:
            name = operator.tensor
            if name in reference and name in seen and _shape(reference[name]) == _shape(seen[name]):
                meter = self.meters.setdefault(name, OperatorMeter(operator))
                meter.accumulate(reference[name], seen[name])

    def results(self) -> tuple[OperatorError, ...]:
        """The errors of each operator, in the order of execution."""
        found = sorted(self.meters.values(), key=lambda meter: meter.operator.number)
        return tuple(meter.result() for meter in found)

    @property
    def wrong(self) -> bool:
        """Whether an operator gave something else than rounding explains."""
        return self.first is not None


class Renamed(Mapping[str, "Recorded"]):
    """A recording by other names, whose tensors are asked for when they are needed.

    Args:
        names: each name, and that in the recording.
        recorded: the recording.
    """

    def __init__(self, names: Mapping[str, str], recorded: Mapping[str, Recorded]) -> None:
        self._names, self._recorded = names, recorded

    @classmethod
    def of_floats(
        cls, program: ReplaySession, names: Mapping[str, str], recorded: Mapping[str, Recorded]
    ) -> Renamed:
        """A recording in real numbers, with tensors that an operator only puts on another grid.

        A float network has no such operators; there the numbers are those that they read. One that
        cuts off what is below zero is an activation, and left out.
        """
        found = dict(names)
        grids = {each.tensor: each.params for each in program.operators}
        for each in program.operators:
            source = each.inputs[0] if each.op_type == "Requantize" and each.inputs else ""
            if each.tensor in found or source not in found:
                continue
            if not _rectifies(each.params, grids.get(source)):
                found[each.tensor] = found[source]
        return cls(found, recorded)

    def __getitem__(self, name: str) -> Recorded:
        return self._recorded[self._names[name]]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def by_names_of(program: ReplaySession, recorded: Mapping[str, Recorded]) -> Renamed:
    """A recording by the names of another file, whose operators stand in the same order.

    Tensors of one name belong together. Where most have other names, as other tools' converters
    give, they are paired in order, by size and grid. A runtime that shows only a few is no sign of
    that where half of those have names of the first file, nor is an order that sets tensors of one
    name apart.
    """
    wanted = {each.tensor: each for each in program.operators}
    found = {name: name for name in recorded if name in wanted}
    if 2 * len(found) >= min(len(wanted), len(recorded)):
        return Renamed(found, recorded)
    ordered = dict(_in_order(wanted, recorded))
    if any(ordered.get(name) != name for name in found):
        return Renamed(found, recorded)
    return Renamed(max(found, ordered, key=len), recorded)


def _rectifies(result: QuantParams | None, source: QuantParams | None) -> bool:
    """Whether a grid begins at zero and the one that it is filled from does not."""
    if result is None or source is None:
        return False
    starts = (np.any(each.qmin < np.asarray(each.zero_point)) for each in (source, result))
    below, still = starts
    return bool(below and not still)


def _in_order(
    wanted: Mapping[str, Operator], recorded: Mapping[str, Recorded]
) -> Iterator[tuple[str, str]]:
    from edgeq.diffing.order import in_order

    mine = [(name, _step(each.params)) for name, each in wanted.items()]
    theirs = [
        (name, _step(each.params if isinstance(each, QuantizedTensor) else None))
        for name, each in recorded.items()
    ]
    for i, j in in_order([step for _, step in mine], [step for _, step in theirs]):
        yield mine[i][0], theirs[j][0]


def _step(params: Any) -> str:
    """A grid's scale as far as two tools agree on it."""
    return "" if params is None else " ".join(f"{each:.5g}" for each in np.atleast_1d(params.scale))


def shown_by(stage: Judged, one: StageOutput) -> Shown:
    """The tensors that a stage shows of a batch; of a float network its outputs too."""
    if one.tensors is None:
        return {}
    if stage.quantized:
        return one.tensors
    return ChainMap(dict(one.outputs), cast("dict[str, Recorded]", one.tensors))


@contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread meanwhile: on tensors of a few images, others only get in the way."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _real(recorded: Recorded) -> NDArray[np.float32]:
    return recorded.dequantize() if isinstance(recorded, QuantizedTensor) else recorded


def _squares(values: NDArray[Any]) -> float:
    """The sum of squares, by torch, whose threads are under control: numpy's are not."""
    import torch

    flat = values.reshape(-1).astype(np.float32, copy=False)
    if not flat.flags.writeable:
        flat = flat.copy()
    of = torch.from_numpy(flat)
    return float(torch.dot(of, of))


def _sample(recorded: Mapping[str, Recorded], index: int) -> dict[str, Recorded]:
    """One sample of a recording, on its own."""
    one = slice(index, index + 1)
    return {
        name: QuantizedTensor(each.values[one].copy(), each.params)
        if isinstance(each, QuantizedTensor)
        else each[one].copy()
        for name, each in recorded.items()
    }


def _few(values: NDArray[np.float32], where: NDArray[np.int64]) -> NDArray[np.float32]:
    return values[where] if len(values) > where.max() else values


def _shape(each: Recorded) -> tuple[int, ...]:
    values = each.values if isinstance(each, QuantizedTensor) else each
    return values.shape
