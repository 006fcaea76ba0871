"""Adds names and constants to a graph without using a name twice.

The names in a model are its user's: a tensor may well be called as a rewrite would call one of its
own. Whatever makes new values, nodes or initialisers asks here, and gets the name it wants or that
name with a number behind it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable

    from numpy.typing import NDArray


class Names:
    """A set of names that grows by each name that is given out."""

    def __init__(self, taken: Iterable[str | None] = ()) -> None:
        self._taken = {name for name in taken if name}

    def fresh(self, wanted: str) -> str:
        """``wanted``, or with the smallest number from 2 behind it that makes it new.

        It is taken from now on.
        """
        name, number = wanted, 1
        while name in self._taken:
            number += 1
            name = f"{wanted}_{number}"
        self._taken.add(name)
        return name

    def __contains__(self, name: str) -> bool:
        return name in self._taken


class GraphEditor:
    """Adds to a graph under names that nothing in it has.

    Attributes:
        graph: the graph. What is renamed or removed without the editor keeps its old name taken.
        values: the names of its inputs, initialisers and results.
        nodes: the names of its nodes.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.graph = graph
        made = (value.name for node in graph for value in node.outputs)
        self.values = Names([*(value.name for value in graph.inputs), *graph.initializers, *made])
        self.nodes = Names(node.name for node in graph)
        self._constants: dict[Hashable, ir.Value] = {}

    def node(
        self,
        op_type: str,
        inputs: Iterable[ir.Value | None],
        output: str,
        attributes: Iterable[ir.Attr] = (),
        *,
        name: str | None = None,
    ) -> ir.Node:
        """A node with one output, which has yet to be put into the graph.

        Args:
            op_type: the operator.
            inputs: what it reads.
            output: the name wanted for what it makes.
            attributes: its attributes.
            name: the name wanted for the node; by default what it makes, and the operator.
        """
        result = self.values.fresh(output)
        node = ir.Node(
            "",
            op_type,
            list(inputs),
            list(attributes),
            name=self.nodes.fresh(name or f"{result}/{op_type}"),
        )
        node.outputs[0].name = result
        return node

    def constant(
        self,
        wanted: str,
        array: NDArray[np.generic],
        *,
        key: Hashable = None,
        dtype: ir.DataType | None = None,
    ) -> ir.Value:
        """A new initialiser.

        Args:
            wanted: the name wanted for it.
            array: its content.
            key: what it is; the same key again gives the same initialiser. None for one that is
                made each time.
            dtype: its element type where NumPy has none of it.
        """
        if key is not None and key in self._constants:
            return self._constants[key]
        name = self.values.fresh(wanted)
        whole: Any = np.ascontiguousarray(array).reshape(np.shape(array))
        tensor = ir.Tensor(  # ir.tensor asks first what kind of array it is, which takes longer
            whole, dtype=dtype, name=name
        )
        value = ir.Value(
            name=name,
            type=ir.TensorType(tensor.dtype),
            shape=ir.Shape(np.shape(array)),
            const_value=tensor,
        )
        self.graph.initializers[name] = value
        if key is not None:
            self._constants[key] = value
        return value


def forget_unused(graph: ir.Graph) -> None:
    """Remove initialisers that nothing reads."""
    for name in [
        name
        for name, value in graph.initializers.items()
        if not value.uses() and not value.is_graph_output()
    ]:
        del graph.initializers[name]
