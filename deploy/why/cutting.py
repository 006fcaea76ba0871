"""One operator of a file, or a few, as a file of its own that takes and gives real numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.errors import UsageError
from edgeq.formats.artefact import detect

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a file.

    Attributes:
        content: the file.
        inputs: each of its inputs, and the tensor of the whole file that it is.
    """

    content: bytes
    inputs: Mapping[str, str]

    __repr__ = brief


def part_of(path: Path, output: str, inside: Collection[str] = ()) -> Part:
    """What computes a tensor from those around it.

    Args:
        path: an ONNX or TFLite file.
        output: the tensor, as sessions show it.
        inside: tensors before it that are computed too.

    Raises:
        UsageError: the file has no such tensor.
        ArtefactError: it is missing or broken.
    """
    return _onnx(path, output, inside) if detect(path) == "onnx" else _tflite(path, output, inside)


def _tflite(path: Path, output: str, inside: Collection[str]) -> Part:
    from edgeq.files import read_bytes
    from edgeq.formats.tflite_file import graph_of
    from edgeq.formats.tflite_subgraph import part

    content = part(read_bytes(path, "TFLite model"), output, inside)
    return Part(content, {tensor.name: tensor.name for tensor in graph_of(content).inputs})


def _onnx(path: Path, output: str, inside: Collection[str]) -> Part:
    import onnx_ir as ir
    import onnx_ir.passes.common as passes

    from edgeq.formats.onnx_io import read, serialize
    from edgeq.qdq.nodes import stripped
    from edgeq.qdq.qoperator.convert import as_qdq
    from edgeq.qdq.segments import cut

    model = as_qdq(read(path))
    integers = {value.name or "" for node in model.graph for value in node.outputs}
    kept = {name for name in integers if stripped(name) not in inside}
    segments = cut(model, at=kept)
    whole = segments.model
    end = next((each for each in segments.cuts if each.name == output), None)
    if end is None:
        raise UsageError(f"no operator computes {output!r}", hint="name a tensor of the file")
    values = {value.name: value for node in whole.graph for value in node.outputs}
    stored = values[end.output]
    maker = stored.producer()
    while maker is not None and maker.op_type != "QuantizeLinear":  # an integer Clip
        source = maker.inputs[0]
        maker = None if source is None else source.producer()
    if maker is None:
        raise UsageError(f"{output!r} is not quantised", hint="name a quantised tensor")
    real = ir.Value(name=f"{output}_real", type=ir.TensorType(ir.DataType.FLOAT))
    if stored.shape is not None:
        real.shape = stored.shape
    node = ir.Node("", "DequantizeLinear", [stored, *maker.inputs[1:]], outputs=[real])
    for name, each in maker.attributes.items():
        if name == "axis":
            node.attributes[name] = each
    whole.graph.append(node)
    whole.graph.outputs[:] = [real]
    passes.RemoveUnusedNodesPass()(whole)
    for value in list(whole.graph.inputs):
        if not list(value.uses()):
            whole.graph.inputs.remove(value)
    feeds = {each.feed: each.name for each in segments.cuts}
    inputs = {
        value.name or "": feeds.get(value.name, value.name or "") for value in whole.graph.inputs
    }
    return Part(serialize(whole), inputs)
