"""GRU, LSTM and RNN as the operators of which each of their steps is made.

Integer runtimes have no recurrent operator whose numbers are those of ONNX's. A sequence of known
length is written step by step: one product for the inputs of all steps, one for the state of each,
gates, and the next state, each with a grid of its own. The weights are those of all steps. Inside,
the batch stands first, as the rest of the graph has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.calibration._nodes import (
    argument,
    constant,
    floats,
    integer,
    refuse,
    required,
    shape_of,
    text,
)
from edgeq.calibration.normal_form.statics import static_nodes
from edgeq.calibration.normal_form.turning import sink

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

    State = ir.Value | None  # None for one of zeros

GATES: Mapping[str, int] = {"GRU": 3, "LSTM": 4, "RNN": 1}
"""The recurrent operators, and how many gates each has."""

_FUNCTIONS: Mapping[str, tuple[str, ...]] = {
    "GRU": ("Sigmoid", "Tanh"),
    "LSTM": ("Sigmoid", "Tanh", "Tanh"),
    "RNN": ("Tanh",),
}
_KNOWN = ("sigmoid", "tanh", "relu", "softsign", "softplus")
# what exporters write between a state and a batch of any size; only zeros are moved by the others
_REPEAT = frozenset(
    ("ConstantOfShape", "Expand", "Slice", "Squeeze", "Unsqueeze", "Transpose", "Reshape", "Gather")
)
_MOST_STEPS = 512
_STREAM = "export one step of it, with its state as an input and an output of the model"


def unroll(draft: Draft) -> None:
    """Rewrite in place every recurrent operator.

    Raises:
        ArtefactError: one has something that no step can say, or too many steps; names it.
    """
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type in GATES:
            _unroll(draft, node)


@dataclass(frozen=True, slots=True)
class _Cell:
    """One direction of a recurrent operator.

    Attributes:
        draft: the graph.
        node: the operator.
        w: weights of the inputs, (gates * hidden, inputs).
        r: weights of the state, (gates * hidden, hidden).
        wb: bias of the inputs, (gates * hidden,).
        rb: bias of the state.
        functions: the operators of its activations.
        batch: how many samples there are; None for any number.
    """

    draft: Draft
    node: ir.Node
    w: NDArray[np.float64]
    r: NDArray[np.float64]
    wb: NDArray[np.float64]
    rb: NDArray[np.float64]
    functions: tuple[str, ...]
    batch: int | None

    @property
    def hidden(self) -> int:
        return int(self.r.shape[1])

    def add(self, op_type: str, inputs: Sequence[ir.Value], what: str, width: int) -> ir.Value:
        """An operator whose result is (batch, width)."""
        return self.draft.add(op_type, inputs, self.node, what, shape=[self.batch, width])

    def part(self, value: ir.Value, first: int, count: int, what: str) -> ir.Value:
        """Some columns of a matrix, in units of the hidden size."""
        return _slice(
            self.draft, self.node, value, 1, first * self.hidden, count * self.hidden, what
        )

    def product(
        self, state: State, rows: slice, bias: NDArray[np.float64] | None, what: str
    ) -> ir.Value | None:
        """Weights of the state times it, plus a bias; None for nothing at all."""
        size = self.hidden
        matrix = self.r[rows.start * size : rows.stop * size]
        if state is None:
            if bias is None or not bias.any():
                return None
            return self.draft.reals(self.node, what, bias[None])
        known = constant(state)
        if known is not None:
            shift = 0.0 if bias is None else bias
            return self.draft.reals(self.node, what, known.astype(np.float64) @ matrix.T + shift)
        inputs = [state, self.draft.reals(self.node, f"{what}_weight", matrix)]
        if bias is not None and bias.any():
            inputs.append(self.draft.reals(self.node, f"{what}_bias", bias))
        return self.draft.add(
            "Gemm",
            inputs,
            self.node,
            what,
            shape=[self.batch, len(matrix)],
            attributes={"transB": 1},
        )

    def plus(self, one: ir.Value, other: ir.Value | None, what: str, width: int) -> ir.Value:
        """A sum, or its first operand where there is no second."""
        return one if other is None else self.add("Add", [one, other], what, width)


def _unroll(draft: Draft, node: ir.Node) -> None:
    _check(node)
    batch_first = bool(integer(node, "layout", 0))
    source, shape = node.inputs[0], shape_of(node.inputs[0])
    if source is None or shape is None or len(shape) != 3 or shape[2] is None:
        raise refuse(node, "has an input of unknown size", "export the model with fixed sizes")
    batch, steps = (shape[0], shape[1]) if batch_first else (shape[1], shape[0])
    if steps is None:
        raise refuse(
            node, "has a sequence of any length", f"export it with a fixed length, or {_STREAM}"
        )
    if steps > _MOST_STEPS:
        raise refuse(node, f"has {steps} steps, each of which becomes operators", _STREAM)
    if not batch_first:
        source = _turned(draft, node, source, [batch, steps, shape[2]], [1, 0, 2], "batch_first")
    cells = _cells(draft, node, batch)
    sequences, last = [], []
    for number, cell in enumerate(cells):
        state = [_initial(cell, node, place, number) for place in (5, 6)]
        backward = _is_backward(node, number)
        rows, end = _run(cell, source, steps, state, backward=backward)
        sequences.append(rows)
        last.append(end)
    _finish(draft, node, cells[0], sequences, last)


def _check(node: ir.Node) -> None:
    """Refuse what no step says."""
    if "clip" in node.attributes:
        raise refuse(node, "clips its gates", "export it without clip")
    if integer(node, "input_forget", 0):
        raise refuse(node, "couples its input and forget gates", "export it without input_forget")
    if argument(node, 7) is not None:
        raise refuse(node, "has peepholes", "use a cell without them")
    lengths, shape = argument(node, 4), shape_of(node.inputs[0]) or ()
    if lengths is not None:
        known = constant(lengths)
        steps = shape[1] if integer(node, "layout", 0) and shape else shape[0] if shape else None
        if known is None or not np.all(known == steps):
            raise refuse(
                node,
                "has sequences of different lengths",
                "export it for whole sequences, without sequence_lens",
            )


def _is_backward(node: ir.Node, number: int) -> bool:
    return number == 1 or text(node, "direction", "forward") == "reverse"


def _cells(draft: Draft, node: ir.Node, batch: int | None) -> list[_Cell]:
    w, r = required(node, 1, "weight"), required(node, 2, "weight of its state")
    directions, rows, _ = w.shape
    bias = floats(node, 3)
    if bias is None:
        if argument(node, 3) is not None:
            raise refuse(node, "has a bias that the graph computes", "fold the model's constants")
        bias = np.zeros((directions, 2 * rows))
    each = len(_FUNCTIONS[node.op_type])
    attribute = node.attributes.get("activations")
    names = list(_FUNCTIONS[node.op_type]) * directions
    if attribute is not None:
        names = [str(name) for name in attribute.as_strings()]
    if any(name.lower() not in _KNOWN for name in names) or any(
        key in node.attributes for key in ("activation_alpha", "activation_beta")
    ):
        raise refuse(
            node,
            f"has the activations {', '.join(names)}",
            f"use {', '.join(_KNOWN)}, without parameters",
        )
    functions = [name.capitalize() for name in names]
    return [
        _Cell(
            draft,
            node,
            w[number],
            r[number],
            bias[number, :rows],
            bias[number, rows:],
            tuple(functions[number * each : (number + 1) * each]),
            batch,
        )
        for number in range(directions)
    ]


def _initial(cell: _Cell, node: ir.Node, place: int, number: int) -> State:
    """The state before the first step as (batch, hidden); None for zeros."""
    given = argument(node, place) if place == 5 or node.op_type == "LSTM" else None
    if given is None:
        return None
    by_batch, what = bool(integer(node, "layout", 0)), f"initial{place}_{number}"
    known = _repeated(given)
    if known is not None:
        if not known.any():
            return None
        rows = known[:, number] if by_batch else known[number]
        return cell.draft.reals(node, what, np.asarray(rows, np.float64))
    if given.producer() in static_nodes(cell.draft.graph):
        raise refuse(
            node,
            "begins with a state that the graph makes for each batch",
            "begin with zeros, or export it with a fixed batch",
        )
    one = _slice(cell.draft, node, given, 1 if by_batch else 0, number, 1, f"{what}_direction")
    return cell.draft.reshape(one, [cell.batch, cell.hidden], node, what)


def _repeated(value: ir.Value | None) -> NDArray[np.generic] | None:
    """A constant state, though the graph may repeat it for each sample; None for any other."""
    moved = False
    while value is not None and constant(value) is None:
        maker = value.producer()
        if maker is None or maker.op_type not in _REPEAT:
            return None
        moved = moved or maker.op_type != "Expand"
        if maker.op_type == "ConstantOfShape":
            filled = maker.attributes.get("value")
            number = 0.0 if filled is None else float(filled.as_tensor().numpy().item())
            return np.zeros((1, 1, 1)) if number == 0.0 else None
        value = maker.inputs[0]
    known = constant(value)
    if known is None or (known.any() and (moved or known.ndim != 3)):
        return None
    return known


def _run(
    cell: _Cell, source: ir.Value, steps: int, state: list[State], *, backward: bool
) -> tuple[list[ir.Value], list[ir.Value]]:
    """The state after each step of a direction, in the order of the sequence, and the last."""
    step, width = _STEPS[cell.node.op_type], len(cell.w)
    bias = cell.wb + _state_bias(cell)
    if steps == 1:
        flat = cell.draft.reshape(source, [cell.batch, cell.w.shape[1]], cell.node, "step")
        rows = [_gemm(cell, flat, bias)]
    else:
        whole = _projected(cell, source, steps, bias)
        rows = []
        for place in range(steps):
            one = _slice(cell.draft, cell.node, whole, 1, place, 1, f"step{place}")
            rows.append(cell.draft.reshape(one, [cell.batch, width], cell.node, f"input{place}"))
    hidden: list[ir.Value] = [rows[0]] * steps
    for place in reversed(range(steps)) if backward else range(steps):
        state = step(cell, rows[place], state)
        made = state[0]
        if made is None:
            raise refuse(cell.node, "makes nothing", "look at the model")
        hidden[place] = made
    return hidden, [each for each in state if each is not None]


def _state_bias(cell: _Cell) -> NDArray[np.float64]:
    """What of the state's bias can be added to that of the inputs."""
    if cell.node.op_type != "GRU" or not _resets_behind(cell):
        return cell.rb
    return np.concatenate([cell.rb[: 2 * cell.hidden], np.zeros(cell.hidden)])


