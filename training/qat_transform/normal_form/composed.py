"""Functions of torch that are several others after each other, as those others.

What is left knows of one product, one concatenation, one way to take a part of a tensor.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import fx
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.training.qat_transform.axes.indexing import pick_listed
from edgeq.training.qat_transform.axes.shaped import (
    constant_value,
    is_constant,
    shape_of,
    shaped_call,
)
from edgeq.training.qat_transform.normal_form.function_groups import ARITHMETIC
from edgeq.training.qat_transform.normal_form.norms import (
    MIN_BITS,
    WIDE,
    write_cosine,
    write_unit_length,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping


def write_composed(graph: fx.Graph) -> None:
    """Rewrite a graph in place.

    Raises:
        UsageError: one of them has options that have no other form; or its sizes are not known.
    """
    for node in list(graph.nodes):
        rewrite = _COMPOSED.get(node.target) if node.op == "call_function" else None
        if rewrite is None or is_constant(node):
            continue
        with graph.inserting_before(node):
            made = rewrite(graph, node)
        if made is not None:
            node.replace_all_uses_with(made)
            graph.erase_node(node)


def _stack(graph: fx.Graph, node: fx.Node) -> fx.Node:
    tensors: Any = argument(node, 0, "tensors")
    axis = argument(node, 1, "dim", 0)
    parts = [shaped_call(graph, torch.unsqueeze, each, axis) for each in tensors]
    return shaped_call(graph, torch.cat, parts, axis)


def _roll(graph: fx.Graph, node: fx.Node) -> Any:
    source: Any = node.args[0]
    shifts, axes = argument(node, 1, "shifts"), argument(node, 2, "dims")
    if axes is None:
        raise UsageError(f"{node.name} rolls over all axes at once", hint="give dims to torch.roll")
    pairs = [(shifts, axes)] if isinstance(axes, int) else zip(shifts, axes, strict=True)
    for shift, axis in pairs:
        whole = (slice(None),) * (axis % len(shape_of(source)))
        cut = -shift % shape_of(source)[axis]
        if cut:
            parts = [
                shaped_call(graph, operator.getitem, source, (*whole, part))
                for part in (slice(cut, None), slice(0, cut))
            ]
            source = shaped_call(graph, torch.cat, parts, axis)
    return source


def _repeat(graph: fx.Graph, node: fx.Node) -> Any:
    made, dims = node.args[0], argument(node, 1, "dims")
    while len(shape_of(made)) < len(dims):
        made = shaped_call(graph, torch.unsqueeze, made, 0)
    for axis, times in enumerate((1,) * (len(shape_of(made)) - len(dims)) + tuple(dims)):
        if times != 1:
            made = shaped_call(graph, torch.cat, [made] * times, axis)
    return made


def _attention(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """``softmax(q k^T / sqrt(d) + mask) v``; a mask of truths says which places count."""
    query, key, value = (
        argument(node, at, name) for at, name in enumerate(("query", "key", "value"))
    )
    mask, scale = argument(node, 3, "attn_mask"), node.kwargs.get("scale")
    if node.kwargs.get("enable_gqa"):
        raise UsageError(
            f"{node.name} asks for enable_gqa", hint="give query, key and value as many heads"
        )
    if argument(node, 5, "is_causal", False):
        size = (shape_of(query)[-2], shape_of(key)[-2])
        mask = _fixed(graph, torch.tril, _fixed(graph, torch.ones, size))
    factor = 1 / math.sqrt(shape_of(query)[-1]) if scale is None else scale
    scaled = shaped_call(graph, operator.mul, query, factor)
    turned = shaped_call(graph, torch.transpose, key, -2, -1)
    found = shaped_call(graph, torch.matmul, scaled, turned)
    if mask is not None and _holds_truths(graph, mask):
        hidden = _fixed(graph, torch.logical_not, mask)
        scores, found = found, graph.call_function(torch.masked_fill, (found, hidden, -math.inf))
        found.meta["shape"] = shape_of(scores)
    elif mask is not None:
        found = shaped_call(graph, operator.add, found, mask)
    weights = shaped_call(graph, torch.softmax, found, -1)
    return shaped_call(graph, torch.matmul, weights, value)


def _holds_truths(graph: fx.Graph, mask: fx.Node) -> bool:
    """Whether a constant mask says which places count, and not what is added."""
    module = graph.owning_module
    if not is_constant(mask) or module is None:
        return False
    return mask.target is torch.tril or constant_value(module, mask).dtype == torch.bool


def _fixed(graph: fx.Graph, function: Any, *arguments: Any) -> fx.Node:
    """A constant that is added to a graph, of the shape of the last argument."""
    node, last = graph.call_function(function, arguments), arguments[-1]
    node.meta["shape"] = shape_of(last) if isinstance(last, torch.fx.Node) else tuple(last)
    return node


def _einsum(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """A sum of products of two tensors is a product of matrices between permutations."""
    equation, *operands = node.args
    if len(operands) == 1 and isinstance(operands[0], tuple | list):
        operands = list(operands[0])
    names, _, out = str(equation).replace(" ", "").partition("->")
    terms = names.split(",")
    letters = [set(term) for term in (*terms, out)]
    plain = len(operands) == 2 == len(terms) and all(
        len(term) == len(found) for term, found in zip((*terms, out), letters, strict=True)
    )
    if not plain or not letters[0] ^ letters[1] <= letters[2] <= letters[0] | letters[1]:
        raise UsageError(
            f"{node.name} is an einsum of {equation!r}",
            hint="write it with torch.matmul, permute and sum; einsum of two tensors is understood",
        )
    for at, (term, operand) in enumerate(zip(terms, operands, strict=True)):
        fixed = isinstance(operand, fx.Node) and is_constant(operand)
        if fixed and terms[1 - at][0] not in term:  # the samples of the other
            terms[at] = terms[1 - at][0] + term
            operands[at] = shaped_call(graph, torch.unsqueeze, operand, 0)
            letters[at] = set(terms[at])
    both = [name for name in out if name in letters[0] & letters[1]]
    summed = [name for name in terms[0] if name in letters[1] and name not in letters[2]]
    free = [[name for name in term if name not in letters[1 - at]] for at, term in enumerate(terms)]
    sizes = [
        dict(zip(term, shape_of(operand), strict=True))
        for term, operand in zip(terms, operands, strict=True)
    ]
    size = {name: max(each.get(name, 1) for each in sizes) for name in names if name != ","}

    def matrix(at: int, groups: list[list[str]]) -> fx.Node:
        order = [name for group in groups for name in group]
        turned = shaped_call(
            graph, torch.permute, operands[at], tuple(terms[at].index(name) for name in order)
        )
        sides = [math.prod(size[name] for name in group) for group in groups[1:]]
        return shaped_call(
            graph, torch.reshape, turned, (*(sizes[at][name] for name in both), *sides)
        )

    product = shaped_call(
        graph, torch.matmul, matrix(0, [both, free[0], summed]), matrix(1, [both, summed, free[1]])
    )
    made = [*both, *free[0], *free[1]]
    apart = shaped_call(graph, torch.reshape, product, tuple(size[name] for name in made))
    return shaped_call(graph, torch.permute, apart, tuple(made.index(name) for name in out))


def _expand(graph: fx.Graph, node: fx.Node) -> Any:
    """Arithmetic repeats numbers along an axis by itself; others are given copies."""
    source: Any = node.args[0]
    wanted, readers = shape_of(node), list(node.users)
    if len(wanted) == len(shape_of(source)) and all(each.target in ARITHMETIC for each in readers):
        return source
    have = (1,) * (len(wanted) - len(shape_of(source))) + shape_of(source)
    made = source if have == shape_of(source) else shaped_call(graph, torch.reshape, source, have)
    for axis, (old, new) in enumerate(zip(have, wanted, strict=True)):
        if old != new:
            made = shaped_call(graph, torch.cat, [made] * new, axis)
    return made


def _concat(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Constants before and behind activations are added to what is padded with zeros."""
    tensors: Any = argument(node, 0, "tensors")
    fixed = [is_constant(each) for each in tensors]
    if not any(fixed):
        return None
    first, last = fixed.index(False), len(fixed) - fixed[::-1].index(False)
    if any(fixed[first:last]):
        raise UsageError(
            f"{node.name} joins a constant between two activations",
            hint="place constants before or behind all activations",
        )
    axis = argument(node, 1, "dim", 0)
    rank, whole = len(shape_of(node)), shape_of(node)[axis]
    ends = [0] * (2 * (rank - 1 - axis % rank))

    def padded(value: Any, start: int) -> fx.Node:
        after = whole - start - shape_of(value)[axis]
        return shaped_call(graph, F.pad, value, [*ends, start, after])

    def in_one(some: Any) -> Any:
        return some[0] if len(some) == 1 else shaped_call(graph, torch.cat, list(some), axis)

    start = sum(shape_of(each)[axis] for each in tensors[:first])
    made = padded(in_one(tensors[first:last]), start)
    constants = []
    if first:
        constants.append(padded(in_one(tensors[:first]), 0))
    if last < len(fixed):
        value = in_one(tensors[last:])
        constants.append(padded(value, whole - shape_of(value)[axis]))
    value = constants[0]
    for each in constants[1:]:
        value = shaped_call(graph, operator.add, value, each)
    return shaped_call(graph, operator.add, made, value)


