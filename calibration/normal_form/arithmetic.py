"""Arithmetic of activations in Add, Sub, Mul, MatMul and functions of one tensor.

These are what integer kernels have.

A quotient is a product with a reciprocal, and the reciprocal of one tensor of 8 bits is a table.
Operands have equally many dimensions. All of it is exact but for the rounding of float32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

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
    from collections.abc import Callable, Container, Mapping

    import onnx_ir as ir

    from edgeq.calibration.normal_form.draft import Draft

_INFINITE = float("inf")


def plain_clips(draft: Draft) -> None:
    """Write Max and Min with a number as Clip, Clips in a row as one, and Clip(0, inf) as Relu."""
    for node in tuple(draft.graph):
        if node.domain == "" and node.op_type in ("Clip", "Max", "Min"):
            _clip(draft, node)


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
