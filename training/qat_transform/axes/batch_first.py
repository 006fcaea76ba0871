"""Keeps the batch's axis in front, where a network moves it about or merges it with others.

Attention takes three projections apart along an axis that it has put before the batch's; windows
and patches of an image become samples of their own. The same numbers are computed here with the
batch always first: a tensor whose axis ``axis`` is ``before * batch * after`` places is held as
(batch, the other axes in order, with ``before`` and ``after`` in the place of ``axis``).
"""

from __future__ import annotations

import math
import operator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import fx, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.calls import argument
from edgeq.network.rows import pick_rows
from edgeq.numerics.functions import function_name
from edgeq.training.qat_transform.axes.indexing import filled_up
from edgeq.training.qat_transform.axes.shaped import is_constant, shaped_call

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_RESHAPES = (torch.reshape, torch.flatten, torch.unflatten, torch.squeeze, torch.unsqueeze)
_ELEMENTWISE = (operator.add, operator.sub, operator.mul, operator.truediv, F.dropout)
_BROADCASTING = (*_ELEMENTWISE[:4], torch.matmul)
_LAST_AXIS = (F.linear, F.layer_norm)
_MODULES = nn.Linear | nn.LayerNorm | nn.Dropout | nn.Identity


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the batch is in a tensor as the network sees it.

    Attributes:
        axis: the axis that it is a part of.
        before: places of that axis that are counted slower than the batch.
        after: places that are counted faster.
    """

    axis: int = 0
    before: int = 1
    after: int = 1

    def axes(self, rank: int) -> list[Any]:
        """What the axes of the tensor hold behind the batch's: an axis of the network's, or a part.

        Args:
            rank: of the tensor as the network sees it.
        """
        parts = ["before"] * (self.before > 1) + ["after"] * (self.after > 1)
        return [*range(self.axis), *parts, *range(self.axis + 1, rank)]


_FIRST = _Layout()


def keep_batch_first(graph_module: fx.GraphModule, batch: int) -> None:
    """Rewrite a graph in place, as far as an example has told the sizes of its tensors.

    Args:
        graph_module: methods are functions already, and divisions slices.
        batch: how many samples the example had.

    Raises:
        UsageError: an operator mixes samples, or computes with a batch that is not in front.
    """
    _Mover(graph_module, batch).run()


class _Mover:
    def __init__(self, graph_module: fx.GraphModule, batch: int) -> None:
        self.graph_module, self.graph, self.batch = graph_module, graph_module.graph, batch
        self.layouts: dict[fx.Node, _Layout] = {}  # of what is not as the network sees it
        self.shapes: dict[fx.Node, tuple[int, ...]] = {}  # as the network sees it

    def run(self) -> None:
        for node in list(self.graph.nodes):
            if node.op == "output":
                self._require_first(node)
            elif node.op.startswith("call_") and "shape" in node.meta and not is_constant(node):
                self._visit(node)

    def _visit(self, node: fx.Node) -> None:
        moved = any(source in self.layouts for source in node.all_input_nodes)
        if node.target in (torch.permute, torch.transpose):
            self._permute(node)
        elif node.target in _RESHAPES:
            self._reshape(node)
        elif moved:
            with self.graph.inserting_before(node):
                self._compute(node)
        elif node.target in _BROADCASTING and node.meta["shape"][:1] != (self.batch,):
            raise UsageError(
                f"{node.name} puts an axis before the batch's",
                hint="give constants at most as many axes as what they are combined with has",
            )

    def _layout(self, node: Any) -> _Layout:
        return self.layouts.get(node, _FIRST)

    def _shape(self, node: Any) -> tuple[int, ...]:
        found: tuple[int, ...] = self.shapes.get(node) or node.meta["shape"]
        return found

    def _becomes(self, node: fx.Node, function: Any, layout: _Layout, *arguments: Any) -> None:
        """Let a node compute something else, held in a layout."""
        self.shapes[node] = self._shape(node)
        made = shaped_call(self.graph, function, *arguments)
        node.op, node.target, node.args, node.kwargs = "call_function", function, arguments, {}
        node.meta["shape"] = made.meta["shape"]
        self.graph.erase_node(made)
        if layout != _FIRST:
            self.layouts[node] = layout

    # -- what moves the batch ----------------------------------------------------------------------

    def _permute(self, node: fx.Node) -> None:
        source: Any = node.args[0]
        before, rank = self._layout(source), len(self._shape(source))
        order = _order(node, rank)
        after = _Layout(order.index(before.axis), before.before, before.after)
        if before == after == _FIRST:
            return
        held = before.axes(rank)
        wanted = [at if isinstance(at, str) else order[at] for at in after.axes(rank)]
        with self.graph.inserting_before(node):
            axes = (0, *(1 + held.index(each) for each in wanted))
            self._becomes(node, torch.permute, after, source, axes)

    def _reshape(self, node: fx.Node) -> None:
        source: Any = node.args[0]
        before, have, made = self._layout(source), self._shape(source), self._shape(node)
        if before == _FIRST and made[:1] == have[:1]:
            return
        slower = math.prod(have[: before.axis]) * before.before
        after = self._found(node, slower, made)
        sizes = {"before": after.before, "after": after.after}
        target = (self.batch, *(sizes.get(each) or made[each] for each in after.axes(len(made))))
        with self.graph.inserting_before(node):
            self._becomes(node, torch.reshape, after, source, target)

    def _found(self, node: fx.Node, slower: int, made: tuple[int, ...]) -> _Layout:
        """Where the batch is in a new shape, when so many places are counted slower than it."""
        for axis, size in enumerate(made):
            outside = math.prod(made[:axis])
            before = slower // outside
            if slower % outside == 0 and size % (before * self.batch) == 0 and before:
                return _Layout(axis, before, size // (before * self.batch))
        raise UsageError(
            f"{node.name} reshapes in a way that may mix samples",
            hint="keep what belongs to a sample together: x.flatten(1), x.reshape(x.shape[0], -1)",
        )

    # -- what computes with a tensor whose batch has moved -----------------------------------------

    def _compute(self, node: fx.Node) -> None:
        target: Any = node.target
        module = self.graph_module.get_submodule(target) if node.op == "call_module" else None
        rewrite = _REWRITES.get(target)
        if rewrite is not None:
            rewrite(self, node)
        elif isinstance(module, _MODULES) or target in _LAST_AXIS:
            self._on_last_axis(node)
        elif (
            target in _ELEMENTWISE
            or function_name(target if module is None else module) is not None
        ):
            self._same(node)
        else:
            self._require_first(node)

    def _require_first(self, node: fx.Node) -> None:
        moved = [source for source in node.all_input_nodes if source in self.layouts]
        if moved:
            raise UsageError(
                f"{moved[0].name} moves the batch's axis, and {node.name} computes with that",
                hint="keep the samples of a batch along the first axis, (batch, tokens, features)",
            )

    def _keeps(self, node: fx.Node, layout: _Layout) -> None:
        """Note that a node is held in a layout, and of what shape that makes it."""
        self.shapes[node] = logical = self._shape(node)
        sizes = {"before": layout.before, "after": layout.after}
        places = layout.axes(len(logical))
        node.meta["shape"] = (self.batch, *(sizes.get(each) or logical[each] for each in places))
        self.layouts[node] = layout

    def _common(self, node: fx.Node) -> _Layout:
        """The one layout of all activations that a node reads, aligned by their last axes."""
        read = [each for each in node.all_input_nodes if not is_constant(each)]
        rank = len(self._shape(node))
        found = {
            _Layout(held.axis + rank - len(self._shape(each)), held.before, held.after)
            for each in read
            for held in (self._layout(each),)
        }
        if len(found) > 1 or any(len(self._shape(each)) != rank for each in read):
            self._require_first(node)
        return found.pop()

    def _same(self, node: fx.Node) -> None:
        """Numbers for themselves: constants get an axis for each part of the batch's axis."""
        layout = self._common(node)
        rank = len(self._shape(node))
        for each in node.all_input_nodes:
            if is_constant(each):
                node.replace_input_with(each, self._aligned(node, each, layout, rank))
        self._keeps(node, layout)

    def _aligned(self, node: fx.Node, constant: fx.Node, layout: _Layout, rank: int) -> fx.Node:
        """A constant so that its axes stand below those of a tensor in a layout."""
        value: tuple[int, ...] = constant.meta.get("shape") or _value_shape(
            self.graph_module, constant
        )
        padded = (1,) * (rank - len(value)) + tuple(value)
        if padded[layout.axis] != 1:
            self._require_first(node)
        if len(value) < rank - layout.axis:
            return constant
        sizes = tuple(1 if isinstance(at, str) else padded[at] for at in layout.axes(rank))
        return self.graph.call_function(torch.reshape, (constant, (1, *sizes)))

    def _on_last_axis(self, node: fx.Node) -> None:
        source: Any = node.args[0]
        layout = self._layout(source)
        if layout.axis == len(self._shape(source)) - 1:
            self._require_first(node)
        self._keeps(node, layout)

    def _multiply(self, node: fx.Node) -> None:
        if self._common(node).axis >= len(self._shape(node)) - 2:
            self._require_first(node)
        self._same(node)

    def _place(self, node: fx.Node, source: Any, axis: Any) -> int:
        """Where an axis of the network's is held."""
        rank, layout = len(self._shape(source)), self._layout(source)
        if not isinstance(axis, int) or axis % rank == layout.axis:
            self._require_first(node)
        return 1 + layout.axes(rank).index(axis % rank)

    def _pick(self, node: fx.Node) -> None:
        self._keeps(node, self._layout(node.args[1]))

    def _along_axis(self, node: fx.Node) -> None:
        source: Any = node.args[0]
        axis = self._place(node, source, argument(node, 1, "dim"))
        node.args, node.kwargs = (source, axis), {}
        self._keeps(node, self._layout(source))

    def _concat(self, node: fx.Node) -> None:
        tensors: Any = argument(node, 0, "tensors")
        layout = self._common(node)
        axis = self._place(node, tensors[0], argument(node, 1, "dim", 0))
        node.args, node.kwargs = (tensors, axis), {}
        self._keeps(node, layout)

    def _reduce(self, node: fx.Node) -> None:
        source: Any = node.args[0]
        axes, keep = argument(node, 1, "dim"), bool(argument(node, 2, "keepdim", False))
        given = axes if isinstance(axes, tuple | list) else (axes,)
        held, layout = [self._place(node, source, axis) for axis in given], self._layout(source)
        rank = len(self._shape(source))
        gone = 0 if keep else sum(axis % rank < layout.axis for axis in given)
        node.args, node.kwargs = (source, tuple(held), keep), {}
        self._keeps(node, _Layout(layout.axis - gone, layout.before, layout.after))

    def _index(self, node: fx.Node) -> None:
        source, index = node.args
        layout, rank = self._layout(source), len(self._shape(source))
        items = filled_up(index if isinstance(index, tuple) else (index,), rank)
        held: list[Any] = [slice(None)]
        axis = made = 0  # of the tensor read, and of the one made
        after = 0
        for item in items:
            if item is None:
                held.append(None)
                made += 1
                continue
            if axis == layout.axis:
                if item != slice(None):
                    self._require_first(node)
                held += [item] * ((layout.before > 1) + (layout.after > 1))
                after = made
            else:
                held.append(item)
            made += not isinstance(item, int)
            axis += 1
        self._becomes(
            node,
            operator.getitem,
            _Layout(after, layout.before, layout.after),
            source,
            tuple(held),
        )

    def _pad(self, node: fx.Node) -> None:
        source: Any = node.args[0]
        pads: Any = argument(node, 1, "pad")
        layout, rank = self._layout(source), len(self._shape(source))
        if rank - len(pads) // 2 <= layout.axis:
            self._require_first(node)
        self._keeps(node, layout)


def _order(node: fx.Node, rank: int) -> list[int]:
    """The axes of a permutation, none negative."""
    if node.target is torch.transpose:
        order = list(range(rank))
        one, other = (argument(node, place, f"dim{place - 1}") % rank for place in (1, 2))
        order[one], order[other] = other, one
        return order
    _, *given = node.args
    axes: Any = given if given and isinstance(given[0], int) else argument(node, 1, "dims")
    return [axis % rank for axis in axes]


def _value_shape(graph_module: fx.GraphModule, node: fx.Node) -> tuple[int, ...]:
    shape: tuple[int, ...] = operator.attrgetter(str(node.target))(graph_module).shape
    return shape


_REWRITES: Mapping[Any, Callable[[_Mover, fx.Node], None]] = {
    torch.matmul: _Mover._multiply,
    torch.softmax: _Mover._along_axis,
    torch.log_softmax: _Mover._along_axis,
    torch.cat: _Mover._concat,
    torch.mean: _Mover._reduce,
    torch.sum: _Mover._reduce,
    torch.amax: _Mover._reduce,
    operator.getitem: _Mover._index,
    F.pad: _Mover._pad,
    pick_rows: _Mover._pick,
}
