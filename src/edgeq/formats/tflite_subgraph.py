"""A part of a TFLite file as a file of its own, and a file that also answers with inner tensors."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flatbuffers

from edgeq.errors import UsageError
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from collections.abc import Container, Sequence


def part(content: bytes, output: str, inside: Container[str] = ()) -> bytes:
    """The operator that computes a tensor, and those before it whose results are inside.

    Args:
        content: a whole file.
        output: the tensor, by name.
        inside: tensors that are computed in the part; all others that it reads are its inputs.

    Raises:
        UsageError: nothing in the main graph computes the tensor.
    """
    model: Any = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    names = [_text(tensor.name) for tensor in graph.tensors]
    made = {index: i for i, each in enumerate(graph.operators) for index in each.outputs}
    if output not in names or names.index(output) not in made:
        raise UsageError(f"no operator computes {output!r}", hint="name a tensor of the file")
    wanted, entering = [names.index(output)], list[int]()
    taken: set[int] = set()
    while wanted:
        index = wanted.pop()
        constant = bool(_size(model.buffers[graph.tensors[index].buffer].data))
        if index in made and (not taken or names[index] in inside):
            if made[index] in taken:
                continue
            taken.add(made[index])
            wanted += [int(each) for each in graph.operators[made[index]].inputs if each >= 0]
        elif not constant and index not in entering:
            entering.append(index)
    graph.operators = [each for i, each in enumerate(graph.operators) if i in taken]
    graph.inputs, graph.outputs = sorted(entering), [names.index(output)]
    read = {int(i) for each in graph.operators for i in (*each.inputs, *each.outputs) if i >= 0}
    kept = {graph.tensors[i].buffer for i in read}
    kept |= {each.buffer for each in model.metadata or ()}
    for number, buffer in enumerate(model.buffers):
        if number not in kept:
            buffer.data = None
    return _packed(model)


def showing(content: bytes, tensors: Sequence[str]) -> bytes:
    """A file that answers with some of its inner tensors too, behind its own outputs."""
    model: Any = schema.ModelT.InitFromPackedBuf(content)
    graph = model.subgraphs[0]
    places = {_text(tensor.name): i for i, tensor in enumerate(graph.tensors)}
    own = [int(i) for i in graph.outputs]
    graph.outputs = [*own, *(places[name] for name in tensors if places[name] not in own)]
    model.signatureDefs = []  # they name the outputs that there were
    return _packed(model)


def _packed(model: Any) -> bytes:
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def _size(data: Any) -> int:
    return 0 if data is None else len(data)
