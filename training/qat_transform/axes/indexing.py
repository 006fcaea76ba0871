"""Indices and permutations in the one form that files have.

Slices that keep every axis, and all axes in one tuple.
"""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import Node

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.network.rows import pick_rows
from edgeq.training.qat_transform.axes.reshaping import write_reshape
from edgeq.training.qat_transform.axes.shaped import (
    constant_value,
    is_constant,
    shape_of,
    shaped_call,
)

if TYPE_CHECKING:
    from torch import fx


def slice_and_reshape(graph: fx.Graph, node: fx.Node) -> None:
    """Write ``x[:, 0]``, ``x[..., 1:]`` and ``x[:, :, None]`` as slices and reshapes.

    How many axes there are, an example tells. What is neither, such as a part of the batch, is left
    as it is; of lists see :func:`pick_listed`.
    """
    source, index = node.args
    have, made = _shape(source), _shape(node)
    if have is None or made is None or len(made) < 2:
        return
    items = filled_up(index if isinstance(index, tuple) else (index,), len(have))
    kept = [item for item in items if item is not None]
    known = all(item is None or isinstance(item, slice) or type(item) is int for item in items)
    if not known or items[0] is None or kept[0] != slice(None):
        return
    slices = tuple(
        slice(item, item + 1 or None) if isinstance(item, int) else item for item in kept
    )
    if all(isinstance(item, slice) for item in items):
        node.args = (source, slices)
        return
    node.args = (
        _sliced(graph, node, slices, have)
        if any(each != slice(None) for each in slices)
        else source,
    )
    write_reshape(graph, node, made[1:])


def one_row_each(graph: fx.Graph, node: fx.Node) -> None:
    """Write ``table[x[:, 0]]``, one number of each sample, with the number's axis kept."""
    table, numbers, padding = node.args
    if (
        not isinstance(numbers, Node)
        or numbers.target is not operator.getitem
        or len(_shape(numbers) or (0, 0)) != 1
    ):
        return
    source, index = numbers.args
    have = _shape(source)
    slices = [
        slice(at, at + 1 or None) if isinstance(at, int) else at
        for at in (index if isinstance(index, tuple) else ())
        if isinstance(at, int | slice)
    ]
    if have is None or len(slices) != len(have):
        return
    with graph.inserting_before(node):
        rows = graph.call_function(
            pick_rows, (table, _sliced(graph, numbers, tuple(slices), have), padding)
        )
    made = node.meta["shape"]
    rows.meta["shape"] = (made[0], 1, *made[1:])
    node.args = (rows,)
    write_reshape(graph, node, made[1:])


def _shape(node: Any) -> tuple[int, ...] | None:
    return node.meta.get("shape") if hasattr(node, "meta") else None


def filled_up(items: tuple[Any, ...], rank: int) -> tuple[Any, ...]:
    """With a slice for every axis that the ellipsis, or nothing, stands for."""
    missing = (slice(None),) * (
        rank - sum(item is not None and item is not Ellipsis for item in items)
    )
    place = next((at for at, item in enumerate(items) if item is Ellipsis), len(items))
    return (*items[:place], *missing, *items[place + 1 :])


def _sliced(
    graph: fx.Graph, node: fx.Node, slices: tuple[slice, ...], have: tuple[int, ...]
) -> fx.Node:
    with graph.inserting_before(node):
        sliced = graph.call_function(operator.getitem, (node.args[0], slices))
    sliced.meta["shape"] = tuple(torch.empty(have, device="meta")[slices].shape)
    return sliced


def axes_in_one(_: fx.Graph, node: fx.Node) -> None:
    """``x.permute(0, 2, 3, 1)`` names its axes as ``torch.permute(x, (0, 2, 3, 1))`` does."""
    source, *given = node.args
    axes: Any = given if given and isinstance(given[0], int) else argument(node, 1, "dims")
    if axes[0] not in (0, -len(axes)):
        raise _moves_batch(node)
    node.args, node.kwargs = (source, tuple(axes)), {}


def two_axes_as_all(_: fx.Graph, node: fx.Node) -> None:
    """``x.transpose(1, 2)`` is a permutation, of as many axes as an example tells."""
    shape = _shape(node)
    one, other = (argument(node, place, f"dim{place - 1}") for place in (1, 2))
    if 0 in (one, other) and one != other:
        raise _moves_batch(node)
    if shape is None:
        return
    axes = list(range(len(shape)))
    axes[one], axes[other] = axes[other], axes[one]
    if axes[0]:
        raise _moves_batch(node)
    node.target, node.args, node.kwargs = torch.permute, (node.args[0], tuple(axes)), {}


def _moves_batch(node: fx.Node) -> UsageError:
    return UsageError(
        f"{node.name} moves the batch's axis",
        hint="keep the samples of a batch along the first axis, (batch, tokens, features)",
    )


def pick_listed(graph: fx.Graph, node: fx.Node) -> fx.Node | None:
    """Places along an axis by a list, or a constant tensor, are slices after each other."""
    source: Any = node.args[0]
    others: tuple[Any, ...] = ()
    if node.target is torch.index_select:
        axis, places = argument(node, 1, "dim"), argument(node, 2, "index")
        axis = axis % len(shape_of(source))
    else:
        given: Any = node.args[1]
        index = given if isinstance(given, tuple) else (given,)
        lists = [at for at, each in enumerate(index) if not isinstance(each, slice)]
        if len(lists) != 1 or not isinstance(index[lists[0]], list | Node):
            return None
        (axis,), places = lists, index[lists[0]]
        others = tuple(slice(None) if at == axis else each for at, each in enumerate(index))
    numbers = _constant_numbers(graph, places)
    if numbers is None or (axis == 0 and node.target is operator.getitem):
        return None
    if any(each != slice(None) for each in others):
        source = shaped_call(graph, operator.getitem, source, others)
    size, whole = shape_of(source)[axis], (slice(None),) * axis
    runs: list[list[int]] = []
    for place in (number % size for number in numbers):
        if runs and place == runs[-1][-1] + 1:
            runs[-1].append(place)
        else:
            runs.append([place])
    parts = [
        shaped_call(graph, operator.getitem, source, (*whole, slice(run[0], run[-1] + 1)))
        for run in runs
    ]
    return parts[0] if len(parts) == 1 else shaped_call(graph, torch.cat, parts, axis)


def _constant_numbers(graph: fx.Graph, places: Any) -> list[int] | None:
    """A list of whole numbers, or what a constant tensor of one axis holds of them."""
    if not isinstance(places, Node):
        return [int(each) for each in places]
    module = graph.owning_module
    if module is None or not is_constant(places):
        return None
    value = constant_value(module, places)
    if value.dtype == torch.bool:
        value = value.nonzero()[:, 0]
    return [int(each) for each in value] if value.ndim == 1 else None
