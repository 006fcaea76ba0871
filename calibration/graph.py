"""Reads a prepared float graph as operators of the placement rules.

All operators that these do not know are refused in one error.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeq.calibration._nodes import (
    NOT_NEGATIVE,
    constant,
    floats,
    integer,
    is_embedding,
    is_helper,
    name_of,
    output,
    refuse,
    sole_reader,
    text,
)
from edgeq.calibration.blockers import with_what_remains
from edgeq.calibration.normal_form.functions import CLIPS, Function, functions_of, is_clip
from edgeq.calibration.normal_form.statics import static_nodes
from edgeq.calibration.operators import KINDS, check
from edgeq.calibration.tail import tail_of
from edgeq.errors import ArtefactError
from edgeq.network.layer_rules import resolve
from edgeq.network.placement import Op, ends_of
from edgeq.qdq.nodes import merged_errors, only_moved, rows_picked

if TYPE_CHECKING:
    from collections.abc import Container, Mapping, Sequence

    import onnx_ir as ir

    from edgeq.network.layer_rules import LayerRule
    from edgeq.network.placement import OperatorKind, Placement

HEADS = ("Softmax", "LogSoftmax", "ArgMax")
"""What may stay in float, or give places, between the last grid and an output of the graph."""

_MAX_BITS = {"Softmax": 8, "LogSoftmax": 8, "PRelu": 8}

_TAKE_CLIPS = frozenset(("Add", "Sub", "Mul", "MatMul", "PRelu", "ReduceSum"))


@dataclass(frozen=True, slots=True)
class Classified:
    """A graph in the words of the placement rules.

    Attributes:
        ops: the operators in the order in which they run, the inputs first, heads left out.
        makers: the node that makes each operator's result; a part of an output has none.
        tail: what only puts parts of the outputs together, in order, each with the tensors that its
            result is made of.
    """

    ops: tuple[Op, ...]
    makers: dict[str, ir.Node]
    tail: dict[ir.Node, tuple[str, ...]]

    def sources(self, placement: Placement) -> dict[str, str]:
        """For each function of one tensor, that tensor as it is stored, where it has a grid."""
        moved = {op.name: op.inputs[0] for op in self.ops if op.kind == "data_movement"}
        found = {
            op.name: _root(op.inputs[0], moved)
            for op in self.ops
            if op.kind == "function" and len(op.inputs) == 1
        }
        return {name: source for name, source in found.items() if source in placement.tensors}

    def stored_parts(self) -> list[tuple[str, ...]]:
        """For each node of the tail, the tensors whose grids its result lies on."""
        moved = {op.name: op.inputs[0] for op in self.ops if op.kind == "data_movement"}
        return [tuple(_root(part, moved) for part in parts) for parts in self.tail.values()]


def classify(graph: ir.Graph) -> Classified:
    """The operators of a graph.

    Raises:
        ArtefactError: operators that no integer runtime of ours has a form for; names all of them.
    """
    return _Classifier(graph).run()


def changes_of(classified: Classified, rules: Sequence[LayerRule]) -> dict[str, Mapping[str, Any]]:
    """What rules say about each layer, by the tensor that it makes.

    A layer is called like its node, and like the tensor where that has no name.

    Raises:
        UsageError: a rule matches no layer.
    """
    layers = {
        name: classified.makers[name].name or name
        for name in (op.name for op in classified.ops if op.kind == "layer")
    }
    changes = resolve(rules, layers.values())
    return {name: changes[called] for name, called in layers.items() if called in changes}


def with_depthwise(
    classified: Classified,
    changes: Mapping[str, Mapping[str, Any]],
    bits: int,
    *,
    all_bits: int,
    boundary_bits: int,
) -> tuple[dict[str, Mapping[str, Any]], tuple[str, ...]]:
    """What rules say, and the width of inner depthwise layers of which they say none.

    Args:
        classified: a graph.
        changes: see :func:`changes_of`.
        bits: width of the weights of depthwise layers.
        all_bits: of all other layers.
        boundary_bits: of the first and the last.

    Returns:
        The changes, and what is to be told of them.
    """
    found, ends = dict(changes), ends_of(classified.ops)
    outer, few, total = list[str](), 0, 0
    for name in (op.name for op in classified.ops if op.kind == "layer"):
        node, said = classified.makers[name], found.get(name, {})
        weight = constant(node.inputs[1])
        size = 0 if weight is None else weight.size
        total += size
        if weight is None or said.keys() & {"weight_bits", "keep_float"}:
            continue
        if name in ends:
            outer.append(node.name or name)
        elif integer(node, "group", 1) > 1 == weight.shape[1]:
            few += size
            found[name] = {**said, "weight_bits": bits}
    told = []
    at_ends = min(boundary_bits, 8)
    if outer and at_ends != all_bits:
        told.append(
            f"the first and the last of all layers have weights of {at_ends} bits: "
            f"{', '.join(outer)}; all others have {all_bits}, if nothing says otherwise"
        )
    if few and bits != all_bits:
        told.append(
            f"depthwise kernels have {bits} bits ({100 * few / total:.1f} % of all weights); "
            f"--depthwise-bits {all_bits} for all"
        )
        return found, tuple(told)
    return dict(changes), tuple(told)


def _root(tensor: str, moved: Mapping[str, str]) -> str:
    while tensor in moved:
        tensor = moved[tensor]
    return tensor


def upper_bound(node: ir.Node) -> float:
    """Where a Relu or Clip ends; infinity for none."""
    bound = floats(node, 2) if node.op_type == "Clip" else None
    return float("inf") if bound is None else float(bound.item())


def lower_bound(node: ir.Node) -> float:
    """Where a Relu or Clip begins; minus infinity for none."""
    if node.op_type == "Relu":
        return 0.0
    bound = floats(node, 1)
    return float("-inf") if bound is None else float(bound.item())


@dataclass(slots=True)
class _Classifier:
    graph: ir.Graph
    errors: list[ArtefactError] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)
    makers: dict[str, ir.Node] = field(default_factory=dict)
    done: set[ir.Node] = field(default_factory=set)

    def run(self) -> Classified:
        self._inputs()
        functions = functions_of(self.graph)
        inside = {
            node for function in functions.values() for node in function.nodes
        } - functions.keys()
        static = static_nodes(self.graph)
        tail = tail_of(self.graph)
        blocked: list[ir.Node] = []
        for node in self.graph:
            if node in static or node in inside or node in self.done:
                continue
            try:
                if node in tail:
                    check(node)
                    self._parts(node, tail)
                else:
                    self._visit(node, functions.get(node))
            except ArtefactError as error:
                self.errors.append(error)
                blocked.append(node)
        self._outputs(static)
        if self.errors:
            raise with_what_remains(merged_errors(self.errors), self.graph, blocked, static)
        if all(op.kind != "layer" for op in self.ops):
            raise ArtefactError(
                "the model has no layer with weights, so there is nothing to quantise",
                hint="is it the right file?",
            )
        return Classified(tuple(self.ops), self.makers, tail)

    def _inputs(self) -> None:
        for value in self.graph.inputs:
            if rows_picked(value):
                self.done.update(only_moved(value))
                continue
            if value.shape is None or len(value.shape) < 2:
                what = f"the input {name_of(value)} has no shape with a batch dimension"
                self.errors.append(
                    ArtefactError(what, hint="export the model with the shape of its input")
                )
            self.ops.append(Op(name_of(value), "input"))

    def _parts(self, node: ir.Node, tail: Container[ir.Node]) -> None:
        """Note that what a node of the tail reads has to be stored."""
        for value in node.inputs:
            if value is None or constant(value) is not None:
                continue
            producer = value.producer()
            if producer is None or producer not in tail:
                part = f"{name_of(value)}, part of {name_of(output(node))}"
                self.ops.append(Op(part, "data_movement", (name_of(value),)))

    def _visit(self, node: ir.Node, function: Function | None) -> None:
        if function is not None:
            self._add(node, "function", [function.source], not_negative=_is_not_negative(node))
        elif node.domain == "" and node.op_type in HEADS and _is_head(node):
            check(node)
        elif node.domain == "" and node.op_type == "Cast" and _of_argmax(node):
            return
        elif node.domain == "" and node.op_type in CLIPS and is_clip(node):
            self._clip(node)
        elif is_embedding(node):
            rows = floats(node, 0)
            self._add(node, "constant", [], not_negative=rows is not None and rows.min() >= 0)
        else:
            self._operator(node)

    def _clip(self, node: ir.Node) -> None:
        source = node.inputs[0]
        # which is stored, too
        alone = source is not None and source.is_graph_output() and len(source.uses()) == 1
        kind: OperatorKind = "function" if alone else "relu" if lower_bound(node) >= 0 else "clip"
        self._add(node, kind, [source], not_negative=lower_bound(node) >= 0)

    def _operator(self, node: ir.Node) -> None:
        check(node)
        kind = KINDS.get(node.op_type)
        if kind is None:  # known only where nothing but an output reads it
            raise refuse(
                node,
                "gives places that more of the network reads",
                "compute on the places outside the network: --outputs cuts it before them",
            )
        if node.op_type == "Resize" and text(node, "mode", "nearest") == "nearest":
            kind = "data_movement"
        activations = [
            value for value in node.inputs if value is not None and constant(value) is None
        ]
        if kind in ("data_movement", "pool", "mean", "layer"):
            activations = activations[:1]
        if kind == "layer" and is_helper(node):
            kind = "norm"
        if kind in ("add", "mul") and len(activations) < 2:
            kind = "function"  # whose sign the constant decides
        last = node
        if (
            kind in ("mul", "function")
            and node.op_type in _TAKE_CLIPS
            and is_clip(reader := sole_reader(output(node)))
            and reader is not None
        ):
            last, kind = reader, "function"
            self.done.add(reader)
        self._add(last, kind, activations, not_negative=_is_not_negative(last))

    def _add(
        self,
        node: ir.Node,
        kind: OperatorKind,
        inputs: Sequence[ir.Value | None],
        *,
        not_negative: bool,
    ) -> None:
        name = name_of(output(node))
        self.ops.append(
            Op(
                name,
                kind,
                tuple(name_of(value) for value in inputs if value is not None),
                not_negative=not_negative,
                max_bits=_MAX_BITS.get(node.op_type),
            )
        )
        self.makers[name] = node

    def _outputs(self, static: dict[ir.Node, bool]) -> None:
        for value in self.graph.outputs:
            node = value.producer()
            if node is None or node in static:
                what = f"the output {name_of(value)!r} is computed by no operator"
                self.errors.append(ArtefactError(what, hint="export the model with its layers"))


def _is_not_negative(node: ir.Node) -> bool:
    return node.op_type in NOT_NEGATIVE or (node.op_type == "Clip" and lower_bound(node) >= 0)


def _is_head(node: ir.Node) -> bool:
    made = output(node)
    if node.op_type != "ArgMax":
        return made.is_graph_output() and not made.uses()
    readers = [user for user, _ in made.uses()]
    return (made.is_graph_output() and not readers) or (
        len(readers) == 1 and readers[0].op_type == "Cast" and _of_argmax(readers[0])
    )


def _of_argmax(cast: ir.Node) -> bool:
    """Whether a Cast says in which type the places of an ArgMax are given."""
    maker = cast.inputs[0].producer() if cast.inputs[0] is not None else None
    to = cast.attributes["to"].as_int()
    return (
        maker is not None
        and maker.op_type == "ArgMax"
        and to in (6, 7)
        and output(cast).is_graph_output()
        and not output(cast).uses()
    )
