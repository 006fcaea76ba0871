"""Tensors that are divided, as slices: ``chunk``, ``split``, ``unbind``, ``select``, ``narrow``."""

from __future__ import annotations

import itertools
import operator
from typing import TYPE_CHECKING, Any

import torch

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.training.qat_transform.axes.shaped import shaped_call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import fx


def _split(node: fx.Node) -> None:
    """Its parts become slices; how large a given number of equal parts is, an example tells."""
    axis = argument(node, 2, "dim", 0)
    starts = _starts(node, axis)
    if starts is None:
        raise UsageError(
            f"{node.name} divides a tensor of unknown size",
            hint="give an example of the input to edgeq.quantize",
        )
    parts = [slice(start, end) for start, end in itertools.pairwise(starts)]
    _take(node, axis, parts)


def _starts(node: fx.Node, axis: Any) -> list[int] | None:
    """Where the parts of a division begin, and where the last one ends."""
    size = _size(node.args[0], axis)
    sections = argument(
        node, 1, "split_size_or_sections", node.kwargs.get("split_size", node.kwargs.get("chunks"))
    )
    if isinstance(sections, tuple | list):
        return [sum(sections[:part]) for part in range(len(sections) + 1)]
    if size is None or not isinstance(sections, int):
        return None
    step = -(-size // sections) if node.target is torch.chunk else sections
    return [*range(0, size, step), size]


def _tensor_split(node: fx.Node) -> None:
    """As numpy divides: by where to cut, or into so many parts, of which the first are larger."""
    axis, size = argument(node, 2, "dim", 0), _size(node.args[0], argument(node, 2, "dim", 0))
    cuts = argument(node, 1, "indices_or_sections", node.kwargs.get("sections"))
    if size is None:
        raise UsageError(
            f"{node.name} divides a tensor of unknown size",
            hint="give an example of the input to edgeq.quantize",
        )
    if isinstance(cuts, int):
        sizes = [size // cuts + (part < size % cuts) for part in range(cuts)]
        cuts = [sum(sizes[:part]) for part in range(1, cuts)]
    ends = [0, *cuts, size]
    _take(node, axis, [slice(a, b) for a, b in itertools.pairwise(ends)])


def _unbind(node: fx.Node) -> None:
    axis = argument(node, 1, "dim", 0)
    size = _size(node.args[0], axis)
    _take(node, axis, list(range(size)) if size is not None else None)


def _take(node: fx.Node, axis: Any, parts: list[Any] | None) -> None:
    """Let each reader of a part take it from the whole."""
    _take_of(node.args[0], node, axis, parts)


def _take_of(source: Any, taken: fx.Node, axis: Any, parts: list[Any] | None) -> None:
    for reader in list(taken.users):
        at: Any = reader.args[1] if reader.target is operator.getitem else None
        if isinstance(at, slice) and parts is not None:
            _take_of(source, reader, axis, parts[at])
        elif isinstance(at, int):
            reader.args = (source, _index(source, axis, parts[at] if parts else at))
        elif reader.target in (torch.cat, torch.stack) and parts is not None:
            with reader.graph.inserting_before(reader):
                taken_apart = [
                    shaped_call(reader.graph, operator.getitem, source, _index(source, axis, part))
                    for part in parts
                ]
            reader.args = (taken_apart, *reader.args[1:])
        else:
            raise UsageError(
                f"{taken.name} divides a tensor, and not all parts are taken by number",
                hint="write a, b = x.chunk(2, 1)",
            )


def _index(source: Any, axis: int, item: Any) -> tuple[Any, ...]:
    where = axis if axis >= 0 else len(source.meta["shape"]) + axis
    return (*[slice(None)] * where, item)


def _select(node: fx.Node) -> None:
    index = _index(node.args[0], argument(node, 1, "dim"), argument(node, 2, "index"))
    node.target, node.args, node.kwargs = operator.getitem, (node.args[0], index), {}


def _narrow(node: fx.Node) -> None:
    start, length = argument(node, 2, "start"), argument(node, 3, "length")
    index = _index(node.args[0], argument(node, 1, "dim"), slice(start, start + length))
    node.target, node.args, node.kwargs = operator.getitem, (node.args[0], index), {}


def _size(source: Any, axis: Any) -> int | None:
    shape = source.meta.get("shape") if hasattr(source, "meta") else None
    return None if shape is None or not isinstance(axis, int) else int(shape[axis])


DIVISIONS: Mapping[Any, Callable[[fx.Node], None]] = {
    torch.split: _split,
    torch.chunk: _split,
    torch.tensor_split: _tensor_split,
    torch.unbind: _unbind,
    torch.select: _select,
    torch.narrow: _narrow,
}
"""How each becomes slices, in place."""