def _resets_behind(cell: _Cell) -> bool:
    """Whether a GRU multiplies with its reset gate behind the product."""
    return bool(integer(cell.node, "linear_before_reset", 0))


def _gemm(cell: _Cell, flat: ir.Value, bias: NDArray[np.float64]) -> ir.Value:
    inputs = [flat, cell.draft.reals(cell.node, "input_weight", cell.w)]
    if bias.any():
        inputs.append(cell.draft.reals(cell.node, "input_bias", bias))
    return cell.draft.add(
        "Gemm",
        inputs,
        cell.node,
        "inputs",
        shape=[cell.batch, len(cell.w)],
        attributes={"transB": 1},
    )


def _projected(cell: _Cell, source: ir.Value, steps: int, bias: NDArray[np.float64]) -> ir.Value:
    """The inputs of all steps times their weights, (batch, steps, gates * hidden)."""
    shape = [cell.batch, steps, len(cell.w)]
    weight = cell.draft.reals(cell.node, "input_weight", cell.w.T)
    product = cell.draft.add("MatMul", [source, weight], cell.node, "inputs", shape=shape)
    if not bias.any():
        return product
    shift = cell.draft.reals(cell.node, "input_bias", bias)
    return cell.draft.add("Add", [product, shift], cell.node, "biased", shape=shape)


