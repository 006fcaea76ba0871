"""The operators of a file and what they read, for a drawing of the network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.formats.artefact import detect

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MOST_NODES = 2_000
"""Operators of a drawing; nobody looks through more."""


@dataclass(frozen=True, slots=True)
class Node:
    """An operator.

    Attributes:
        op: what the file calls it.
        output: the name of what it computes.
        inputs: the names of what it reads that is computed too.
    """

    op: str
    output: str
    inputs: tuple[str, ...]


def graph(path: Path) -> tuple[Node, ...]:
    """The operators of an ONNX or TFLite file in order of execution.

    Nothing for a checkpoint, and for a file of more than ``MOST_NODES``.
    """
    readers = {"onnx": _onnx, "tflite": _tflite}
    reader = readers.get(detect(path))
    nodes = [] if reader is None else list(reader(path))
    made = {node.output for node in nodes}
    if len(nodes) > MOST_NODES:
        return ()
    return tuple(
        Node(node.op, node.output, tuple(name for name in node.inputs if name in made))
        for node in nodes
    )


def _onnx(path: Path) -> Iterator[Node]:
    from edgeq.errors import ArtefactError
    from edgeq.formats.onnx_io import read
    from edgeq.qdq.reader import read_qdq

    model = read(path)
    try:
        quantized = read_qdq(model, float_fallback=True)
    except ArtefactError:  # a float file, or one of a form that is not ours
        for node in model.graph:
            if node.outputs:
                inputs = tuple(value.name or "" for value in node.inputs if value is not None)
                yield Node(node.op_type, node.outputs[0].name or "", inputs)
        return
    for op in quantized.ops:
        names = [getattr(operand, "name", "") for operand in op.inputs if operand is not None]
        yield Node(op.op_type, op.output.name, tuple(names))


def _tflite(path: Path) -> Iterator[Node]:
    from edgeq.files import read_bytes
    from edgeq.formats.tflite_file import graph_of

    for operator in graph_of(read_bytes(path, "TFLite file")).operators:
        if operator.outputs:
            inputs = tuple(tensor.name for tensor in operator.inputs if tensor is not None)
            yield Node(operator.name, operator.output.name, inputs)
