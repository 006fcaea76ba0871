"""What a quantised file's quantisers say: names of integers, and values that are rounded twice."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.origin.unrounded import levels_of
from edgeq.diffing.records import Difference
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.qdq.nodes import constant_of, stripped

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator

    import onnx_ir as ir

_COARSER = 2.0


def twice_quantized(
    quantized: ir.Model, near: Callable[[str], str], known: Collection[str]
) -> Iterator[Difference]:
    """Values that are put on a coarser grid before they are put on their own.

    Args:
        quantized: a QDQ model.
        near: the name by which an operator near a value is known.
        known: the names of tensors that operators are known by.
    """
    for node in quantized.graph:
        if node.op_type != "QuantizeLinear" or node.inputs[0] is None:
            continue
        reader = node.inputs[0].producer()
        if reader is None or reader.op_type != "DequantizeLinear":
            continue
        writer = None if reader.inputs[0] is None else reader.inputs[0].producer()
        if writer is None or writer.op_type != "QuantizeLinear":
            continue
        before, after = _scale(writer), _scale(node)
        reach = before * levels_of(writer) > _COARSER * after * levels_of(node)
        if reach and before > _COARSER * after > 0:
            places = (node.inputs[0], node.outputs[0], writer.inputs[0])
            names = [near(each.name or "") for each in places if each is not None]
            yield Difference(
                "activation scale",
                next((name for name in names if name in known), names[0]),
                f"it is put on a grid of x{before / after:.4g} the step first",
                factor=before / after,
            )


def names_of(result: ir.Value) -> Iterator[str]:
    """What a layer's result is called: by itself, and as an output behind its quantisers."""
    yield result.name or ""
    value = result
    while len(users := tuple(value.consumers())) == 1 and users[0].op_type in QUANTIZERS:
        value = users[0].outputs[0]
    if value is not result and value.is_graph_output():
        yield value.name or ""


def stored_values(quantized: ir.Model, known: Collection[str]) -> Iterator[tuple[str, str]]:
    """Each value that is quantised, and the name that its integers go by."""
    for node in quantized.graph:
        value = node.inputs[0] if node.op_type == "QuantizeLinear" else None
        if value is None or constant_of(value) is not None:
            continue
        made = node.outputs[0]
        behind = [made, *(each.outputs[0] for each in made.consumers() if each.op_type == "Clip")]
        names = [name for each in behind if (name := stripped(each.name or "")) in known]
        ends = (reader.outputs[0] for each in behind for reader in each.consumers())
        called = [value, *(each for each in ends if each.is_graph_output())]
        yield from ((each.name or "", name) for each in called for name in names)


def _scale(node: ir.Node) -> float:
    scale = constant_of(node.inputs[1])
    return float(scale) if scale is not None and scale.size == 1 else 0.0
