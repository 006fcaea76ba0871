"""A network in stages, so that only some of its tensors are in memory at a time.

The tensors that observers see are outputs, and all outputs of a run are in memory together: 7 GB
for one sample of 512 x 512 pixels. Each stage computes the next few of them from what earlier ones
left, so nothing is computed twice.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate
from math import prod
from typing import TYPE_CHECKING, TypeGuard

import onnx
import onnx_ir as ir

from edgeq.calibration._nodes import name_of, shape_of

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence


@dataclass(frozen=True, slots=True)
class Stage:
    """Some operators of a network that follow one another.

    Attributes:
        model: they, as a network of their own.
        inputs: the tensors that they read: inputs of the network, and what earlier stages made.
        outputs: the tensors that are wanted of them, and then those that only later stages read.
        later: which of all tensors known so far later stages read.
    """

    model: onnx.ModelProto
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    later: frozenset[str]


def numbers_of(value: ir.Value) -> int | None:
    """How many numbers a tensor has for the smallest batch; None for an unknown shape."""
    batch, *shape = shape_of(value) or (None, None)
    known = [size for size in shape if size is not None]
    return prod(known) * (batch or 1) if len(known) == len(shape) else None


def stages_of(model: ir.Model, wanted: Sequence[str], most: int) -> tuple[Stage, ...]:
    """A network in stages.

    Args:
        model: the network; left as it is.
        wanted: tensors that it makes.
        most: how many numbers of the wanted tensors a stage makes for one sample, if it makes more
            than one of them.
    """
    nodes = tuple(model.graph)
    groups = tuple(_groups(nodes, frozenset(wanted), most))
    if any(_holds_graph(node) for node in nodes):
        groups = (range(len(nodes)),)  # which may read any tensor without saying so
    reads = [
        {name_of(value) for at in group for value in nodes[at].inputs if _is_activation(value)}
        for group in groups
    ]
    makes = [{name_of(value) for at in group for value in nodes[at].outputs} for group in groups]
    found = []
    for number, group in enumerate(groups):
        later = frozenset[str]().union(*reads[number + 1 :])
        seen = [name for name in wanted if name in makes[number]]
        inputs = tuple(sorted(reads[number] - makes[number]))
        outputs = (*seen, *sorted((makes[number] & later).difference(seen)))
        if outputs:
            part = part_of(model, outputs, nodes[group.start : group.stop], inputs)
            found.append(Stage(part, inputs, outputs, later))
    return tuple(found)


def _groups(nodes: Sequence[ir.Node], wanted: Collection[str], most: int) -> Iterator[range]:
    """The nodes of each stage, by their numbers.

    A stage ends where only wanted tensors go on. Others may be inside of what ONNX Runtime computes
    as one operator, such as a convolution with the sum behind it, which rounds otherwise in two.
    """
    start, total, possible = 0, 0, 0
    since = 0  # what the nodes from the last possible end on make
    ends = _possible_ends(nodes, wanted)
    for at, node in enumerate(nodes):
        if at in ends:
            possible, since = at, 0
        made = [value for value in node.outputs if name_of(value) in wanted]
        numbers = sum(numbers_of(value) or 0 for value in made)
        if total > since and total + numbers > most:
            yield range(start, possible)
            start, total = possible, since
        total += numbers
        since += numbers
    yield range(start, len(nodes))


def _possible_ends(nodes: Sequence[ir.Node], wanted: Collection[str]) -> frozenset[int]:
    """The numbers of nodes in front of which no tensor is alive that is not wanted."""
    until = {
        value: at
        for at, node in enumerate(nodes)
        for value in node.inputs
        if value is not None and value.producer() is not None and name_of(value) not in wanted
    }
    first = {value: at for at, node in enumerate(nodes) for value in node.outputs}
    changes = [0] * (len(nodes) + 2)  # of how many are alive in front of each node
    for value, last in until.items():
        changes[first[value] + 1] += 1
        changes[last + 1] -= 1
    alive = accumulate(changes[: len(nodes)])
    return frozenset(at for at, count in enumerate(alive) if not count)


def _holds_graph(node: ir.Node) -> bool:
    kinds = (ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS)
    return any(attribute.type in kinds for attribute in node.attributes.values())


def _is_activation(value: ir.Value | None) -> TypeGuard[ir.Value]:
    """Whether a value depends on what the network is given."""
    return value is not None and bool(value.name) and not value.is_initializer()


def part_of(
    model: ir.Model,
    outputs: Sequence[str],
    nodes: Sequence[ir.Node] | None = None,
    inputs: Sequence[str] | None = None,
) -> onnx.ModelProto:
    """What makes some tensors of a model, as a model; nothing else of it is copied.

    Args:
        model: the model; left as it is.
        outputs: the tensors.
        nodes: those that it has at most, in their order; all by default.
        inputs: the tensors that it is given; the inputs of the model by default.
    """
    graph = model.graph
    nodes = tuple(graph) if nodes is None else nodes
    values = {name_of(value): value for value in graph.inputs}
    values |= {name_of(value): value for node in graph for value in node.outputs}
    given = tuple(graph.inputs) if inputs is None else [values[name] for name in inputs]
    if not any(_holds_graph(node) for node in nodes):
        nodes = _needed(nodes, set(outputs))
        read = {name_of(value) for node in nodes for value in node.inputs if value is not None}
    else:
        read = set(graph.initializers)
    view = ir.GraphView(
        given,
        [values[name] for name in outputs],
        nodes=nodes,
        initializers=[value for name, value in graph.initializers.items() if name in read],
        opset_imports=dict(graph.opset_imports),
        name=graph.name,
    )
    proto = ir.to_proto(
        ir.Model(
            view,  # type: ignore[arg-type]
            ir_version=model.ir_version,
            producer_name=model.producer_name,
            functions=tuple(model.functions.values()),
        )
    )
    for output in proto.graph.output:
        if not output.type.WhichOneof("value"):
            output.type.tensor_type.elem_type = onnx.TensorProto.FLOAT
    return proto


def _needed(nodes: Sequence[ir.Node], wanted: set[str]) -> tuple[ir.Node, ...]:
    """Those of some nodes without which some tensors are not made."""
    found = []
    for node in reversed(nodes):
        if any(name_of(value) in wanted for value in node.outputs):
            found.append(node)
            wanted |= {name_of(value) for value in node.inputs if value is not None}
    return tuple(reversed(found))
