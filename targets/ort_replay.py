"""A QDQ file whose quantised tensors are given, one run of ONNX Runtime for all operators.

Every quantised tensor that a recording holds is fed to what reads it, and what the file computes
for it is an output. So each operator is computed from given numbers, in integers or in float, as
ONNX says; see :mod:`edgeq.diffing.replay`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.diffing.replay import Operator, Replayed
from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import is_ours, load
from edgeq.formats.onnx_session import Opening, RuntimeFailed, open_graph
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.qdq.nodes import MOVES, constant_of, title
from edgeq.quant import QuantizedTensor
from edgeq.targets.common.io import each_sample, enter_all
from edgeq.targets.plans.onnx_exact import exact_form
from edgeq.targets.plans.onnx_graph import QdqView

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.diffing.replay import Recorded
    from edgeq.formats.onnx_session import Graph
    from edgeq.quant import QuantParams
    from edgeq.target import Batch, TensorSpec

_PASSING = frozenset((*QUANTIZERS, *MOVES, "Relu", "Clip", "Cast"))
_FED = "_given"
_DTYPES = frozenset(("int8", "uint8", "int16", "uint16"))
"""What ONNX Runtime takes as integers from outside."""


@dataclass(frozen=True, slots=True)
class _Held:
    """A quantised tensor: its name in the graph, and its grid."""

    value: str
    params: QuantParams


class OrtReplay:
    """A file opened to compute its operators from given numbers.

    Args:
        artefact: a QDQ or QOperator file.
        inputs: what it takes.
        threads: that compute one operator.

    Raises:
        ArtefactError: the file is broken, or holds no quantised tensor.
    """

    def __init__(self, artefact: Path, inputs: Sequence[TensorSpec], threads: int) -> None:
        import onnx_ir as ir

        proto = load(artefact)
        self._ours, self._threads, self._inputs = is_ours(proto), threads, tuple(inputs)
        self._model = ir.from_proto(exact_form(proto))
        values = {
            value.name: value for node in self._model.graph for value in node.outputs if value.name
        }
        self._held = {
            each.name: _Held(each.value, each.params)
            for each in QdqView(self._model).quantized()
            if each.params is not None
            and each.value in values
            and _is_given(values[each.value], each.params)
        }
        if not self._held:
            raise ArtefactError(
                f"{artefact} holds no quantised tensor that can be given to its operators",
                hint="quantise its activations too",
            )
        self._names = {each.value: name for name, each in self._held.items()}
        self._operators = {
            name: self._operator(name, values[each.value], number)
            for number, (name, each) in enumerate(self._held.items(), start=1)
        }
        self._opened: dict[frozenset[str], Graph] = {}
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def operators(self) -> tuple[Operator, ...]:
        """One for each quantised tensor, in the order of execution."""
        return tuple(self._operators.values())

    def replay(self, batch: Batch, recorded: Mapping[str, Recorded]) -> Iterator[Replayed]:
        """Compute each operator from a recording; see :class:`edgeq.diffing.replay.ReplaySession`.

        Raises:
            ArtefactError: ONNX Runtime cannot run the file so.
        """
        given = [name for name in self._held if name in recorded]
        if not given:
            return
        samples = [
            {spec.name: one for spec, one in zip(self._inputs, sample, strict=True)}
            for sample in each_sample(enter_all(batch, self._inputs), self._inputs)
        ]
        if not self._shapes:
            values = [each.value for each in self._held.values()]
            whole = self._open(self._with(frozenset()))
            found = _run(whole, values, samples[0])
            self._shapes = {name: made.shape for name, made in zip(self._held, found, strict=True)}
        sizes = {name: int(np.prod(self._shapes[name])) for name in given}
        given = [name for name in given if _first(recorded[name]).size == sizes[name]]
        stored = {name: _stored(recorded[name], self._held[name]) for name in given}
        made = [
            _run(
                self._graph(frozenset(given)),
                [self._held[name].value for name in given],
                {
                    **sample,
                    **{
                        self._held[name].value + _FED: stored[name][i].reshape(self._shapes[name])
                        for name in given
                    },
                },
            )
            for i, sample in enumerate(samples)
        ]
        hidden = self._hidden(set(given))
        centred = {name: _centred(stored[name], self._held[name]) for name in given}
        for place, name in enumerate(given):
            each = self._held[name]
            computed = np.stack([one[place].reshape(stored[name].shape[1:]) for one in made])
            yield Replayed(
                self._operators[name],
                _centred(computed, each),
                _seen(recorded[name], each, centred[name]),
                {read: centred[read] for read in self._operators[name].inputs if read in centred},
                max((hidden.get(read, 0) for read in self._operators[name].inputs), default=0),
            )

    def _hidden(self, given: set[str]) -> dict[str, int]:
        """How many operators in a row end in each tensor that the recording does not show."""
        found: dict[str, int] = {}
        for name, each in self._operators.items():
            before = max((found.get(read, 0) for read in each.inputs), default=0)
            found[name] = 0 if name in given else before + 1
        return found

    def _graph(self, given: frozenset[str]) -> Graph:
        if given not in self._opened:
            self._opened[given] = self._open(self._with(given))
        return self._opened[given]

    def _open(self, model: ir.Model) -> Graph:
        import onnx_ir as ir

        content = ir.to_proto(model).SerializeToString()
        try:
            opening = Opening(optimize=False, threads=self._threads)
            return open_graph(content, opening, ours=self._ours)
        except RuntimeFailed as error:
            raise ArtefactError(
                f"ONNX Runtime cannot load the file with inner tensors given: {error}",
                hint="export it again",
            ) from error

    def _with(self, given: frozenset[str]) -> ir.Model:
        """The model with all quantised tensors as outputs, and some of them as inputs."""
        import onnx_ir as ir

        model = self._model.clone()
        graph = model.graph
        values = {value.name: value for node in graph for value in node.outputs if value.name}
        exits = []
        for name, each in self._held.items():
            value = values[each.value]
            exits.append(value)
            if name not in given:
                continue
            entry = ir.Value(name=each.value + _FED, type=ir.TensorType(_type_of(each.params)))
            value.replace_all_uses_with(entry, replace_graph_outputs=True)
            graph.inputs.append(entry)
        graph.outputs.clear()
        graph.outputs.extend(exits)
        return model

    def _region(self, value: ir.Value) -> tuple[list[str], list[ir.Node]]:
        """The quantised tensors that one is computed from, and what computes it, nearest first."""
        nodes: list[ir.Node] = []
        found, waiting, seen = dict[str, None](), [value], set[int]()
        while waiting:
            node = waiting.pop(0).producer()
            if node is None or id(node) in seen:
                continue
            seen.add(id(node))
            reads = [each for each in node.inputs if each is not None and not _is_fixed(each)]
            if reads:
                nodes.append(node)
            for each in reads:
                name = self._names.get(each.name or "")
                if name is not None or each.is_graph_input():
                    found[name or each.name or ""] = None
                else:
                    waiting.append(each)
        return list(found), nodes

    def _operator(self, name: str, value: ir.Value, number: int) -> Operator:
        reads, nodes = self._region(value)
        working = [each for each in nodes if each.op_type not in QUANTIZERS] or nodes
        computing = [each for each in working if each.op_type not in _PASSING]
        node = (computing or working)[0]
        axis = 1 if value.shape is not None and len(value.shape) > 1 else None
        params = self._held[name].params
        return Operator(
            name,
            title(node),
            node.op_type,
            number,
            params,
            axis,
            tuple(reads),
            title(node),
            alone=len(computing) < 2,
        )


def _is_given(value: ir.Value, grid: QuantParams) -> bool:
    """Whether the integers of a tensor can come from outside."""
    return grid.dtype in _DTYPES and value.dtype in (None, _type_of(grid))


def _type_of(grid: QuantParams) -> ir.DataType:
    import onnx_ir as ir

    return ir.DataType[grid.dtype.upper()]


def _is_fixed(value: ir.Value) -> bool:
    """Whether a value is a constant, stored or dequantised."""
    node = value.producer()
    if node is not None and node.op_type == "DequantizeLinear" and node.inputs[0] is not None:
        value = node.inputs[0]
    return constant_of(value) is not None


def _first(recorded: Recorded) -> NDArray[Any]:
    values = recorded.values if isinstance(recorded, QuantizedTensor) else recorded
    found: NDArray[Any] = values[0]
    return found


def _stored(recorded: Recorded, held: _Held) -> NDArray[Any]:
    """What a recording holds of a tensor, as the file's integers."""
    params = held.params
    if isinstance(recorded, QuantizedTensor):  # on the same steps, perhaps from another zero point
        _, zero = params.broadcast(recorded.values.ndim)
        steps = recorded.centered().astype(np.float32)
    else:
        scale, zero = params.broadcast(recorded.ndim)
        steps = np.rint(recorded.astype(np.float32) / scale.astype(np.float32))
    found: NDArray[Any] = (steps + zero).clip(params.qmin, params.qmax).astype(params.dtype)
    return found


def _centred(stored: NDArray[Any], held: _Held) -> NDArray[np.float32]:
    _, zero = held.params.broadcast(stored.ndim)
    return stored.astype(np.float32) - zero.astype(np.float32)


def _seen(recorded: Recorded, held: _Held, centred: NDArray[np.float32]) -> NDArray[np.float32]:
    if isinstance(recorded, QuantizedTensor):
        return centred
    scale, _ = held.params.broadcast(recorded.ndim)
    return np.divide(recorded, scale, dtype=np.float32)


def _run(graph: Graph, wanted: Sequence[str], fed: Mapping[str, Any]) -> list[NDArray[Any]]:
    try:
        return graph.run(wanted, {name: one for name, one in fed.items() if name in graph.entries})
    except RuntimeFailed as error:
        raise ArtefactError(
            f"ONNX Runtime cannot run the file with inner tensors given: {error}",
            hint="run edgeq compare on it",
        ) from error
