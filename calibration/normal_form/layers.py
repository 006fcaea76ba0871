"""Brings layers into the operators and attributes that integer kernels have.

MatMul of a matrix becomes Gemm, Gemm has its weight as (out, in) and no factors, a ConvTranspose of
stride 1 becomes the Conv that it is and any other has neither groups nor dilation, and implicit
padding becomes explicit. All of it is exact.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    argument,
    constant,
    floats,
    inherit,
    integer,
    ints,
    name_of,
    output,
    rank,
    real,
    refuse,
    shape_of,
    sole_reader,
    text,
)
from edgeq.numerics.padding import same_padding

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

_STATIC = "export the model with the size of its image fixed"


def canonical_layers(draft: Draft) -> None:
    """Rewrite every node that has a canonical form, in place.

    What has none stays, to be refused by its name.

    Raises:
        ArtefactError: a layer's weights are not finite; names the node.
    """
    _name_layers(draft)
    for node in tuple(draft.graph):
        rewrite = _REWRITES.get(node.op_type) if node.domain == "" else None
        if rewrite is not None:
            rewrite(draft, node)


def replace(
    draft: Draft,
    old: ir.Node,
    op_type: str,
    inputs: list[ir.Value | None],
    attributes: Mapping[str, int | list[int]],
) -> ir.Node:
    """Put another operator in the place of a node; its output keeps name, type and shape."""
    new = ir.node(op_type, inputs, dict(attributes), name=old.name)
    inherit(new, old)
    was, now = output(old), output(new)
    name, now.type, now.shape = was.name, was.type, was.shape
    draft.graph.insert_before(old, new)
    was.replace_all_uses_with(now, replace_graph_outputs=True)
    draft.graph.remove(old, safe=True)
    now.name = name
    return new


def _name_layers(draft: Draft) -> None:
    """Call a layer ``conv1`` whose weight is ``conv1.weight``, so that names survive exporters."""
    for node in draft.graph:
        if node.op_type not in _WEIGHTED or len(node.inputs) < 2 or node.inputs[1] is None:
            continue
        module, _, parameter = name_of(node.inputs[1]).rpartition(".")
        if module and parameter == "weight" and module not in draft.nodes:
            node.name = draft.nodes.fresh(module)


def _constants(node: ir.Node) -> tuple[NDArray[np.float64], NDArray[np.float64] | None] | None:
    """Weights and bias; None where the graph computes one of them."""
    weight, bias = floats(node, 1), floats(node, 2)
    return (
        None
        if weight is None or (argument(node, 2) is not None and bias is None)
        else (weight, bias)
    )


def _conv(draft: Draft, node: ir.Node) -> None:
    found = _constants(node)
    if found is None:
        return
    weight, bias = found
    kernel = list(weight.shape[2:])
    strides, dilations = (
        ints(node, "strides", [1] * len(kernel)),
        ints(node, "dilations", [1] * len(kernel)),
    )
    pads = explicit_pads(node, kernel, strides, dilations)
    own_constants(draft, node, weight, bias)
    node.attributes.pop("auto_pad", None)
    write(
        node,
        {
            "kernel_shape": kernel,
            "strides": strides,
            "dilations": dilations,
            "pads": pads,
            "group": integer(node, "group", 1),
        },
    )


def add_convolution(
    draft: Draft,
    instead_of: ir.Node,
    source: ir.Value,
    weight: NDArray[np.float64],
    bias: NDArray[np.float64] | None,
    what: str,
    *,
    strides: list[int] | None = None,
    pads: list[int] | None = None,
    group: int = 1,
    shape: Sequence[int | None] | None = None,
) -> ir.Node:
    """Put a Conv of constant weights in front of the node that it helps to rewrite, under its name.

    Args:
        draft: the graph.
        instead_of: the node.
        source: what the Conv reads.
        weight: (out, in / group, *kernel).
        bias: (out,).
        what: what the result is; see :meth:`Draft.add`.
        strides: 1 by default.
        pads: 0 by default.
        group: of channels.
        shape: of the result; that of the node's by default.
    """
    kernel = list(weight.shape[2:])
    attributes: dict[str, int | float | str | list[int] | list[float]] = {
        "kernel_shape": kernel,
        "strides": strides or [1] * len(kernel),
        "dilations": [1] * len(kernel),
        "pads": pads or [0] * (2 * len(kernel)),
        "group": group,
    }
    inputs = [source, draft.reals(instead_of, "weight", weight)]
    conv = draft.add_node("Conv", inputs, instead_of, what, shape=shape, attributes=attributes)
    conv.name = instead_of.name
    own_constants(draft, conv, weight, bias)
    return conv


def own_constants(
    draft: Draft, node: ir.Node, weight: NDArray[np.float64], bias: NDArray[np.float64] | None
) -> None:
    """Weights and bias under the layer's own name, in float32.

    Tied weights part here, since each layer gets its own scales.

    Raises:
        ArtefactError: one of them is not finite in float32.
    """
    for index, what, array in ((1, "weight", weight), (2, "bias", bias)):
        if array is None:
            continue
        with np.errstate(over="ignore"):
            single = np.ascontiguousarray(array, np.float32)
        if not np.isfinite(single).all():
            raise refuse(
                node,
                f"has a {what} that is not finite, or not once what follows is folded in",
                "look at the float model: it is broken",
            )
        draft.set_constant(node, index, f"{node.name}.{what}", single)


def write(node: ir.Node, attributes: Mapping[str, int | list[int]]) -> None:
    """Set attributes that are whole numbers or lists of them."""
    for name, value in attributes.items():
        node.attributes[name] = (
            ir.AttrInt64s(name, value) if isinstance(value, list) else ir.AttrInt64(name, value)
        )


def explicit_pads(
    node: ir.Node, kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """The padding of a window operator in numbers, all that is before first.

    Raises:
        ArtefactError: it follows from the size of an image that is not known.
    """
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        return ints(node, "pads", [0] * (2 * len(kernel)))
    if mode == "VALID":
        return [0] * (2 * len(kernel))
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    sizes = [] if shape is None else [size for size in shape[2:] if isinstance(size, int)]
    if len(sizes) != len(kernel):
        raise refuse(node, "pads automatically an image of unknown size", _STATIC)
    ends = [
        same_padding(*axis, upper=mode == "SAME_UPPER")
        for axis in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    return [before for before, _ in ends] + [behind for _, behind in ends]


def _conv_transpose(draft: Draft, node: ir.Node) -> None:
    """``ConvTranspose(u, K, pad p)`` of stride 1 is ``Conv(u, K', pad d (k - 1) - p)``.

    K' has its channels swapped and its kernel flipped.
    """
    found = _constants(node)
    if found is None:
        return
    weight, bias = found  # (in, out / group, ...)
    kernel, group = list(weight.shape[2:]), integer(node, "group", 1)
    dilations = ints(node, "dilations", [1] * len(kernel))
    pads = [
        d * (k - 1) - p
        for p, k, d in zip(
            ints(node, "pads", [0] * 2 * len(kernel)), kernel * 2, dilations * 2, strict=True
        )
    ]
    plain = (
        text(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID")
        and "output_shape" not in node.attributes
    )
    if (
        set(ints(node, "strides", [1])) != {1}
        or any(ints(node, "output_padding", [0]))
        or not plain
        or min(pads) < 0
    ):
        _strided(draft, node, weight, bias)
        return
    grouped = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:]).swapaxes(1, 2)
    flipped = np.flip(grouped.reshape(-1, *grouped.shape[2:]), axis=tuple(range(2, weight.ndim)))
    conv = replace(
        draft,
        node,
        "Conv",
        list(node.inputs),
        {"dilations": dilations, "pads": pads, "group": group},
    )
    draft.set_constant(conv, 1, f"{node.name}.weight", np.ascontiguousarray(flipped, np.float32))
    _conv(draft, conv)


def _strided(
    draft: Draft, node: ir.Node, weight: NDArray[np.float64], bias: NDArray[np.float64] | None
) -> None:
    """Without groups and dilation, which no integer kernel has here.

    Zeros stand between groups and between taps.
    """
    group, taps = integer(node, "group", 1), weight.shape[2:]
    dilations = ints(node, "dilations", [1] * len(taps))
    if group > 1:
        rows, columns = weight.shape[0] // group, weight.shape[1]
        whole = np.zeros((weight.shape[0], columns * group, *taps))
        for index in range(group):
            own = slice(index * rows, (index + 1) * rows)
            whole[own, index * columns : (index + 1) * columns] = weight[own]
        weight = whole
    spread = np.zeros(
        (*weight.shape[:2], *((k - 1) * d + 1 for k, d in zip(taps, dilations, strict=True)))
    )
    taps_at = tuple(slice(None, None, step) for step in dilations)
    spread[(slice(None), slice(None), *taps_at)] = weight
    own_constants(draft, node, spread, bias)
    write(node, {"kernel_shape": list(spread.shape[2:]), "group": 1, "dilations": [1] * len(taps)})


def _gemm(draft: Draft, node: ir.Node) -> None:
    if integer(node, "transA", 0) or constant(argument(node, 0)) is not None:
        return
    found = _constants(node)
    if found is None:
        _split_gemm(draft, node)
        return
    weight, bias = found
    weight = (weight if integer(node, "transB", 0) else weight.T) * real(node, "alpha", 1.0)
    if bias is not None:
        bias = bias * real(node, "beta", 1.0)
        if bias.ndim == 2 and bias.shape[0] > 1:  # one for each sample
            _split_gemm(draft, node)
            return
        bias = np.broadcast_to(bias.reshape(-1), len(weight))
    own_constants(draft, node, weight, bias)
    node.attributes.clear()
    write(node, {"transB": 1})


def _split_gemm(draft: Draft, node: ir.Node) -> None:
    """A product of two activations, or a sum with one: MatMul and Add."""
    first, second, third = node.inputs[0], node.inputs[1], argument(node, 2)
    if first is None or second is None:
        return
    if integer(node, "transB", 0):
        shape, weight = shape_of(second), floats(node, 1)
        if weight is not None:
            second = draft.reals(node, "weight", weight.T)
        else:
            turned = None if shape is None else shape[::-1]
            second = draft.add(
                "Transpose", [second], node, "turned", shape=turned, attributes={"perm": [1, 0]}
            )
    product = draft.add_node("MatMul", [first, second], node, "product")
    result = output(product)
    alpha, beta = real(node, "alpha", 1.0), real(node, "beta", 1.0)
    if alpha != 1.0:
        result = draft.add(
            "Mul", [result, draft.reals(node, "alpha", np.array(alpha))], node, "scaled"
        )
    if third is not None:
        if beta != 1.0:
            third = draft.add(
                "Mul",
                [third, draft.reals(node, "beta", np.array(beta))],
                node,
                "addend",
                shape=shape_of(third),
            )
        result = draft.add("Add", [result, third], node, "sum")
    draft.finish(node, result)
    _matmul(draft, product)


def _matmul(draft: Draft, node: ir.Node) -> None:
    weight = floats(node, 1)
    if (
        weight is None
        or weight.ndim != 2
        or rank(node.inputs[0]) != 2
        or constant(argument(node, 0)) is not None
    ):
        return
    gemm = replace(draft, node, "Gemm", list(node.inputs), {})
    _gemm(draft, gemm)


def _pad(draft: Draft, node: ir.Node) -> None:
    """Fold padding of height and width with zeros into the convolution behind it."""
    conv = sole_reader(output(node))
    pads, value = constant(argument(node, 1)), constant(argument(node, 2))
    if (
        pads is None
        or argument(node, 3) is not None
        or text(node, "mode", "constant") != "constant"
        or (value is not None and value.any())
    ):
        return
    amounts = pads.astype(np.int64)
    begin, end = np.split(amounts, 2)
    automatic = conv is not None and text(conv, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if (
        conv is None
        or conv.op_type != "Conv"
        or automatic
        or begin[:2].any()
        or end[:2].any()
        or amounts.min() < 0
    ):
        return
    own = ints(conv, "pads", [0] * (2 * (len(begin) - 2)))
    conv.attributes.pop("auto_pad", None)
    write(
        conv,
        {
            "pads": [
                int(more) + less for more, less in zip([*begin[2:], *end[2:]], own, strict=True)
            ]
        },
    )
    conv.replace_input_with(0, node.inputs[0])
    draft.graph.remove(node, safe=True)


_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_REWRITES: Mapping[str, Callable[[Draft, ir.Node], None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "Pad": _pad,
}
