"""The ONNX exporter: a canonical QDQ model in the dialect of the runtime it is for; and the one place that reads ONNX files."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgeq.artefact import detect
from edgeq.errors import ArtefactError
from edgeq.exporter import Exported, ParityReport
from edgeq.exporters.dialects import VIEWS, moved_from, to_carrier
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

    from edgeq.exporter import ExportOptions

_Q_DQ = ("QuantizeLinear", "DequantizeLinear")


class OnnxExporter:
    """Writes canonical QDQ models as ONNX, activations in uint8 or int8."""

    @property
    def suffix(self) -> str:
        """The file ending, with its dot."""
        return ".onnx"

    def export(self, model: ir.Model, options: ExportOptions) -> Exported:
        """Write a QDQ model in the carrier that ``options`` ask for, and prove that no number changed."""
        content = serialize(to_carrier(model, options.carrier))
        return Exported(content, _parity(model, parse(content, "the written file")))


exporter = OnnxExporter()


def serialize(model: ir.Model) -> bytes:
    """A model as the bytes of a file."""
    return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))


def parse(content: bytes, what: str) -> ir.Model:
    """A model from the bytes of a file that holds all its data itself.

    Raises:
        ArtefactError: they are no ONNX model.
    """
    return _deserialize(_proto(content, what), what)


def read(path: Path) -> ir.Model:
    """Read an ONNX file; external data is read only from inside its folder, and is in memory afterwards.

    Raises:
        ArtefactError: missing, empty, broken, of another kind, or with external data outside its folder.
    """
    import onnx  # protobuf parsing only

    if detect(path) != "onnx":
        raise ArtefactError(f"{path} is not an ONNX file", mend="name an .onnx file")
    proto = _proto(read_bytes(path, "ONNX model"), str(path))
    try:
        onnx.load_external_data_for_model(proto, str(path.resolve().parent))
    except Exception as error:  # onnx raises many kinds: a path outside the folder, a link, a missing or short file
        raise ArtefactError(
            f"{path} keeps tensors in other files that cannot be read: {_first_line(error)}",
            mend="put them beside the model, under their own names",
        ) from error
    return _deserialize(proto, str(path))


def _proto(content: bytes, what: str) -> onnx.ModelProto:
    import onnx  # protobuf parsing only

    try:
        return onnx.load_model_from_string(content)
    except Exception as error:  # protobuf raises many kinds on broken files
        raise _broken(what, error) from error


def _deserialize(proto: onnx.ModelProto, what: str) -> ir.Model:
    try:
        model = ir.serde.deserialize_model(proto)
        for value in model.graph.initializers.values():
            if value.const_value is not None:
                value.const_value.numpy()  # a size that does not fit the shape shows here, not halfway through some work
    except Exception as error:  # onnx_ir raises many kinds on broken files
        raise _broken(what, error) from error
    return model


def _broken(what: str, error: Exception) -> ArtefactError:
    return ArtefactError(f"{what} is no ONNX model: {_first_line(error)}", mend="is it truncated, or another kind of file?")


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _parity(model: ir.Model, written: ir.Model) -> ParityReport:
    """Compare every QuantizeLinear and DequantizeLinear of two spellings of one model, in their order."""
    nodes, others = ([node for node in graph if node.op_type in _Q_DQ] for graph in (model.graph, written.graph))
    counts = {"weights": 0, "biases": 0, "scales": 0, "zero_points": 0}
    different: list[str] = []
    if [node.op_type for node in nodes] != [node.op_type for node in others]:
        different.append(f"the quantisers are others: {len(nodes)} in the model, {len(others)} in the file")
    for node, other in zip(nodes, others, strict=False):
        scale, zero = _array(node, 1), _array(node, 2)
        counts["scales"] += scale.size
        counts["zero_points"] += zero.size
        if _array(other, 1).tobytes() != scale.tobytes():
            different.append(f"{_title(node)} scale: expected {scale}, found {_array(other, 1)}")
        different += _constants(node, other, counts)
    return ParityReport(**counts, different=tuple(different))


def _constants(node: ir.Node, other: ir.Node, counts: dict[str, int]) -> list[str]:
    """Stored integers and their zero points must be equal; an activation's zero point must have moved with its range."""
    stored, zero, other_zero = node.inputs[0], _array(node, 2), _array(other, 2)
    if stored is None or stored.const_value is None:
        zero = zero + _top(other) - _top(node)
        return _unlike(f"{_title(node)} zero point", zero, other_zero)
    integers = _array(node, 0)
    counts["biases" if stored.const_value.dtype == ir.DataType.INT32 else "weights"] += integers.size
    return _unlike(f"{stored.name}: integers", integers, _array(other, 0)) + _unlike(f"{_title(node)} zero point", zero, other_zero)


def _unlike(what: str, expected: NDArray[Any], found: NDArray[Any]) -> list[str]:
    if expected.shape != found.shape:
        return [f"{what}: expected the shape {expected.shape}, found {found.shape}"]
    wrong = expected != found
    if not wrong.any():
        return []
    return [f"{what}: {int(wrong.sum())} of {expected.size} differ; expected {expected[wrong].flat[0]}, found {found[wrong].flat[0]}"]


def _top(node: ir.Node) -> int:
    """The greatest integer in use behind a quantiser or in front of a dequantiser."""
    clips = [reader for reader, _ in node.outputs[0].uses() if reader.op_type == "Clip"]
    producer = _integers_from(node) if node.op_type == "DequantizeLinear" else next(iter(clips), node)
    if producer is not None and producer.op_type == "Clip" and len(producer.inputs) > 2:
        return int(_array(producer, 2))
    if producer is not None and producer.op_type == "QuantizeLinear" and (source := moved_from(producer)) is not None:
        return _top(source)
    zero_point = node.inputs[2]
    unsigned = zero_point is not None and zero_point.dtype == ir.DataType.UINT8
    return 255 if unsigned else 127


def _integers_from(dequantizer: ir.Node) -> ir.Node | None:
    """The Clip or quantiser that made the integers, seen through operators that move them."""
    value = dequantizer.inputs[0]
    while value is not None and (producer := value.producer()) is not None:
        if producer.op_type not in VIEWS:
            return producer
        value = producer.inputs[0]
    return None


def _title(node: ir.Node) -> str:
    return node.name or f"{node.op_type} of {node.outputs[0].name!r}"


def _array(node: ir.Node, index: int) -> NDArray[Any]:
    """A constant input of a node: scales as they are, integers as int32."""
    value = node.inputs[index] if len(node.inputs) > index else None
    if value is None or value.const_value is None:
        what = ("input", "scale", "zero point")[index] if node.op_type in _Q_DQ else "bound"
        raise ArtefactError(f"{_title(node)} has no constant {what}", mend=f"write the {what} as an initialiser")
    array = value.const_value.numpy()
    return array if array.dtype == np.float32 else array.astype(np.int32)
