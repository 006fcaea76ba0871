"""Brings layers and pooling into the two operators and the attributes that integer kernels have.

MatMul becomes Gemm, Gemm has its weight as (out, in) and no factors, a ConvTranspose of stride 1 becomes the Conv that it
is, implicit padding becomes explicit, and a mean over height and width becomes GlobalAveragePool. All of it is exact.
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
    ints,
    name_of,
    output,
    rank,
    real,
    refuse,
    required,
    set_constant,
    sole_reader,
    text,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_STATIC = "export the model with the size of its image fixed"


def canonical_layers(model: ir.Model) -> None:
    """Rewrite every node that has a canonical form, in place.

    Raises:
        ArtefactError: a layer's weights are not constant, or its attributes have no integer kernel; names the node.
    """
    graph = model.graph
    _name_layers(graph)
    for node in tuple(graph):
        rewrite = _REWRITES.get(node.op_type) if node.domain == "" else None
        if rewrite is not None:
            rewrite(graph, node)


def replace(
    graph: ir.Graph, old: ir.Node, op_type: str, inputs: list[ir.Value | None], attributes: Mapping[str, int | list[int]]
) -> ir.Node:
    """Put another operator in the place of a node; its output keeps name, type and shape."""
    new = ir.node(op_type, inputs, dict(attributes), name=old.name)
    was, now = output(old), output(new)
    name, now.type, now.shape = was.name, was.type, was.shape
    graph.insert_before(old, new)
    was.replace_all_uses_with(now, replace_graph_outputs=True)
    graph.remove(old, safe=True)
    now.name = name
    return new


def _name_layers(graph: ir.Graph) -> None:
    """A layer is called after its weight where that has the name of a module's parameter, so that names survive exporters."""
    taken = {node.name for node in graph}
    for node in graph:
        if node.op_type not in _WEIGHTED or len(node.inputs) < 2 or node.inputs[1] is None:
            continue
        module, _, parameter = name_of(node.inputs[1]).rpartition(".")
        if module and parameter == "weight" and module not in taken:
            taken.add(module)
            node.name = module


def _conv(_: ir.Graph, node: ir.Node) -> None:
    weight = required(node, 1, "weight")
    own_constants(node, weight, floats(node, 2) if argument(node, 2) is None else required(node, 2, "bias"))
    kernel = list(weight.shape[2:])
    strides, dilations = ints(node, "strides", [1] * len(kernel)), ints(node, "dilations", [1] * len(kernel))
    pads = _explicit_pads(node, kernel, strides, dilations)
    node.attributes.pop("auto_pad", None)
    _write(node, {"kernel_shape": kernel, "strides": strides, "dilations": dilations, "pads": pads, "group": integer(node, "group", 1)})


