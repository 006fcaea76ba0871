"""LayerNorm, RMSNorm and division by length in operators that integer kernels have.

``(x - mean) / sqrt(variance + eps)`` is a mean, a difference, the mean of its square, a table for
the reciprocal of the root, and a product; a factor and a shift for each channel follow. All but the
product have 16 bits, so that a token whose numbers hardly differ, beside others that do, keeps a
variance above zero: its step is 2**-15 of the largest variance, where 8 bits have 2**-8.
"""

from __future__ import annotations

import math
import operator
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.training.qat_transform.axes.shaped import is_constant, shape_of, shaped_call

if TYPE_CHECKING:
    from torch import fx

MIN_BITS = "min_bits"
"""In a node's ``meta``: the fewest bits that what it makes is stored in."""
WIDE = 16
_EPSILON = 1e-5


def write_norms(graph: fx.Graph, *, in_integers: bool) -> None:
    """Rewrite the norms of a graph in place.

    Args:
        graph: other norms over each sample are LayerNorms already.
        in_integers: whether LayerNorms are; else they stay, and have no integer kernel.
    """
    for node in list(graph.nodes):
        if is_constant(node):
            continue
        if node.target is F.rms_norm or (node.target is F.layer_norm and in_integers):
            with graph.inserting_before(node):
                made = _written(graph, node)
            node.replace_all_uses_with(made)
            graph.erase_node(node)


def write_unit_length(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """What F.normalize computes: a tensor over its length along an axis.

    Raises:
        UsageError: its length is not the root of a sum of squares.
    """
    if argument(node, 1, "p", 2.0) != 2:
        raise UsageError(f"{node.name} divides by another length than 2", hint="use p=2")
    epsilon = argument(node, 3, "eps", 1e-12)
    return _by_length(graph, node.args[0], argument(node, 2, "dim", 1), epsilon)


def write_cosine(graph: fx.Graph, node: fx.Node) -> fx.Node:
    """What F.cosine_similarity computes: the product of two tensors of unit length."""
    axis, epsilon = argument(node, 2, "dim", 1), argument(node, 3, "eps", 1e-8)
    one, other = (
        _by_length(graph, argument(node, at, f"x{at + 1}"), axis, epsilon) for at in (0, 1)
    )
    product = shaped_call(graph, operator.mul, one, other)
    return shaped_call(graph, torch.sum, product, (axis,))


def _by_length(graph: fx.Graph, source: Any, axis: Any, epsilon: float) -> fx.Node:
    axes = (axis,) if isinstance(axis, int) else tuple(axis)
    count = math.prod(shape_of(source)[each] for each in axes)
    mean = _inside(graph, torch.mean, _inside(graph, operator.mul, source, source), axes, True)
    kept = _inside(graph, operator.add, mean, epsilon**2 / count)
    inverse = _inside(graph, torch.rsqrt, kept)
    scaled = _inside(graph, operator.mul, inverse, count**-0.5)
    return shaped_call(graph, operator.mul, source, scaled)


def _inside(graph: fx.Graph, function: Any, *arguments: Any) -> fx.Node:
    made = shaped_call(graph, function, *arguments)
    made.meta[MIN_BITS] = WIDE
    return made


def _written(graph: fx.Graph, node: fx.Node) -> fx.Node:
    by_root = node.target is F.rms_norm
    names = ("input", "normalized_shape", "weight", *(() if by_root else ("bias",)), "eps")
    given = {name: argument(node, at, name) for at, name in enumerate(names)}
    usual = torch.finfo(torch.float32).eps if by_root else _EPSILON
    epsilon = usual if given["eps"] is None else given["eps"]
    source, rank = given["input"], len(shape_of(node))
    count = 1 if isinstance(given["normalized_shape"], int) else len(given["normalized_shape"])
    axes = tuple(range(rank - count, rank))
    inside = partial(_inside, graph)
    if not by_root:
        source = inside(operator.sub, source, inside(torch.mean, source, axes, True))
    variance = inside(torch.mean, inside(operator.mul, source, source), axes, True)
    inverse = inside(torch.rsqrt, inside(operator.add, variance, epsilon))
    made = shaped_call(graph, operator.mul, source, inverse)
    for function, constant in ((operator.mul, given["weight"]), (operator.add, given.get("bias"))):
        if constant is not None:
            made = shaped_call(graph, function, made, constant)
    return made
