"""A float graph that is being rewritten.

Nodes and constants are added under new names and remember what they were made from.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import inherit, name_of, output
from edgeq.formats.graph_editor import GraphEditor

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Attributes = Mapping[str, int | float | str | list[int] | list[float]]

_OURS = "edgeq.ours"  # a key of what onnx_ir remembers of a value while it is in memory


class Draft(GraphEditor):
    """The editor of a float graph."""

    def add(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        instead_of: ir.Node,
        what: str,
        *,
        shape: Sequence[int | None] | None = None,
        attributes: Attributes | None = None,
    ) -> ir.Value:
        """Put a node in front of the node that it helps to rewrite; see :meth:`add_node`."""
        node = self.add_node(op_type, inputs, instead_of, what, shape=shape, attributes=attributes)
        return output(node)

    def add_node(
        self,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        instead_of: ir.Node,
        what: str,
        *,
        shape: Sequence[int | None] | None = None,
        attributes: Attributes | None = None,
    ) -> ir.Node:
        """Put a node of one float output in front of the node that it helps to rewrite.

        Args:
            op_type: the operator.
            inputs: what it reads.
            instead_of: the node of the file that is being rewritten.
            what: what the result is, put behind the name of what that node makes.
            shape: of the result; None for a dimension that varies. Without it the result has the
                shape of the node's.
            attributes: its attributes.
        """
        made = output(instead_of)
        node = self.node(
            op_type,
            inputs,
            f"{name_of(made)}_{what}",
            ir.convenience.convert_attributes(dict(attributes or {})),
        )
        inherit(node, instead_of)
        result = output(node)
        result.meta[_OURS] = True
        result.type = ir.TensorType(ir.DataType.FLOAT)
        result.shape = made.shape if shape is None else _shape(shape, made)
        self.graph.insert_before(instead_of, node)
        return node

    def numbers(
        self, instead_of: ir.Node, what: str, values: Sequence[int] | NDArray[np.int64]
    ) -> ir.Value:
        """A constant list of whole numbers, called as in :meth:`add`."""
        return self.constant(f"{name_of(output(instead_of))}_{what}", np.asarray(values, np.int64))

    def reals(self, instead_of: ir.Node, what: str, values: NDArray[np.floating]) -> ir.Value:
        """A constant of float32, called as in :meth:`add`."""
        return self.constant(f"{name_of(output(instead_of))}_{what}", values.astype(np.float32))

    def finish(self, node: ir.Node, result: ir.Value) -> None:
        """Replace the output of a node by another value, under its name, and remove the node."""
        self.take_over(output(node), result)
        self.graph.remove(node, safe=True)

    def take_over(self, old: ir.Value, new: ir.Value) -> None:
        """Replace a value by another for all readers.

        The new one takes its name if the old one is an output of the graph or the new one is ours.
        """
        renames = old.is_graph_output() or _OURS in new.meta
        old.replace_all_uses_with(new, replace_graph_outputs=True)
        if renames:
            old.name, new.name = new.name, old.name
        if new.shape is None:
            new.shape = old.shape

    def can_stand_for(self, old: ir.Value, new: ir.Value) -> bool:
        """Whether :meth:`take_over` is possible.

        An output of the graph has a node that makes it, and a name of its own.
        """
        return not old.is_graph_output() or (
            new.producer() is not None and not new.is_graph_output()
        )

    def set_constant(
        self, node: ir.Node, index: int, wanted: str, array: NDArray[np.generic]
    ) -> None:
        """Give a node a constant of its own as one of its inputs.

        One that it was given before changes its content.
        """
        old = node.inputs[index] if index < len(node.inputs) else None
        if old is not None and _OURS in old.meta and len(old.uses()) == 1:
            old.const_value = ir.tensor(np.ascontiguousarray(array), name=old.name)
            old.type, old.shape = ir.TensorType(old.const_value.dtype), ir.Shape(array.shape)
            return
        value = self.constant(wanted, array)
        value.meta[_OURS] = True
        if index >= len(node.inputs):
            node.resize_inputs(index + 1)
        node.replace_input_with(index, value)

    def reshape(
        self, source: ir.Value, shape: Sequence[int | None], instead_of: ir.Node, what: str
    ) -> ir.Value:
        """The values of a tensor in another shape, of which at most one dimension varies."""
        before = source.shape or ()
        sizes = [
            size
            if size is not None
            else 0
            if axis < len(before) and not isinstance(before[axis], int)
            else -1
            for axis, size in enumerate(shape)
        ]
        return self.add(
            "Reshape",
            [source, self.numbers(instead_of, f"{what}_shape", sizes)],
            instead_of,
            what,
            shape=shape,
        )


def _shape(sizes: Sequence[int | None], like: ir.Value) -> ir.Shape:
    """With the name of the batch of another value for what varies."""
    varying = next(
        (size for size in like.shape or () if not isinstance(size, int)), ir.SymbolicDim(None)
    )
    return ir.Shape([varying if size is None else size for size in sizes])
