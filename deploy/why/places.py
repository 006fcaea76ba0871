"""The operators of a file by every name that a difference or a runtime calls them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.why.evidence import Place
from edgeq.diffing.replay import Operator
from edgeq.formats.quantizers import QUANTIZERS

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx_ir as ir


def places_of(model: ir.Model | None, operators: Sequence[Operator]) -> dict[str, Place]:
    """The operators by the name of what they compute, their own, their layer's and their reader's.

    Args:
        model: the file; None for one that is no ONNX file.
        operators: what a replaying target makes of it.
    """
    computing = [each for each in operators if each.op_type not in QUANTIZERS]
    numbers = {each.tensor: number for number, each in enumerate(computing, start=1)}
    readers = [] if model is None else list(_readers(model))
    found: dict[str, Place] = {}
    for each in operators:
        title = each.title or each.tensor
        place = Place(each, title, numbers.get(each.tensor, 0), len(computing))
        for name in (each.tensor, each.name, title):
            found.setdefault(name, place)
    for reader, tensor in readers:
        made = next((each for each in operators if tensor in each.inputs), None)
        if made is not None:
            found.setdefault(reader, found[made.tensor])
    if model is None:
        return found
    found = _of_values(model.graph, found) | found
    return found | _of_constants(model.graph, found)


def places_unread(model: ir.Model) -> dict[str, Place]:
    """The operators of an ONNX file that cannot be run on integers, as far as quantisers show them.

    Raises:
        ArtefactError: it is quantised in a form that has no QDQ one.
    """
    from edgeq.qdq.nodes import title
    from edgeq.qdq.qoperator.convert import as_qdq

    def tensor_of(node: ir.Node) -> str:
        """The first value behind a node that is quantised, else its own result."""
        value = node.outputs[0]
        while value.consumers() and not any(n.op_type in QUANTIZERS for n in value.consumers()):
            value = next(iter(value.consumers())).outputs[0]
        return value.name or ""

    graph = as_qdq(model).graph
    nodes = [node for node in graph if node.op_type not in QUANTIZERS]
    found: dict[str, Place] = {}
    for number, node in enumerate(nodes, start=1):
        read_from = tuple(value.name or "" for value in node.inputs if value is not None)
        operator = Operator(
            tensor_of(node), title(node), node.op_type, number, None, None, read_from
        )
        place = Place(operator, title(node), number, len(nodes))
        for name in (operator.tensor, title(node)):
            found.setdefault(name, place)
    for node in graph:
        maker = node if node.op_type in QUANTIZERS else None
        while maker is not None and maker.op_type in QUANTIZERS:
            maker = None if maker.inputs[0] is None else maker.inputs[0].producer()
        if maker is None and node.op_type in QUANTIZERS:  # of an input: who reads it
            maker = next(_behind(node), None)
        if maker is not None:
            found.setdefault(title(node), found[title(maker)])
    for node in nodes:
        for value in node.outputs:
            if any(each.op_type in QUANTIZERS for each in value.consumers()):
                found[value.name or ""] = found[title(node)]
    return found | _of_constants(nodes, found)


def _behind(node: ir.Node) -> Iterator[ir.Node]:
    """The operators that read what a quantiser makes, through others."""
    for reader in node.outputs[0].consumers():
        if reader.op_type in QUANTIZERS:
            yield from _behind(reader)
        else:
            yield reader


def _of_values(nodes: Iterable[ir.Node], places: Mapping[str, Place]) -> dict[str, Place]:
    """The operators by the real numbers that quantisers store, as other tools name them."""
    from edgeq.qdq.nodes import stripped

    found: dict[str, Place] = {}
    for node in nodes:
        value = node.inputs[0] if node.op_type == "QuantizeLinear" else None
        stored = node.outputs[0].name or ""
        place = places.get(stored) or places.get(stripped(stored))
        if value is not None and value.name and place is not None:
            found.setdefault(value.name, place)
            for reader in node.outputs[0].consumers():
                found.setdefault(reader.outputs[0].name or "", place)
    return found


def _of_constants(nodes: Iterable[ir.Node], places: Mapping[str, Place]) -> dict[str, Place]:
    """The operators by the names of constants that they alone read."""
    from edgeq.qdq.nodes import constant_of, title

    return {
        value.name: places[title(node)]
        for node in nodes
        if title(node) in places
        for value in node.inputs
        if value is not None
        and value.name
        and value.name not in places
        and constant_of(value) is not None
        and len(tuple(value.consumers())) == 1
    }


def _readers(model: ir.Model) -> Iterator[tuple[str, str]]:
    """Each dequantiser, and the tensor that it reads."""
    from edgeq.qdq.nodes import stripped, title

    for node in model.graph:
        value = node.inputs[0] if node.op_type == "DequantizeLinear" else None
        if value is not None and value.producer() is not None:
            yield title(node), stripped(value.name or "")
