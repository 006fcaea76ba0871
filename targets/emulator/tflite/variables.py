"""Resource variables of TFLite files, which keep a state from one inference to the next.

edgeq resets them for each sample. So what a variable holds when it is read is known beforehand:
what the file's initialisation wrote, or what the graph itself has written earlier in the same
inference. Reading one is then a constant, or another name for that tensor.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgeq.formats.tflite_file import FileGraph

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.formats.tflite_file import FileOperator, FileTensor

_CALL, _HANDLE, _READ, _WRITE = "CALL_ONCE", "VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE"


def without_variables(graphs: Sequence[FileGraph]) -> FileGraph:
    """The main graph with its reads of variables resolved.

    A variable that nothing has written stays, to be refused by its name.

    Args:
        graphs: the subgraphs of a file, the main one first.
    """
    main = graphs[0]
    if not any(operator.name == _HANDLE for operator in main.operators):
        return main
    resolver = _Resolver(graphs)
    operators = resolver.kept(main.operators)
    return FileGraph(
        operators,
        main.inputs,
        tuple(resolver.stands_for(tensor) for tensor in main.outputs),
        main.tensors,
    )


@dataclass(slots=True)
class _Resolver:
    """What variables hold as a graph is gone through.

    Attributes:
        graphs: the subgraphs of the file.
        content: the tensor that each variable holds, by container and name.
        handles: the variable of each handle of the main graph.
        instead: what stands for the result of a read, by its number.
    """

    graphs: Sequence[FileGraph]
    content: dict[tuple[object, object], FileTensor] = field(default_factory=dict)
    handles: dict[int, tuple[object, object]] = field(default_factory=dict)
    instead: dict[int, FileTensor] = field(default_factory=dict)

    def kept(self, operators: Sequence[FileOperator]) -> tuple[FileOperator, ...]:
        """The operators that compute."""
        found = []
        for operator in operators:
            if not self._resolved(operator):
                inputs = tuple(
                    None if tensor is None else self.stands_for(tensor)
                    for tensor in operator.inputs
                )
                found.append(replace(operator, inputs=inputs))
        return tuple(found)

    def stands_for(self, tensor: FileTensor) -> FileTensor:
        """A tensor, or what a read of a variable makes it."""
        return self.instead.get(tensor.index, tensor)

    def _resolved(self, operator: FileOperator) -> bool:
        """Whether an operator only handles variables, and was understood."""
        if operator.name == _CALL:
            return self._initialized(operator)
        if operator.name == _HANDLE:
            self.handles[operator.output.index] = _key(operator)
            return True
        handle = operator.inputs[0] if operator.inputs else None
        key = None if handle is None else self.handles.get(handle.index)
        if operator.name == _WRITE and key is not None and operator.inputs[1] is not None:
            self.content[key] = self.stands_for(operator.inputs[1])
            return True
        if operator.name != _READ or key not in self.content:
            return False
        held, result = self.content[key], operator.output
        if (held.kind, held.shape) != (result.kind, result.shape):
            return False
        # what initialisation wrote is a tensor of another graph, whose numbers mean others here
        ours = held.data is None
        self.instead[result.index] = held if ours else replace(result, data=held.data)
        return True

    def _initialized(self, operator: FileOperator) -> bool:
        """Take what an initialising graph writes, if all of it is constant."""
        place = operator.options.initSubgraphIndex
        if not 0 < place < len(self.graphs):
            return False
        handles = {}
        for each in self.graphs[place].operators:
            if each.name == _HANDLE:
                handles[each.output.index] = _key(each)
                continue
            if each.name != _WRITE or each.inputs[0] is None or each.inputs[1] is None:
                return False
            key, value = handles.get(each.inputs[0].index), each.inputs[1]
            if key is None or value.data is None:
                return False
            self.content[key] = value
        return True


def _key(operator: FileOperator) -> tuple[object, object]:
    return operator.options.container, operator.options.sharedName