def _rnn(cell: _Cell, row: ir.Value, state: list[State]) -> list[State]:
    product = cell.product(state[0], slice(0, 1), None, "state")
    total = cell.plus(row, product, "total", cell.hidden)
    return [cell.add(cell.functions[0], [total], "hidden", cell.hidden), None]


def _lstm(cell: _Cell, row: ir.Value, state: list[State]) -> list[State]:
    """Gates in ONNX's order: input, output, forget, cell."""
    size, (gate, inner, outer) = cell.hidden, cell.functions
    before, memory = state
    product = cell.product(before, slice(0, 4), None, "state")
    total = cell.plus(row, product, "total", 4 * size)
    gates = cell.add(gate, [cell.part(total, 0, 3, "gates_in")], "gates", 3 * size)
    new = cell.add(inner, [cell.part(total, 3, 1, "cell_in")], "candidate", size)
    grown = cell.add("Mul", [cell.part(gates, 0, 1, "gate_i"), new], "grown", size)
    if memory is not None:
        kept = cell.add("Mul", [cell.part(gates, 2, 1, "gate_f"), memory], "kept", size)
        grown = cell.add("Add", [kept, grown], "cell", size)
    shown = cell.add(outer, [grown], "shown", size)
    return [cell.add("Mul", [cell.part(gates, 1, 1, "gate_o"), shown], "hidden", size), grown]


