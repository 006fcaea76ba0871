"""The ONNX exporter: a canonical QDQ model in the dialect of the runtime it is for; and the one place that reads ONNX files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.artefact import detect
from edgeq.errors import ArtefactError
from edgeq.exporter import Exported, ParityReport
from edgeq.exporters.dialects import to_carrier
from edgeq.files import read_bytes

if TYPE_CHECKING:
    from edgeq.exporter import ExportOptions


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
    """A model from the bytes of a file.

    Raises:
        ArtefactError: they are no ONNX model.
    """
    import onnx  # noqa: PLC0415  # protobuf parsing only

    try:
        return ir.serde.deserialize_model(onnx.load_model_from_string(content))
    except Exception as error:  # protobuf and onnx_ir raise many kinds on broken files
        raise ArtefactError(f"{what} is no ONNX model: {_first_line(error)}", mend="is it truncated, or another kind of file?") from error


def read(path: Path) -> ir.Model:
    """Read an ONNX file; external data is read only from inside its folder.

    Raises:
        ArtefactError: missing, empty, broken, of another kind, or with external data outside its folder.
    """
    if detect(path) != "onnx":
        raise ArtefactError(f"{path} is not an ONNX file", mend="name an .onnx file")
    model = parse(read_bytes(path, "ONNX model"), str(path))
    folder = path.resolve().parent
    for value in model.graph.initializers.values():
        if isinstance(value.const_value, ir.ExternalTensor):
            location = (folder / value.const_value.location).resolve()
            if not location.is_relative_to(folder) or not location.is_file():
                raise ArtefactError(f"{path} keeps {value.name!r} in {value.const_value.location!r}, which is not in its folder", mend="put the file beside the model")
            value.const_value = ir.ExternalTensor(
                value.const_value.location,
                value.const_value.offset,
                value.const_value.length,
                value.const_value.dtype,
                shape=value.const_value.shape,
                name=value.const_value.name or "",
                base_dir=folder,
            )
    return model


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _parity(model: ir.Model, written: ir.Model) -> ParityReport:
    """Compare every QuantizeLinear and DequantizeLinear of two spellings of one model, matched by node."""
    found = {node.name: node for node in written.graph if node.op_type in ("QuantizeLinear", "DequantizeLinear")}
    counts = {"weights": 0, "biases": 0, "scales": 0, "zero_points": 0}
    different: list[str] = []
    for node in model.graph:
        if node.op_type not in ("QuantizeLinear", "DequantizeLinear"):
            continue
        other = found.get(node.name)
        if other is None:
            different.append(f"{node.name}: missing")
            continue
        scale, zero = _array(node.inputs[1]), _array(node.inputs[2])
        counts["scales"] += scale.size
        counts["zero_points"] += zero.size
        if _array(other.inputs[1]).tobytes() != scale.tobytes():
            different.append(f"{node.name} scale: expected {scale}, found {_array(other.inputs[1])}")
        different += _constants(node, other, counts)
    return ParityReport(**counts, different=tuple(different))


def _constants(node: ir.Node, other: ir.Node, counts: dict[str, int]) -> list[str]:
    """Stored integers and their zero points must be equal; an activation's zero point must have moved with its range."""
    stored, zero, other_zero = node.inputs[0], _array(node.inputs[2]), _array(other.inputs[2])
    if stored is None or stored.const_value is None:
        shift = _top(other) - _top(node)
        return [] if np.array_equal(zero + shift, other_zero) else [f"{node.name} zero point: expected {zero + shift}, found {other_zero}"]
    integers, written = _array(stored), _array(other.inputs[0])
    counts["biases" if integers.dtype == np.int32 and stored.const_value.dtype == ir.DataType.INT32 else "weights"] += integers.size
    wrong = int(integers.size if integers.shape != written.shape else np.count_nonzero(integers != written))
    return [f"{stored.name}: {wrong} of {integers.size} integers differ"] * bool(wrong) + [f"{node.name} zero point"] * (not np.array_equal(zero, other_zero))


def _top(node: ir.Node) -> int:
    """The greatest integer in use behind a quantiser or in front of a dequantiser."""
    value = node.outputs[0] if node.op_type == "QuantizeLinear" else node.inputs[0]
    clips = [reader for reader, _ in value.uses() if reader.op_type == "Clip"] if value is not None else []
    if node.op_type == "DequantizeLinear" and value is not None and (producer := value.producer()) is not None:
        clips = [producer] if producer.op_type == "Clip" else []
    if clips and len(clips[0].inputs) > 2:
        return int(_array(clips[0].inputs[2]))
    zero_point = node.inputs[2]
    unsigned = zero_point is not None and zero_point.dtype == ir.DataType.UINT8
    return 255 if unsigned else 127


def _array(value: ir.Value | None) -> np.ndarray:
    if value is None or value.const_value is None:
        raise ArtefactError("a QuantizeLinear or DequantizeLinear has no constant scale or zero point", mend="write scale and zero point as initialisers")
    array = value.const_value.numpy()
    return array if array.dtype == np.float32 else array.astype(np.int32)
