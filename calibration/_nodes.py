"""Small questions that every pass over an ONNX graph asks of nodes and constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Container

    import numpy as np
    from numpy.typing import NDArray

LAYERS = ("Conv", "Gemm")  # what is left of layers once a graph is prepared


def constant(value: ir.Value | None) -> NDArray[np.generic] | None:
    """The array behind an initialiser, None for anything computed.

    Raises:
        ArtefactError: its data do not fill its shape.
    """
    if value is None or value.const_value is None or value.is_graph_input():
        return None
    try:
        array: NDArray[np.generic] = value.const_value.numpy()
    except (ValueError, TypeError) as error:
        raise ArtefactError(f"the constant {value.name!r} is broken: {error}", mend="export the model again") from error
    return array


def argument(node: ir.Node, index: int) -> ir.Value | None:
    """An input of a node, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def floats(node: ir.Node, index: int) -> NDArray[np.float64] | None:
    """A constant input as float64, None where it is left out or computed."""
    array = constant(argument(node, index))
    return None if array is None else array.astype("float64")


def required(node: ir.Node, index: int, what: str) -> NDArray[np.float64]:
    """A constant input as float64.

    Raises:
        ArtefactError: it is computed by the graph or left out.
    """
    array = floats(node, index)
    if array is None:
        raise ArtefactError(
            f"{describe(node)} has a {what} that the graph computes",
            mend="only constants can be quantised ahead of time: fold the constants of the model first, for example when exporting it",
        )
    return array


def set_constant(node: ir.Node, index: int, name: str, array: NDArray[np.generic]) -> None:
    """Give a node a constant of its own as one of its inputs, under ``name`` or, where that is taken, the next free name."""
    graph = node.graph
    if graph is None:  # a node that was taken out of its graph: a mistake of ours
        raise ValueError(f"{node.op_type} belongs to no graph")
    unique = free_name(name, graph.initializers)
    value = ir.val(unique, const_value=ir.tensor(array, name=unique))
    graph.initializers[unique] = value
    if index >= len(node.inputs):
        node.resize_inputs(index + 1)
    node.replace_input_with(index, value)


def free_name(name: str, taken: Container[str]) -> str:
    """``name``, or with the least number behind it that makes it new."""
    number, candidate = 1, name
    while candidate in taken:
        number, candidate = number + 1, f"{name}_{number}"
    return candidate


def output(node: ir.Node) -> ir.Value:
    """The first output of a node."""
    return node.outputs[0]


def name_of(value: ir.Value) -> str:
    """The name of a value; every value has one once a graph is prepared."""
    return value.name or ""


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The one node that reads a value, None where there are more, or none, or the caller of the graph reads it too."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def private_layer(value: ir.Value | None) -> ir.Node | None:
    """The layer that makes a value which nobody but one node reads, else None."""
    node = value.producer() if value is not None else None
    return node if value is not None and node is not None and node.op_type in LAYERS and sole_reader(value) is not None else None


def ints(node: ir.Node, name: str, default: list[int]) -> list[int]:
    """An attribute that is a list of integers."""
    attribute = node.attributes.get(name)
    return default if attribute is None else list(attribute.as_ints())


def integer(node: ir.Node, name: str, default: int) -> int:
    """An attribute that is an integer."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_int()


def real(node: ir.Node, name: str, default: float) -> float:
    """An attribute that is a float."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_float()


def text(node: ir.Node, name: str, default: str) -> str:
    """An attribute that is a string."""
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()


def rank(value: ir.Value | None) -> int | None:
    """The number of dimensions, None where it is not known."""
    return None if value is None or value.shape is None else len(value.shape)


def describe(node: ir.Node) -> str:
    """A node as a person finds it in a graph viewer."""
    return f"{node.op_type} node {node.name or name_of(output(node))!r}"


def refuse(node: ir.Node, why: str, mend: str) -> ArtefactError:
    """The error for a node that cannot be quantised."""
    return ArtefactError(f"{describe(node)} {why}", mend=mend)
