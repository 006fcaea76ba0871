"""Runs an exported file against its model, operator by operator, on equal integers.

Reference against reference: ONNX Runtime with all optimisation off, TFLite with its reference
kernels. The model is cut at its quantised tensors, and every piece is given the very integers that
the file computed for the piece's inputs, so that an operator answers for its own rounding only and
the first wrong one is found, not the deepest.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.data.batching import fed
from edgeq.deploy.evaluation.chain import reference_of
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.errors import ArtefactError, GateFailed, UsageError, first_line
from edgeq.files import temporary_folder
from edgeq.formats.onnx_session import Opening, RuntimeFailed, open_graph
from edgeq.metrics.drift import LSB_LIMIT
from edgeq.metrics.lsb import LsbHistogram
from edgeq.target import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.deploy.preprocessing import AskedPreprocessing
    from edgeq.exporter import Exported, StoredTensor
    from edgeq.formats.onnx_session import Graph
    from edgeq.qdq.ir import QdqGraph, QdqTensor
    from edgeq.qdq.segments import Cut, Segments
    from edgeq.quant import QuantizedTensor
    from edgeq.target import Batch, Session

    Integers = NDArray[np.integer]

MAX_LSB = 1
"""What one operator may differ by, given equal inputs.

Kernels round a rescaled sum once or twice, and ties either way.
"""

DEFAULT_LIMIT = 64
_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class TensorCheck:
    """One quantised tensor, in both runtimes.

    Attributes:
        tensor: its name.
        operator: what computes it.
        depth: its position in the graph, from 0.
        compared: integers compared.
        different: how many of them differ.
        worst: the largest difference, in LSB.
        lsb: difference, the file's less the model's, to number of integers; those beyond +-8 are
            counted at +-8.
    """

    tensor: str
    operator: str
    depth: int
    compared: int
    different: int
    worst: int
    lsb: Mapping[int, int]


@dataclass(frozen=True, slots=True)
class Verification:
    """A file and its model on the same samples.

    Attributes:
        data: the data set's name.
        samples: how many samples were used.
        tensors: what was compared, in graph order.
    """

    data: str
    samples: int
    tensors: tuple[TensorCheck, ...]

    @property
    def first_wrong(self) -> TensorCheck | None:
        """The first operator in graph order that differs by more than ``MAX_LSB``."""
        return next((checked for checked in self.tensors if checked.worst > MAX_LSB), None)

    def require(self) -> None:
        """Let pass what differs by ``MAX_LSB`` at most.

        Raises:
            GateFailed: an operator differs by more; names the first.
        """
        wrong = self.first_wrong
        if wrong is not None:
            count = sum(checked.worst > MAX_LSB for checked in self.tensors)
            raise GateFailed(
                f"given equal inputs, {wrong.operator} differs by {wrong.worst} LSB in "
                f"{wrong.tensor!r}: the first of {count} such tensors",
                hint="nothing was written; please report the model, for the file would compute "
                "something else than it",
            )


@dataclass(slots=True)
class Verifier:
    """Verifies what is exported before it is written.

    The argument ``check`` of :func:`edgeq.deploy.pipeline.export.export`.

    Attributes:
        source: the data.
        split: which part of it.
        limit: how many samples, spread evenly.
        progress: called with the samples done and the samples in all.
        found: what was verified, by format.
    """

    source: DataSource
    split: str = "test"
    limit: int = DEFAULT_LIMIT
    progress: Callable[[int, int], None] = lambda _done, _total: None
    found: dict[str, Verification] = field(default_factory=dict)

    def __call__(self, kind: str, model: ir.Model, exported: Exported) -> None:
        """Verify a file.

        Formats that a reference runtime reads as the very model, as ONNX, are left alone.

        Raises:
            GateFailed: see :meth:`Verification.require`.
        """
        if exported.stored:
            self.found[kind] = verify(
                model,
                exported,
                self.source,
                split=self.split,
                limit=self.limit,
                progress=self.progress,
            )
            self.found[kind].require()


def verify(
    model: ir.Model,
    exported: Exported,
    source: DataSource,
    *,
    split: str = "test",
    limit: int = DEFAULT_LIMIT,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Verification:
    """Compare every operator of a TFLite file with the same operator of its QDQ model.

    Args:
        model: the QDQ model.
        exported: the file made from it, with ``stored`` telling where the model's tensors stand.
        source: the data.
        split: which part of it.
        limit: how many samples, spread evenly.
        progress: called with the samples done and the samples in all.

    Raises:
        UsageError: the model is not quantised, or there are no samples.
        ArtefactError: the samples do not fit.
        TargetError: a runtime is absent, or failed.
    """
    part = select(source, split, limit)
    samples = (images for images, _ in fed(part, source, 1))
    return verify_arrays(
        model, exported, samples, data=source.name, progress=lambda done: progress(done, len(part))
    )


def verify_arrays(
    model: ir.Model,
    exported: Exported,
    samples: Iterable[Batch],
    *,
    data: str = "arrays",
    progress: Callable[[int], None] = lambda _done: None,
) -> Verification:
    """:func:`verify` on arrays of any shape, each a batch of one sample as the model takes it.

    Args:
        model: the QDQ model.
        exported: the file made from it.
        samples: the batches.
        data: what the samples are called.
        progress: called with the samples done.

    Raises:
        UsageError: the model is not quantised.
        TargetError: a runtime is absent, or failed.
    """
    from edgeq.qdq.reader import read_qdq

    graph = read_qdq(model, float_fallback=True)
    if not graph.integers:
        raise UsageError(
            "nothing in the model is quantised, so there are no integers to verify",
            hint="leave --verify out",
        )
    target, done = reference_of("tflite"), 0
    with temporary_folder() as folder:
        path = folder / "exported.tflite"
        path.write_bytes(exported.content)
        with target.open(path, intermediates=True) as session:
            pieces = _Pieces.of(model, graph, exported)
            for done, sample in enumerate(samples, start=1):
                pieces.add(sample, session)
                progress(done)
    return Verification(data, done, pieces.checked())


def verifier_for(
    data: str,
    folder: Path | None,
    preprocess: AskedPreprocessing,
    artefacts: Sequence[Path],
    split: str,
    limit: int,
) -> Verifier:
    """A verifier for data as the user names it; see :func:`edgeq.deploy.inputs.load_data`.

    Raises:
        UsageError: no samples are left.
    """
    from edgeq.deploy.inputs import load_data

    source = load_data(data, folder, preprocess, artefacts)
    select(source, split, limit)
    return Verifier(source, split, limit)


@dataclass(slots=True)
class _Pieces:
    """A model cut at its quantised tensors, and the differences counted so far."""

    graph: QdqGraph
    channels: Mapping[str, int]
    stored: Mapping[str, StoredTensor]
    shown: Mapping[str, tuple[int, ...]]
    segments: Segments
    runtime: Graph
    meters: dict[str, LsbHistogram]

    @classmethod
    def of(cls, model: ir.Model, graph: QdqGraph, exported: Exported) -> _Pieces:
        from edgeq.formats.tflite_file import axes_in
        from edgeq.qdq.axes import channel_axes
        from edgeq.qdq.segments import cut

        places = {place.name: place for place in exported.stored}
        segments = cut(
            model, at={value for value, name in graph.integers.items() if name in places}
        )
        meters = {graph.integers[piece.output]: LsbHistogram() for piece in segments.cuts}
        return cls(
            graph,
            channel_axes(graph),
            places,
            axes_in(exported.content),
            segments,
            _reference(segments.model),
            meters,
        )

    def add(self, images: Batch, session: Session) -> None:
        """Count the differences of one sample."""
        found = dict(self._integers(session.tensors(images)))
        feeds: dict[str, NDArray[Any]] = {
            cut.feed: found[self._name(cut)] for cut in self.segments.cuts if cut.feed is not None
        }
        feeds |= self._inputs(images, found)
        outputs = [cut.output for cut in self.segments.cuts]
        for cut, expected in zip(self.segments.cuts, self.runtime.run(outputs, feeds), strict=True):
            name = self._name(cut)
            self.meters[name].update(found[name].astype(np.int64) - np.asarray(expected, np.int64))

    def _integers(
        self, seen: Mapping[str, QuantizedTensor | NDArray[np.float32]]
    ) -> Iterator[tuple[str, Integers]]:
        """The file's integers as the model would hold them.

        In its storage dtype and its order of axes, by the model's names.
        """
        for name, tensor in self.graph.tensors().items():
            place = self.stored.get(name)
            if place is not None and not tensor.is_float and not tensor.is_index:
                order = self.shown.get(place.stored) or (
                    _NHWC if len(place.axes) == len(_NHWC) else tuple(range(len(place.axes)))
                )
                yield name, _as_in_model(tensor, place, seen.get(place.stored), order)

    def _name(self, cut: Cut) -> str:
        return self.graph.integers[cut.output]

    def _inputs(
        self, batch: Batch, found: Mapping[str, Integers]
    ) -> Iterator[tuple[str, NDArray[Any]]]:
        """The graph's own inputs.

        The sample, or its integers where the graph begins with a DequantizeLinear.
        """
        from edgeq.targets.common.io import each_sample, enter_all

        cuts = {cut.feed for cut in self.segments.cuts}
        whole = {tensor.graph_input: tensor for tensor in self.graph.inputs}
        real = []
        for value in self.segments.model.graph.inputs:
            name = value.name or ""
            if name in cuts or value.is_initializer():
                continue
            tensor = whole.get(name)
            if value.dtype is not None and (
                value.dtype.name == "FLOAT" or (tensor is not None and tensor.is_index)
            ):
                real.append(self._real(value, tensor))
            else:
                yield name, found[whole[name].name]
        if real:
            sample = next(each_sample(enter_all(batch, real), real))
            yield from ((spec.name, one) for spec, one in zip(real, sample, strict=True))

    def _real(self, value: ir.Value, tensor: QdqTensor | None) -> TensorSpec:
        """An input of real numbers, or of whole ones that pick rows of a table."""
        from edgeq.qdq.axes import CHANNELS_LAST

        sizes = tensor.shape if tensor is not None else value.shape or ()
        shape = tuple(size if isinstance(size, int) else 1 for size in sizes)
        has_batch = shape[:1] == (1,)
        return TensorSpec(
            value.name or "",
            shape[has_batch:],
            "float32" if value.dtype is None else value.dtype.numpy().name,
            channels_last=tensor is not None and self.channels.get(tensor.name) == CHANNELS_LAST,
            batched=has_batch,
        )

    def checked(self) -> tuple[TensorCheck, ...]:
        """The result, in graph order."""
        makers = {op.output.name: f"{op.op_type} {op.name!r}" for op in self.graph.ops}
        order = [name for name in self.graph.tensors() if name in self.meters]
        return tuple(
            _checked(name, makers.get(name, "the input's quantiser"), i, self.meters[name])
            for i, name in enumerate(order)
        )


def _checked(tensor: str, operator: str, depth: int, meter: LsbHistogram) -> TensorCheck:
    lsb = meter.clipped(LSB_LIMIT)
    total = sum(lsb.values())
    return TensorCheck(tensor, operator, depth, total, total - lsb.get(0, 0), meter.largest, lsb)


def _as_in_model(
    tensor: QdqTensor,
    place: StoredTensor,
    seen: QuantizedTensor | NDArray[np.float32] | None,
    order: tuple[int, ...],
) -> Integers:
    """What a session shows of a tensor, first as the file has it.

    Sessions turn images from ``order`` into the model's axes.
    """
    from edgeq.quant import QuantizedTensor

    if not isinstance(seen, QuantizedTensor):
        raise ArtefactError(
            f"the file shows no integers for {tensor.name!r}", hint="please report the model"
        )
    centered = seen.centered()
    centered = centered.reshape(centered.shape[-len(order) :]).transpose(order)
    in_file = centered.reshape([tensor.shape[axis] for axis in place.axes])
    return (in_file.transpose(np.argsort(place.axes)) + tensor.zero_point).astype(
        tensor.params.dtype
    )


def _reference(model: ir.Model) -> Graph:
    """ONNX semantics to the letter, on one thread."""
    from edgeq.formats.onnx_io import is_ours, serialize

    try:
        return open_graph(serialize(model), Opening(optimize=False, threads=1), ours=is_ours(model))
    except RuntimeFailed as error:
        raise ArtefactError(
            f"ONNX Runtime cannot load the model cut at its quantised tensors: {first_line(error)}",
            hint="is it valid ONNX?",
        ) from error