def own_constants(node: ir.Node, weight: NDArray[np.float64], bias: NDArray[np.float64] | None) -> None:
    """Weights and bias under the layer's own name, in float32: tied weights part here, since each layer gets its own scales.

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
                node, f"has a {what} that is not finite, or not once what follows is folded in", "look at the float model: it is broken"
            )
        set_constant(node, index, f"{node.name}.{what}", single)


def _write(node: ir.Node, attributes: Mapping[str, int | list[int]]) -> None:
    for name, value in attributes.items():
        node.attributes[name] = ir.AttrInt64s(name, value) if isinstance(value, list) else ir.AttrInt64(name, value)


def _explicit_pads(node: ir.Node, kernel: list[int], strides: list[int], dilations: list[int]) -> list[int]:
    mode = text(node, "auto_pad", "NOTSET")
    if mode == "NOTSET":
        return ints(node, "pads", [0] * (2 * len(kernel)))
    if mode == "VALID":
        return [0] * (2 * len(kernel))
    shape = node.inputs[0].shape if node.inputs[0] is not None else None
    sizes = [] if shape is None else [size for size in shape[2:] if isinstance(size, int)]
    if len(sizes) != len(kernel):
        raise refuse(node, "pads automatically an image of unknown size", _STATIC)
    totals = [
        max((-(-size // stride) - 1) * stride + (k - 1) * dilation + 1 - size, 0)
        for size, k, stride, dilation in zip(sizes, kernel, strides, dilations, strict=True)
    ]
    halves, rests = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return halves + rests if mode == "SAME_UPPER" else rests + halves


def _pool(_: ir.Graph, node: ir.Node) -> None:
    kernel = ints(node, "kernel_shape", [])
    ones = [1] * len(kernel)
    pads = _explicit_pads(node, kernel, ints(node, "strides", ones), ints(node, "dilations", ones))
    node.attributes.pop("auto_pad", None)
    _write(node, {"pads": pads})


def _conv_transpose(graph: ir.Graph, node: ir.Node) -> None:
    """``ConvTranspose(u, K, pad p)`` of stride 1 is ``Conv(u, K', pad d (k - 1) - p)``, K' with channels swapped and kernel flipped."""
    weight = required(node, 1, "weight")  # (in, out / group, ...)
    kernel, group = list(weight.shape[2:]), integer(node, "group", 1)
    dilations = ints(node, "dilations", [1] * len(kernel))
    pads = [d * (k - 1) - p for p, k, d in zip(ints(node, "pads", [0] * 2 * len(kernel)), kernel * 2, dilations * 2, strict=True)]
    plain = text(node, "auto_pad", "NOTSET") in ("NOTSET", "VALID") and "output_shape" not in node.attributes
    if set(ints(node, "strides", [1])) != {1} or any(ints(node, "output_padding", [0])) or not plain or min(pads) < 0:
        raise refuse(node, "is no plain transposed convolution of stride 1, so no Conv computes it", "resize, then convolve")
    grouped = weight.reshape(group, weight.shape[0] // group, *weight.shape[1:]).swapaxes(1, 2)
    flipped = np.flip(grouped.reshape(-1, *grouped.shape[2:]), axis=tuple(range(2, weight.ndim)))
    conv = replace(graph, node, "Conv", list(node.inputs), {"dilations": dilations, "pads": pads, "group": group})
    set_constant(conv, 1, f"{node.name}.weight", np.ascontiguousarray(flipped, np.float32))
    _conv(graph, conv)


def _gemm(_: ir.Graph, node: ir.Node) -> None:
    if integer(node, "transA", 0):
        raise refuse(node, "transposes its input", "export the model with a Transpose before it")
    weight = required(node, 1, "weight")
    weight = (weight if integer(node, "transB", 0) else weight.T) * real(node, "alpha", 1.0)
    bias = None
    if argument(node, 2) is not None:
        bias = np.broadcast_to((required(node, 2, "bias") * real(node, "beta", 1.0)).reshape(-1), len(weight))
    own_constants(node, weight, bias)
    node.attributes.clear()
    _write(node, {"transB": 1})


def _matmul(graph: ir.Graph, node: ir.Node) -> None:
    weight = required(node, 1, "second factor")
    if weight.ndim != 2 or rank(node.inputs[0]) != 2:
        raise refuse(node, "is no fully connected layer: its input has to be (samples, features)", "flatten its input first")
    gemm = replace(graph, node, "Gemm", list(node.inputs), {})
    _gemm(graph, gemm)


def _reduce_mean(graph: ir.Graph, node: ir.Node) -> None:
    axes = constant(argument(node, 1))
    dimensions = rank(node.inputs[0])
    wanted = [] if axes is None or dimensions is None else sorted(int(axis) % dimensions for axis in axes.reshape(-1))
    if dimensions is None or dimensions < 3 or wanted != list(range(2, dimensions)):
        raise refuse(node, "does not average over height and width", "average over all spatial dimensions, or not at all")
    keep = bool(integer(node, "keepdims", 1))
    pooled = replace(graph, node, "GlobalAveragePool", [node.inputs[0]], {})
    if not keep:
        _flatten_behind(graph, pooled)


def _flatten_behind(graph: ir.Graph, pooled: ir.Node) -> None:
    value = output(pooled)
    flatten = ir.node("Flatten", [value], {"axis": 1}, name=f"{pooled.name}_flatten")
    flat = output(flatten)
    flat.type, flat.shape, name = value.type, value.shape, name_of(value)
    value.shape = None
    graph.insert_after(pooled, flatten)
    for user, index in tuple(value.uses()):
        if user is not flatten:
            user.replace_input_with(index, flat)
    for index, result in enumerate(graph.outputs):
        if result is value:
            graph.outputs[index] = flat
    value.name, flat.name = f"{name}_pooled", name


def _pad(graph: ir.Graph, node: ir.Node) -> None:
    """Padding of height and width with zeros belongs to the convolution behind it, where integer kernels have it."""
    conv = sole_reader(output(node))
    pads, value = constant(argument(node, 1)), constant(argument(node, 2))
    if pads is None or argument(node, 3) is not None or text(node, "mode", "constant") != "constant" or (value is not None and value.any()):
        return
    amounts = pads.astype(np.int64)
    begin, end = np.split(amounts, 2)
    automatic = conv is not None and text(conv, "auto_pad", "NOTSET") not in ("NOTSET", "VALID")
    if conv is None or conv.op_type != "Conv" or automatic or begin[:2].any() or end[:2].any() or amounts.min() < 0:
        return
    own = ints(conv, "pads", [0] * (2 * (len(begin) - 2)))
    conv.attributes.pop("auto_pad", None)
    _write(conv, {"pads": [int(more) + less for more, less in zip([*begin[2:], *end[2:]], own, strict=True)]})
    conv.replace_input_with(0, node.inputs[0])
    graph.remove(node, safe=True)


_WEIGHTED = ("Conv", "ConvTranspose", "Gemm", "MatMul")
_REWRITES: Mapping[str, Callable[[ir.Graph, ir.Node], None]] = {
    "Conv": _conv,
    "ConvTranspose": _conv_transpose,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "ReduceMean": _reduce_mean,
    "AveragePool": _pool,
    "MaxPool": _pool,
    "Pad": _pad,
}
