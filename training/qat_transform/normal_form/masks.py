"""Masks of attention, whose numbers no grid of integers holds.

A mask adds minus infinity to scores that a softmax is to leave out, or puts it in their place.
Scores and mask on one grid would leave the scores one step. A softmax gives the same for scores
that are all moved alike, so all are moved up by 20 and more, those left out far below zero, and a
ReLU ends them there. What is left out then counts for e^-20 of a score of zero, and a row for as
much as its largest score lets it: to a softmax of 8 bits that is nothing, unless all scores of a
row are below -12.
"""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.training.qat_transform.axes.shaped import constant_value, is_constant, is_trained
from edgeq.training.qat_transform.normal_form.functional_to_module import unused_path

if TYPE_CHECKING:
    from torch import fx

_LEFT_OUT = -1e4  # no score that counts is below it; half precision ends at -65,504
_RAISED = 20.0  # how far scores are moved up, before the number of places counts too
_FAR = -256.0  # where those left out are moved to; scores end long before
_MOVES = frozenset(
    (torch.reshape, torch.unsqueeze, torch.squeeze, torch.flatten, torch.unflatten, torch.permute)
)


def fill_masks(graph_module: fx.GraphModule) -> None:
    """Rewrite in place each constant mask in front of a softmax.

    Raises:
        UsageError: a mask leaves out all places of a row.
    """
    for node in list(graph_module.graph.nodes):
        found = _mask_of(graph_module, node) if node.op == "call_function" else None
        if found is not None and _only_into_softmax(node):
            _fill(graph_module, node, *found)


def _mask_of(graph_module: fx.GraphModule, node: fx.Node) -> tuple[fx.Node, Tensor] | None:
    """The scores, and what is added to them: minus infinity where they are left out."""
    if is_constant(node):
        return None
    scores: Any
    mask: Any
    where: Any
    if node.target is operator.add:
        one, other = node.args
        scores, mask = (one, other) if _is_fixed(graph_module, other) else (other, one)
        if not _is_fixed(graph_module, mask) or not isinstance(scores, torch.fx.Node):
            return None
        added = constant_value(graph_module, mask)
    elif node.target is torch.masked_fill:
        scores, where, value = (
            argument(node, at, name) for at, name in enumerate(("input", "mask", "value"))
        )
        if not _is_fixed(graph_module, where) or not isinstance(value, int | float):
            return None
        added = _chosen(constant_value(graph_module, where), float(value), 0.0)
    elif node.target is torch.where and len(node.args) == 3:
        where, one, other = node.args
        numbers = [isinstance(each, int | float) for each in (one, other)]
        if not _is_fixed(graph_module, where) or sum(numbers) != 1:
            return None
        scores = other if numbers[0] else one
        chosen = [float(each) if isinstance(each, int | float) else 0.0 for each in (one, other)]
        added = _chosen(constant_value(graph_module, where), *chosen)
    else:
        return None
    left_out = added < _LEFT_OUT
    if not bool(left_out.any()) or (node.target is not operator.add and bool(added.gt(0).any())):
        return None
    return scores, added.masked_fill(left_out, -math.inf)


def _is_fixed(graph_module: fx.GraphModule, value: Any) -> bool:
    return (
        isinstance(value, torch.fx.Node)
        and is_constant(value)
        and not is_trained(graph_module, value)
    )


def _chosen(where: Tensor, one: float, other: float) -> Tensor:
    return torch.where(where.bool(), torch.tensor(one), torch.tensor(other))


def _only_into_softmax(node: fx.Node) -> bool:
    return bool(node.users) and all(
        reader.target is torch.softmax or (reader.target in _MOVES and _only_into_softmax(reader))
        for reader in node.users
    )


def _fill(graph_module: fx.GraphModule, node: fx.Node, scores: fx.Node, added: Tensor) -> None:
    left_out = added.isinf()
    if bool(left_out.all(-1).any()):
        raise UsageError(
            f"{node.name} leaves out all places of a row, of which a softmax makes no numbers",
            hint="let the mask keep at least one place of each row",
        )
    kept = added.masked_fill(left_out, 0.0)
    raised = _RAISED + math.ceil(math.log(added.shape[-1]))
    graph = graph_module.graph
    with graph.inserting_before(node):
        if bool(kept.any()):
            scores = _sum(graph_module, node, scores, kept)
        filled = torch.where(left_out, torch.tensor(_FAR), torch.tensor(raised))
        moved = _sum(graph_module, node, scores, filled.to(added.device))
        ended = graph.call_function(torch.relu, (moved,))
        ended.meta["shape"] = node.meta.get("shape", ())
    node.replace_all_uses_with(ended)
    graph.erase_node(node)


def _sum(graph_module: fx.GraphModule, node: fx.Node, scores: fx.Node, values: Tensor) -> fx.Node:
    """What a constant is added to, inserted where the graph stands."""
    path = unused_path(graph_module, f"{node.name}_mask")
    graph_module.register_buffer(path, values, persistent=True)
    constant = graph_module.graph.get_attr(path)
    constant.meta["shape"] = tuple(values.shape)
    made = graph_module.graph.call_function(operator.add, (scores, constant))
    made.meta["shape"] = node.meta.get("shape", ())
    return made
