"""Small questions that every pass over an ONNX graph asks of nodes and constants."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy as np
    import onnx_ir as ir
    from numpy.typing import NDArray

LAYERS = ("Conv", "ConvTranspose", "Gemm")  # what is left of layers once a graph is prepared


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
        raise ArtefactError(
            f"the constant {value.name!r} is broken: {error}", hint="export the model again"
        ) from error
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
            hint="only constants can be quantised ahead of time: fold the constants of the "
            "model first, for example when exporting it",
        )
    return array


def output(node: ir.Node) -> ir.Value:
    """The first output of a node."""
    return node.outputs[0]


def name_of(value: ir.Value) -> str:
    """The name of a value; every value has one once a graph is prepared."""
    return value.name or ""


def sole_reader(value: ir.Value) -> ir.Node | None:
    """The only reader of a value; None for several, for none, and for an output of the graph."""
    uses = tuple(value.uses())
    return uses[0].node if len(uses) == 1 and not value.is_graph_output() else None


def only_read_by(value: ir.Value, accepts: Callable[[ir.Node], bool]) -> bool:
    """Whether something reads a value, nothing but such nodes does, and it is no output."""
    readers = [user for user, _ in value.uses()]
    return bool(readers) and not value.is_graph_output() and all(map(accepts, readers))


def private_layer(value: ir.Value | None) -> ir.Node | None:
    """The layer with constant weights that makes a value with only one reader, else None."""
    node = value.producer() if value is not None else None
    if (
        value is None
        or node is None
        or node.domain != ""
        or node.op_type not in LAYERS
        or sole_reader(value) is None
    ):
        return None
    computed = any(
        argument(node, index) is not None and constant(argument(node, index)) is None
        for index in (1, 2)
    )
    return None if computed else node


def channel_axis(layer: ir.Node) -> int:
    """The axis of the output channels in a layer's weights."""
    return 1 if layer.op_type == "ConvTranspose" else 0


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


# keys of what onnx_ir remembers of a node while it is in memory
_ORIGIN = "edgeq.origin"
_HELPER = "edgeq.helper"
_NORM = "edgeq.norm"


def remember(node: ir.Node, op_type: str, label: str) -> None:
    """Note what a node was in the user's file.

    Its operator, and its name or that of what it makes.
    """
    node.meta[_ORIGIN] = op_type, label


def inherit(node: ir.Node, from_node: ir.Node) -> None:
    """Let a node that a rewrite made be called, in messages, what it was made from."""
    if _ORIGIN in from_node.meta:
        node.meta[_ORIGIN] = from_node.meta[_ORIGIN]


def help_only(node: ir.Node) -> None:
    """Note that a node computes with weights that the network does not have.

    It is neither its first nor its last layer.
    """
    node.meta[_HELPER] = True


def is_helper(node: ir.Node) -> bool:
    """Whether a node computes with weights that a rewrite came up with."""
    return _HELPER in node.meta


def is_embedding(node: ir.Node) -> bool:
    """Whether a node picks rows of a constant table by numbers that an input gives."""
    return (
        node.domain == ""
        and node.op_type == "Gather"
        and integer(node, "axis", 0) == 0
        and constant(argument(node, 0)) is not None
        and constant(argument(node, 1)) is None
    )


def set_norm(node: ir.Node, beta: NDArray[np.float64], gamma: NDArray[np.float64]) -> None:
    """Note how the answers of a layer are distributed: mean and deviation of each channel.

    That is what its BatchNormalization made of them in training.
    """
    node.meta[_NORM] = beta, gamma


def norm_of(node: ir.Node) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Mean and deviation of each channel of a layer, (out,); None where no norm told them."""
    found: tuple[NDArray[np.float64], NDArray[np.float64]] | None = node.meta.get(_NORM)
    return found


def describe(node: ir.Node) -> str:
    """A node as a person finds it in the file that was given."""
    op_type, label = node.meta.get(_ORIGIN, (node.op_type, node.name or name_of(output(node))))
    return f"{op_type} node {label!r}"


def refuse(node: ir.Node, why: str, hint: str) -> ArtefactError:
    """The error for a node that cannot be quantised."""
    return ArtefactError(f"{describe(node)} {why}", hint=hint)


def shape_of(value: ir.Value | None) -> tuple[int | None, ...] | None:
    """The dimensions, None for one that varies; None where not even their number is known."""
    if value is None or value.shape is None:
        return None
    return tuple(size if isinstance(size, int) else None for size in value.shape)


def number(value: ir.Value | None) -> float | None:
    """The one number that a constant holds, whatever its shape; None for anything else."""
    array = constant(value)
    return (
        float(array.reshape(-1)[0])
        if array is not None and array.size == 1 and array.dtype.kind == "f"
        else None
    )


def not_negative(value: ir.Value | None) -> bool:
    """Whether it can be seen from the graph that a tensor holds nothing below zero."""
    node = value.producer() if value is not None else None
    if node is None or value is None:
        return False
    if node.op_type == "Clip":
        low = floats(node, 1)
        return low is not None and low.size == 1 and float(low.item()) >= 0
    if node.op_type in _KEEP_SIGN:
        sources = node.inputs if node.op_type in ("Concat", "Add", "Mul") else node.inputs[:1]
        return all(not_negative(source) or _positive(source) for source in sources)
    return node.op_type in NOT_NEGATIVE


def _positive(value: ir.Value | None) -> bool:
    array = constant(value)
    return array is not None and bool((array.astype("float64") >= 0).all())


NOT_NEGATIVE = frozenset(
    ("Relu", "Sigmoid", "HardSigmoid", "Softmax", "Softplus", "Exp", "Abs", "Sqrt")
)
_KEEP_SIGN = frozenset(
    (
        *(
            "Concat",
            "Add",
            "Mul",
            "MaxPool",
            "AveragePool",
            "GlobalAveragePool",
            "GlobalMaxPool",
            "ReduceMax",
            "ReduceMean",
            "ReduceSum",
        ),
        *(
            "Slice",
            "Pad",
            "Gather",
            "Reshape",
            "Flatten",
            "Squeeze",
            "Unsqueeze",
            "Transpose",
            "Identity",
        ),
    )
)