def _gru(cell: _Cell, row: ir.Value, state: list[State]) -> list[State]:
    """Gates in ONNX's order: update, reset, hidden."""
    size, (gate, inner) = cell.hidden, cell.functions
    before = state[0]
    behind = _resets_behind(cell)
    product = cell.product(before, slice(0, 2), None, "state")
    total = cell.plus(cell.part(row, 0, 2, "gates_in"), product, "total", 2 * size)
    gates = cell.add(gate, [total], "gates", 2 * size)
    reset = cell.part(gates, 1, 1, "gate_r")
    if behind:
        inside = cell.product(before, slice(2, 3), cell.rb[2 * size :], "inside")
        inside = None if inside is None else cell.add("Mul", [reset, inside], "reset", size)
    else:
        left = None if before is None else cell.add("Mul", [reset, before], "reset", size)
        inside = cell.product(left, slice(2, 3), None, "inside")
    sums = cell.plus(cell.part(row, 2, 1, "hidden_in"), inside, "sums", size)
    new = cell.add(inner, [sums], "candidate", size)
    update = cell.part(gates, 0, 1, "gate_z")
    if before is None:  # (1 - z) * new
        taken = cell.add("Mul", [update, new], "taken", size)
        return [cell.add("Sub", [new, taken], "hidden", size), None]
    change = cell.add("Sub", [before, new], "change", size)
    moved = cell.add("Mul", [update, change], "moved", size)
    return [cell.add("Add", [new, moved], "hidden", size), None]


_STEPS: Mapping[str, Callable[[_Cell, ir.Value, list[State]], list[State]]] = {
    "GRU": _gru,
    "LSTM": _lstm,
    "RNN": _rnn,
}


def _finish(
    draft: Draft,
    node: ir.Node,
    cell: _Cell,
    sequences: list[list[ir.Value]],
    last: list[list[ir.Value]],
) -> None:
    """Put what the steps made in the place of the operator's outputs."""
    batch, size, directions = cell.batch, cell.hidden, len(sequences)
    by_batch = bool(integer(node, "layout", 0))
    steps = len(sequences[0])
    turns: list[ir.Value] = []
    for place, result in enumerate(node.outputs):
        if not (result.uses() or result.is_graph_output()):
            continue
        if place == 0:
            rows = [
                _stacked(draft, node, sequence, [batch, 1, 1, size], 1, [batch, steps, 1, size])
                for sequence in sequences
            ]
            whole = _joined(draft, node, rows, 2, [batch, steps, directions, size])
            order, shape = [1, 2, 0, 3], [batch, steps, directions, size]
        else:
            ends = [states[place - 1] for states in last]
            whole = _stacked(draft, node, ends, [batch, 1, size], 1, [batch, directions, size])
            order, shape = [1, 0, 2], [batch, directions, size]
        if by_batch:
            draft.take_over(result, whole)
        else:
            turned = [shape[i] for i in order]
            new = _turned(draft, node, whole, turned, order, "turned")
            draft.take_over(result, new)
            turns.append(new)
    draft.graph.remove(node, safe=True)
    for value in turns:
        sink(draft, value)


def _stacked(
    draft: Draft,
    node: ir.Node,
    values: Sequence[ir.Value],
    each: Sequence[int | None],
    axis: int,
    whole: Sequence[int | None],
) -> ir.Value:
    """Matrices of (batch, hidden) along a new axis."""
    return _joined(
        draft, node, [draft.reshape(value, each, node, "row") for value in values], axis, whole
    )


def _joined(
    draft: Draft,
    node: ir.Node,
    values: Sequence[ir.Value],
    axis: int,
    shape: Sequence[int | None],
) -> ir.Value:
    if len(values) == 1:
        return values[0]
    return draft.add("Concat", values, node, "rows", shape=shape, attributes={"axis": axis})


def _turned(
    draft: Draft,
    node: ir.Node,
    value: ir.Value,
    shape: Sequence[int | None],
    order: list[int],
    what: str,
) -> ir.Value:
    """A value with its axes in another order; what undoes a Transpose is what that read."""
    maker = value.producer()
    if maker is not None and maker.op_type == "Transpose" and maker.inputs[0] is not None:
        before = maker.attributes["perm"].as_ints() if "perm" in maker.attributes else []
        if before and [before[i] for i in order] == list(range(len(order))):
            return maker.inputs[0]
    return draft.add("Transpose", [value], node, what, shape=shape, attributes={"perm": order})


def _slice(
    draft: Draft, node: ir.Node, value: ir.Value, axis: int, start: int, count: int, what: str
) -> ir.Value:
    """Some places of a value along one axis."""
    shape = list(shape_of(value) or ())
    if axis < len(shape) and start == 0 and shape[axis] == count:
        return value
    shape[axis] = count
    ends = [start, start + count, axis]
    inputs = [value, *(draft.numbers(node, f"{what}_{i}", [each]) for i, each in enumerate(ends))]
    return draft.add("Slice", inputs, node, what, shape=shape)
