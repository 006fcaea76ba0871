"""What two files are compared by: their layers and grids, their operators and constants.

Left out of the latter is what :mod:`edgeq.diffing` compares: integers of layers and grids of
activations.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.deploy.pipeline.reading import view_of
from edgeq.errors import ArtefactError
from edgeq.files import read_bytes
from edgeq.formats.artefact import detect
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.linting.tflite_view import OPERANDS, grid_of_tensor
from edgeq.qdq.op_traits import LAYERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.formats.artefact import Format
    from edgeq.formats.tflite_file import FileOperator, FileTensor
    from edgeq.linting.model import LintModel
    from edgeq.quant import QuantParams


@dataclass(frozen=True, slots=True, eq=False)
class StoredTensor:
    """A tensor of a file.

    Attributes:
        name: its name.
        dtype: its element type; empty where the file does not tell.
        shape: its dimensions; None where the file does not tell.
        grid: its grid; None for none.
        values: its content, as stored; None for what is computed.
    """

    name: str
    dtype: str
    shape: tuple[object, ...] | None
    grid: QuantParams | None
    values: NDArray[Any] | None

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class StoredOperator:
    """An operator of a file.

    Attributes:
        name: its name.
        op_type: what it does.
        attributes: its settings, as text.
        inputs: None for one left out; none of a quantiser, whose grid is compared as one.
        outputs: its results.
        reads: the names of all that it reads.
    """

    name: str
    op_type: str
    attributes: Mapping[str, str]
    inputs: tuple[StoredTensor | None, ...]
    outputs: tuple[StoredTensor, ...]
    reads: tuple[str, ...] = ()

    __repr__ = brief


@dataclass(frozen=True, slots=True)
class Contents:
    """What a file holds.

    Attributes:
        kind: its format.
        view: its layers and grids.
        operators: all that it has, in its order; none of a checkpoint.
    """

    kind: Format
    view: LintModel
    operators: tuple[StoredOperator, ...]


def read(path: Path, *, defaults: bool = True) -> Contents:
    """Read a file, an ONNX file only once.

    Args:
        path: the file.
        defaults: whether operators have the attributes too that the file leaves out. What those are
            is up to the version of onnx, so that nobody should keep them.

    Raises:
        ArtefactError: it is missing or broken.
    """
    kind = detect(path)
    if kind == "onnx":
        from edgeq.formats.onnx_io import all_stays
        from edgeq.formats.onnx_io import read as read_model
        from edgeq.linting.onnx_view import view

        with all_stays():
            model = read_model(path)
            return Contents(kind, view(model, path.name), _onnx(model.graph, defaults=defaults))
    return Contents(kind, view_of(path), _tflite(path) if kind == "tflite" else ())


def _onnx(graph: ir.Graph, *, defaults: bool) -> tuple[StoredOperator, ...]:
    from edgeq.qdq.nodes import constant_of, grid_of, title

    grids: dict[ir.Value, QuantParams] = {}
    for node in graph:
        if _stores(node):
            try:
                grid = grid_of(node)
            except ArtefactError:
                continue  # its scale is compared as the number that it is
            if (value := node.inputs[0]) is not None:
                grids.setdefault(value, grid)

    def tensor(value: ir.Value) -> StoredTensor:
        return StoredTensor(
            value.name or "",
            "" if value.dtype is None else value.dtype.name.lower(),
            None if value.shape is None else tuple(value.shape),
            grids.get(value),
            constant_of(value),
        )

    def operator(node: ir.Node) -> StoredOperator:
        quantizer = node.op_type in QUANTIZERS
        read = () if quantizer and not _stores(node) else node.inputs[: 1 if quantizer else None]
        return StoredOperator(
            title(node),
            node.op_type,
            (_defaults(node) if defaults else {})
            | {name: _text(each) for name, each in node.attributes.items()},
            tuple(None if value is None else tensor(value) for value in read),
            tuple(map(tensor, node.outputs)),
            tuple(value.name or "" for value in node.inputs if value is not None),
        )

    return tuple(map(operator, graph))


def _stores(node: ir.Node) -> bool:
    """Whether it dequantises a constant that is no layer's."""
    from edgeq.qdq.nodes import constant_of

    return (
        node.op_type == "DequantizeLinear"
        and constant_of(node.inputs[0]) is not None
        and any(reader.op_type not in LAYERS for reader in node.outputs[0].consumers())
    )


def _defaults(node: ir.Node) -> dict[str, str]:
    """What attributes are that a file may leave out, as text."""
    import onnx
    import onnx_ir as ir

    try:
        schema = onnx.defs.get_schema(node.op_type, domain=node.domain)
    except onnx.defs.SchemaError:  # an operator of some tool
        return {}
    return {
        name: _text(ir.serde.deserialize_attribute(each.default_value))
        for name, each in schema.attributes.items()
        if each.default_value.type
    }


def _text(attribute: ir.Attr) -> str:
    value = attribute.value
    return str(value.numpy().tolist()) if hasattr(value, "numpy") else str(value)


def _tflite(path: Path) -> tuple[StoredOperator, ...]:
    from edgeq.formats.tflite_file import BROKEN, graphs_of

    try:
        graphs = graphs_of(read_bytes(path, "TFLite model"))
    except BROKEN as error:
        raise ArtefactError(
            f"{path} is no whole TFLite model: {type(error).__name__} while reading its tables",
            hint="export it again; it is truncated or damaged",
        ) from error
    return tuple(_operator(operator) for graph in graphs for operator in graph.operators)


def _operator(operator: FileOperator) -> StoredOperator:
    options = vars(operator.options) if operator.options is not None else {}
    at = OPERANDS[operator.name][0] if operator.name in OPERANDS else len(operator.inputs)
    source = operator.inputs[at] if at < len(operator.inputs) else None
    layer = source is not None and source.scale.size > 0
    return StoredOperator(
        operator.title,
        operator.name,
        {name: str(np.asarray(value).tolist()) for name, value in options.items()},
        tuple(
            None if each is None or (layer and each.data is not None) else _tensor(each)
            for each in operator.inputs
        ),
        tuple(map(_tensor, operator.outputs)),
        tuple(each.name for each in operator.inputs if each is not None),
    )


def _tensor(tensor: FileTensor) -> StoredTensor:
    return StoredTensor(
        tensor.name,
        tensor.kind.lower(),
        tensor.shape,
        None if tensor.data is None else grid_of_tensor(tensor),
        tensor.data,
    )
