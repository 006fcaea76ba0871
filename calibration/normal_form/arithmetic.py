"""Arithmetic of activations in Add, Sub, Mul, MatMul and functions of one tensor.

These are what integer kernels have.

A quotient is a product with a reciprocal, and the reciprocal of one tensor of 8 bits is a table.
Operands have equally many dimensions. All of it is exact but for the rounding of float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    argument,
    constant,
    floats,
    integer,
    number,
    output,
    refuse,
    shape_of,
    sole_reader,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Container, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_INFINITE = float("inf")
_TINY = 1e-30
_FLOAT32 = ir.DataType.FLOAT


def plain_clips(draft: Draft) -> None:
    """Write Max and Min with a number as Clip, Clips in a row as one, and Clip(0, inf) as Relu."""
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type in ("Clip", "Max", "Min"):
            _clip(draft, node)


def plain_conditions(draft: Draft) -> None:
    """Write conditions and what they choose as arithmetic with 0 and 1, in place.

    ``a if c else b`` is ``b + c (a - b)``, and ``x > k`` is the sign of ``x - k`` above zero.
    """
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type == "Where":
            _where(draft, node)
        elif node.domain == "" and node.op_type == "Cast":
            truth = _truth(draft, node, node.inputs[0])
            if truth is not None:
                draft.finish(node, truth)


def _where(draft: Draft, node: ir.Node) -> None:
    condition, first, second = node.inputs
    if condition is None or first is None or second is None or _without_zero(draft, node):
        return
    mask = constant(condition)
    if mask is not None:
        _masked(draft, node, mask.astype(bool))
        return
    truth = _truth(draft, node, condition)
    if truth is None:
        return
    difference = draft.add("Sub", [first, second], node, "difference")
    chosen = draft.add("Mul", [truth, difference], node, "chosen")
    draft.finish(node, draft.add("Add", [chosen, second], node, "sum"))


def _without_zero(draft: Draft, node: ir.Node) -> bool:
    """``0 if d == 0 else a / d``: ``d / max(d d, tiny)`` is the reciprocal, and 0 at 0."""
    condition, first, second = node.inputs
    equal = condition.producer() if condition is not None else None
    quotient = second.producer() if second is not None else None
    if (
        equal is None
        or quotient is None
        or (equal.op_type, quotient.op_type) != ("Equal", "Div")
        or number(first) != 0
        or number(equal.inputs[1]) != 0
        or equal.inputs[0] is not quotient.inputs[1]
    ):
        return False
    dividend, divisor = quotient.inputs
    if divisor is None:
        return False
    shape = shape_of(divisor)
    square = draft.add("Mul", [divisor, divisor], node, "square", shape=shape)
    tiny = draft.reals(node, "tiny", np.array(_TINY))
    positive = draft.add("Max", [square, tiny], node, "positive", shape=shape)
    inverse = draft.add("Div", [divisor, positive], node, "inverse", shape=shape)
    draft.finish(node, draft.add("Mul", [dividend, inverse], node, "quotient"))
    return True


def _masked(draft: Draft, node: ir.Node, mask: NDArray[np.bool_]) -> None:
    """A choice that does not depend on what the model is given."""
    result = None
    for index, taken in ((1, mask), (2, ~mask)):
        value, array = node.inputs[index], floats(node, index)
        if array is None:
            factor = draft.reals(node, f"taken{index}", taken.astype(np.float32))
            part = draft.add("Mul", [value, factor], node, f"part{index}")
        else:
            filled = np.where(taken, array, 0.0)
            if not np.isfinite(filled).all():
                raise refuse(
                    node,
                    "fills with infinity, which no grid of integers holds",
                    "fill with a finite number, such as 10 less than the smallest of the others",
                )
            part = draft.reals(node, f"part{index}", filled)
        result = part if result is None else draft.add("Add", [result, part], node, "sum")
    if result is not None and constant(result) is None:
        draft.finish(node, result)


def _truth(draft: Draft, node: ir.Node, value: ir.Value | None) -> ir.Value | None:
    """A condition as 0 and 1 in float32, for a node that reads it; None for no condition."""
    maker = value.producer() if value is not None else None
    if maker is None or value is None or maker.domain:
        return None
    shape = shape_of(value)
    if maker.op_type in _LOGIC:
        parts = [_truth(draft, node, each) for each in maker.inputs]
        if any(part is None for part in parts):
            return None
        return _LOGIC[maker.op_type](draft, node, parts, shape)
    if maker.op_type not in _COMPARED:
        return None
    first, second = maker.inputs
    if any(each is not None and each.dtype not in (None, _FLOAT32) for each in maker.inputs):
        return None
    swapped, negated = _COMPARED[maker.op_type]
    operands = [second, first] if swapped else [first, second]
    difference = draft.add("Sub", operands, node, "difference", shape=shape)
    sign = draft.add("Sign", [difference], node, "sign", shape=shape)
    if maker.op_type == "Equal":
        above = draft.add("Abs", [sign], node, "unequal", shape=shape)
    else:
        zero = draft.reals(node, "zero", np.array(0.0))
        above = draft.add("Max", [sign, zero], node, "above", shape=shape)
    return _not(draft, node, [above], shape) if negated else above


def _not(
    draft: Draft,
    node: ir.Node,
    parts: Sequence[ir.Value | None],
    shape: Sequence[int | None] | None,
) -> ir.Value:
    one = draft.reals(node, "one", np.array(1.0))
    return draft.add("Sub", [one, *parts], node, "not", shape=shape)


def _and(
    draft: Draft,
    node: ir.Node,
    parts: Sequence[ir.Value | None],
    shape: Sequence[int | None] | None,
) -> ir.Value:
    return draft.add("Mul", parts, node, "both", shape=shape)


def _or(
    draft: Draft,
    node: ir.Node,
    parts: Sequence[ir.Value | None],
    shape: Sequence[int | None] | None,
) -> ir.Value:
    neither = [_not(draft, node, [part], shape_of(part)) for part in parts]
    return _not(draft, node, [_and(draft, node, neither, shape)], shape)


_LOGIC = {"Not": _not, "And": _and, "Or": _or}
_COMPARED = {
    # whether the operands are swapped, and whether the result is negated
    "Greater": (False, False),
    "Less": (True, False),
    "GreaterOrEqual": (True, True),
    "LessOrEqual": (False, True),
    "Equal": (False, True),
}


def plain_arithmetic(draft: Draft, functions: Container[ir.Node]) -> None:
    """Rewrite in place whatever can be; what cannot stays, to be refused by its name.

    Args:
        draft: the graph.
        functions: the nodes that are part of functions of one tensor, which stay as they are.
    """
    for node in tuple(draft.graph):
        rewrite = (
            _REWRITES.get(node.op_type) if node.domain == "" and node not in functions else None
        )
        if rewrite is not None:
            rewrite(draft, node)
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type in ("Add", "Sub", "Mul", "MatMul", "Concat"):
            _align(draft, node)


def _bounds(node: ir.Node) -> tuple[float, float] | None:
    """What a Clip, or a maximum or minimum with one number, clips to; None where it is not that."""
    if node.op_type == "Clip":
        ends = [
            None if argument(node, place) is None else number(argument(node, place))
            for place in (1, 2)
        ]
        if any(
            end is None and argument(node, place) is not None
            for place, end in zip((1, 2), ends, strict=True)
        ):
            return None
        return (-_INFINITE if ends[0] is None else ends[0]), (
            _INFINITE if ends[1] is None else ends[1]
        )
    numbers = [number(value) for value in node.inputs]
    if len(numbers) != 2 or numbers.count(None) != 1:
        return None
    bound = numbers[0] if numbers[1] is None else numbers[1]
    return (bound or 0.0, _INFINITE) if node.op_type == "Max" else (-_INFINITE, bound or 0.0)


def _clip(draft: Draft, node: ir.Node) -> None:
    bounds = _bounds(node)
    source = next(
        (value for value in node.inputs if value is not None and constant(value) is None), None
    )
    if bounds is None or source is None or shape_of(source) != shape_of(output(node)):
        return
    low, high = bounds
    inner = source.producer()
    before = (
        _bounds(inner)
        if inner is not None and inner.op_type == "Clip"
        else (0.0, _INFINITE)
        if _is_relu(inner)
        else None
    )
    if (
        before is not None
        and inner is not None
        and sole_reader(source) is node
        and max(low, before[0]) <= min(high, before[1])
    ):
        low, high, source = max(low, before[0]), min(high, before[1]), inner.inputs[0]
    if source is None:
        return
    if (low, high) == (-_INFINITE, _INFINITE):
        if draft.can_stand_for(output(node), source):
            draft.finish(node, source)
        return
    if (low, high) == (0.0, _INFINITE):
        made = draft.add_node("Relu", [source], node, "clipped")
    else:
        ends = [
            None if abs(end) == _INFINITE else draft.reals(node, what, np.array(end))
            for end, what in ((low, "min"), (high, "max"))
        ]
        made = draft.add_node(
            "Clip", [source, *(ends if ends[1] is not None else ends[:1])], node, "clipped"
        )
    made.name = node.name
    draft.finish(node, output(made))


def _is_relu(node: ir.Node | None) -> bool:
    return node is not None and node.domain == "" and node.op_type == "Relu"


def _divide(draft: Draft, node: ir.Node) -> None:
    first, second = node.inputs[0], node.inputs[1]
    divisor = floats(node, 1)
    if first is None or second is None or (number(first) is not None and constant(second) is None):
        return
    if divisor is None:
        inverse = draft.add("Reciprocal", [second], node, "reciprocal", shape=shape_of(second))
    elif divisor.size == 1 and constant(first) is None:
        return
    elif not divisor.all():
        raise refuse(node, "divides by zero", "fix the constant in the model")
    else:
        inverse = draft.reals(node, "reciprocal", 1.0 / divisor)
    draft.finish(node, draft.add("Mul", [first, inverse], node, "product"))


def _prelu(draft: Draft, node: ir.Node) -> None:
    slope = number(argument(node, 1))
    if slope is not None and node.inputs[0] is not None:
        draft.finish(
            node,
            draft.add("LeakyRelu", [node.inputs[0]], node, "sloped", attributes={"alpha": slope}),
        )


def _norm(draft: Draft, node: ir.Node) -> None:
    """Sums of magnitudes and of squares, and the root of the latter."""
    source, keep = node.inputs[0], integer(node, "keepdims", 1)
    if source is None:
        return
    shape = shape_of(source)
    if node.op_type == "ReduceL1":
        inner = draft.add("Abs", [source], node, "magnitudes", shape=shape)
    else:
        inner = draft.add(
            "Pow", [source, draft.reals(node, "two", np.array(2.0))], node, "squares", shape=shape
        )
    total = draft.add(
        "ReduceSum", [inner, *node.inputs[1:]], node, "total", attributes={"keepdims": keep}
    )
    draft.finish(
        node, draft.add("Sqrt", [total], node, "root") if node.op_type == "ReduceL2" else total
    )


def _align(draft: Draft, node: ir.Node) -> None:
    """Give operands that are activations equally many dimensions, ones in front."""
    after = shape_of(output(node))
    for index, value in enumerate(node.inputs):
        shape = shape_of(value)
        if (
            after is None
            or value is None
            or shape is None
            or constant(value) is not None
            or len(shape) >= len(after)
        ):
            continue
        if None in shape:
            continue  # its batch would stand beside another axis
        aligned = draft.reshape(
            value, [*[1] * (len(after) - len(shape)), *shape], node, f"operand{index}"
        )
        node.replace_input_with(index, aligned)


_REWRITES: Mapping[str, Callable[[Draft, ir.Node], None]] = {
    "Div": _divide,
    "PRelu": _prelu,
    "ReduceL1": _norm,
    "ReduceL2": _norm,
    "ReduceSumSquare": _norm,
}