def _pad(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Padding with a number is padding with zeros, and a sum with what is that number there."""
    fill = argument(node, 3, "value")
    if argument(node, 2, "mode", "constant") != "constant" or not fill:
        return None
    source, pads = node.args[0], argument(node, 1, "pad")
    made = shaped_call(graph, F.pad, source, pads)
    zeros = graph.call_function(torch.zeros, ((1, *shape_of(source)[1:]),))
    zeros.meta["shape"] = (1, *shape_of(source)[1:])
    frame = graph.call_function(F.pad, (zeros, pads, "constant", fill))
    frame.meta["shape"] = (1, *shape_of(node)[1:])
    return shaped_call(graph, operator.add, made, frame)


def _divide(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """A quotient of two tensors is the product with a reciprocal; with a number it is left."""
    one, other = node.args
    if not isinstance(other, fx.Node) or is_constant(other):
        return None
    inverse = shaped_call(graph, torch.reciprocal, other)
    inverse.meta[MIN_BITS] = WIDE  # most of its range belongs to the smallest divisors
    return shaped_call(graph, operator.mul, one, inverse)


def _power(_: fx.Graph, node: fx.Node) -> fx.Node | None:
    exponent = argument(node, 1, "exponent")
    if not isinstance(exponent, int | float):
        raise UsageError(
            f"{node.name} raises to a power that the network computes",
            hint="use a number as exponent",
        )
    node.target, node.args, node.kwargs = torch.pow, (node.args[0], exponent), {}
    return None


def _largest(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """``x.max(dim)[0]`` is ``amax``; a maximum of two tensors is left."""
    axis, keep = argument(node, 1, "dim"), argument(node, 2, "keepdim", False)
    if not isinstance(axis, int):
        return None
    made = shaped_call(graph, torch.amax, node.args[0], (axis,), bool(keep))
    for reader in list(node.users):
        if not reader.users:
            graph.erase_node(reader)
            continue
        first = reader.target is operator.getitem and reader.args[1] == 0
        named = reader.target is getattr and reader.args[1] == "values"
        if not first and not named:
            raise UsageError(
                f"{node.name} asks where a maximum is",
                hint="leave it to what reads the network's output; use x.amax(dim)",
            )
        reader.replace_all_uses_with(made)
        graph.erase_node(reader)
    return made


def _smallest(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """``amin`` is the opposite of the largest opposite; so is ``x.min(dim)[0]``."""
    if node.target is torch.min and not isinstance(argument(node, 1, "dim"), int):
        return None
    node.args = (shaped_call(graph, torch.neg, node.args[0]), *node.args[1:])
    if node.target is torch.min:
        node.target = torch.max
        readers = [each for each in node.users if each.users]
    else:
        node.target, readers = torch.amax, [node]
    for made in readers:
        users = list(made.users)
        with graph.inserting_after(made):
            turned = graph.call_function(torch.neg, (made,))
        turned.meta["shape"] = shape_of(made)
        for user in users:
            user.replace_input_with(made, turned)
    return _largest(graph, node) if node.target is torch.max else None


def _length(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """A norm along axes: the root of a sum of squares, or a sum of magnitudes."""
    names = ("ord", "dim", "keepdim") if node.target is torch.linalg.vector_norm else ("p", "dim")
    order, axes = (argument(node, at, name) for at, name in enumerate(names[:2], 1))
    keep = bool(argument(node, 3, "keepdim", False))
    if axes is None or order not in (None, "fro", 1, 2):
        raise UsageError(
            f"{node.name} is a norm of order {order} over {'all axes' if axes is None else axes}",
            hint="name the axes, and use a norm of order 1 or 2",
        )
    each: Any = node.args[0]
    if order == 1:
        return shaped_call(graph, torch.sum, shaped_call(graph, torch.abs, each), axes, keep)
    total = shaped_call(graph, torch.sum, shaped_call(graph, torch.pow, each, 2), axes, keep)
    return shaped_call(graph, torch.sqrt, total)


def _bent(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """A PReLU with a slope for each channel: the positive part, and the rest by its slope."""
    source, slopes = argument(node, 0, "input"), argument(node, 1, "weight")
    positive = shaped_call(graph, torch.relu, source)
    rest = shaped_call(graph, operator.sub, source, positive)
    lying = (1, -1, *[1] * (len(shape_of(source)) - 2))
    along = shaped_call(graph, torch.reshape, slopes, lying)
    return shaped_call(graph, operator.add, positive, shaped_call(graph, operator.mul, rest, along))


def _gated(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """One half, times the sigmoid of the other."""
    source: Any = node.args[0]
    axis = argument(node, 1, "dim", -1) % len(shape_of(source))
    half, whole = shape_of(source)[axis] // 2, (slice(None),) * axis
    one, other = (
        shaped_call(graph, operator.getitem, source, (*whole, part))
        for part in (slice(0, half), slice(half, None))
    )
    return shaped_call(graph, operator.mul, one, shaped_call(graph, torch.sigmoid, other))


def _group_norm(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """The LayerNorm of each group, and a factor and a shift for each channel."""
    names = ("input", "num_groups", "weight", "bias", "eps")
    source, groups, weight, bias, eps = (argument(node, at, name) for at, name in enumerate(names))
    shape = shape_of(source)
    apart = shaped_call(graph, torch.reshape, source, (shape[0], groups, -1))
    size = shape_of(apart)[-1:]
    normed = shaped_call(graph, F.layer_norm, apart, size, None, None, 1e-5 if eps is None else eps)
    made = shaped_call(graph, torch.reshape, normed, shape)
    for function, constant in ((operator.mul, weight), (operator.add, bias)):
        if constant is not None:
            lying = (1, shape[1], *[1] * (len(shape) - 2))
            along = shaped_call(graph, torch.reshape, constant, lying)
            made = shaped_call(graph, function, made, along)
    return made


def _instance_norm(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """A GroupNorm with one channel in each group."""
    names = ("input", "running_mean", "running_var", "weight", "bias", "use_input_stats")
    source, mean, variance, weight, bias, own = (
        argument(node, at, name) for at, name in enumerate(names)
    )
    if mean is not None or variance is not None or own is False:
        raise UsageError(
            f"{node.name} normalises by running statistics",
            hint="use the statistics of the input, or a BatchNorm",
        )
    eps = argument(node, 7, "eps", 1e-5)
    node.args, node.kwargs = (source, shape_of(source)[1], weight, bias, eps), {}
    return _group_norm(graph, node)


def _unshuffle(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """Blocks of pixels become channels."""
    block = argument(node, 1, "downscale_factor")
    batch, channels, height, width = shape_of(node.args[0])
    apart = shaped_call(
        graph,
        torch.reshape,
        node.args[0],
        (batch, channels, height // block, block, width // block, block),
    )
    moved = shaped_call(graph, torch.permute, apart, (0, 1, 3, 5, 2, 4))
    return shaped_call(graph, torch.reshape, moved, (batch, -1, height // block, width // block))


def _shuffle_channels(graph: fx.Graph, node: fx.Node) -> fx.Node:
    groups = argument(node, 1, "groups")
    batch, channels, *sizes = shape_of(node.args[0])
    apart = shaped_call(
        graph, torch.reshape, node.args[0], (batch, groups, channels // groups, *sizes)
    )
    turned = shaped_call(graph, torch.transpose, apart, 1, 2)
    return shaped_call(graph, torch.reshape, turned, (batch, channels, *sizes))


def _moved(graph: fx.Graph, node: fx.Node) -> fx.Node:
    source: Any = node.args[0]
    rank = len(shape_of(source))
    given = [argument(node, at, name) for at, name in enumerate(("source", "destination"), 1)]
    one, other = ([each] if isinstance(each, int) else list(each) for each in given)
    order = [axis for axis in range(rank) if axis not in {each % rank for each in one}]
    for place, axis in sorted(zip((each % rank for each in other), one, strict=True)):
        order.insert(place, axis % rank)
    return shaped_call(graph, torch.permute, source, tuple(order))


def _turned(graph: fx.Graph, node: fx.Node) -> fx.Node:
    return shaped_call(graph, torch.transpose, node.args[0], 0, 1)


def _attribute(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """``x.T`` and ``x.mT``."""
    if node.args[1] not in ("T", "mT"):
        return None
    return shaped_call(graph, torch.transpose, node.args[0], -2, -1)


_COMPOSED: Mapping[Any, Callable[[fx.Graph, fx.Node], fx.Node | None]] = {
    torch.stack: _stack,
    torch.roll: _roll,
    torch.tile: _repeat,
    torch.broadcast_to: _expand,
    torch.cat: _concat,
    F.pad: _pad,
    F.scaled_dot_product_attention: _attention,
    torch.einsum: _einsum,
    operator.truediv: _divide,
    operator.pow: _power,
    torch.pow: _power,
    torch.max: _largest,
    torch.min: _smallest,
    operator.getitem: pick_listed,
    torch.index_select: pick_listed,
    torch.prelu: _bent,
    torch.amin: _smallest,
    torch.norm: _length,
    torch.linalg.norm: _length,
    torch.linalg.vector_norm: _length,
    F.glu: _gated,
    F.group_norm: _group_norm,
    F.instance_norm: _instance_norm,
    F.normalize: write_unit_length,
    F.cosine_similarity: write_cosine,
    F.pixel_unshuffle: _unshuffle,
    F.channel_shuffle: _shuffle_channels,
    torch.movedim: _moved,
    torch.t: _turned,
    getattr: _attribute,
}
