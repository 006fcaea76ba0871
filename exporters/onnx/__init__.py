"""The ONNX exporter: a canonical QDQ model in the dialect of the runtime it is for.

And the one place that reads ONNX files.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgeq.errors import ArtefactError
from edgeq.exporter import Exported
from edgeq.exporters.onnx.dialects import in_dialect
from edgeq.exporters.onnx.int2 import widen_two_bits
from edgeq.exporters.onnx.int4 import store_int4
from edgeq.exporters.onnx.parity import compare_models
from edgeq.exporters.onnx.runtime_workarounds import with_zero_points
from edgeq.exporters.validation import check_graph, first_line, in_order
from edgeq.files import check_model_size, read_bytes
from edgeq.formats.artefact import detect
from edgeq.formats.dialect import Dialect
from edgeq.qdq.ort_x86.softmax import check_softmax
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.qdq.qoperator.operators import require_static

if TYPE_CHECKING:
    from pathlib import Path

    import onnx

    from edgeq.exporter import ExportOptions

# what it warns of is told by our errors; it sets up none itself
logging.getLogger("onnx_ir").addHandler(logging.NullHandler())


class OnnxExporter:
    """Writes canonical QDQ models as ONNX, in the dialect of the runtime that is to read them."""

    @property
    def suffix(self) -> str:
        """The file ending, with its dot."""
        return ".onnx"

    def export(self, model: ir.Model, options: ExportOptions) -> Exported:
        """Write a QDQ model in the dialect, else the activation dtype, that ``options`` ask for, and prove that no number changed.

        Raises:
            ArtefactError: the dialect has no exact form for something in the model, names it; its
                opset has no int4; or a Softmax overflows in ONNX Runtime's integer kernel.
        """
        plain = with_zero_points(model)
        widen_two_bits(plain)
        spelled, saturating = in_dialect(
            plain, options.dialect or Dialect(activation_dtype=options.activation_dtype)
        )
        if options.weight_storage == "int4":
            store_int4(spelled)
        check_softmax(spelled)
        content = serialize(spelled)
        return Exported(
            content,
            compare_models(plain, parse(content, "the written file")),
            saturating=saturating,
        )


exporter = OnnxExporter()


def serialize(model: ir.Model) -> bytes:
    """A model as the bytes of a file.

    Raises:
        ArtefactError: it is larger than a file may be.
    """
    check_model_size(
        sum(_size_bytes(value.const_value) for value in model.graph.initializers.values()),
        "ONNX file",
    )
    return bytes(ir.serde.serialize_model(model).SerializeToString(deterministic=True))


def _size_bytes(tensor: ir.TensorProtocol | None) -> int:
    return 0 if tensor is None or tensor.dtype == ir.DataType.STRING else tensor.nbytes


def parse(content: bytes, what: str) -> ir.Model:
    """A model from the bytes of a file that holds all its data itself.

    Raises:
        ArtefactError: they are no ONNX model.
    """
    return _deserialize(_proto(content, what), what)


def read(path: Path) -> ir.Model:
    """Read an ONNX file; a QOperator file comes out in its QDQ form.

    Raises:
        ArtefactError: see :func:`read_as_written`; or it is quantised dynamically.
    """
    quantized = as_qdq(read_as_written(path))
    require_static(quantized.graph)
    return quantized


def read_as_written(path: Path) -> ir.Model:
    """Read an ONNX file.

    External data is read only from inside its folder, and is in memory afterwards.

    Raises:
        ArtefactError: missing, empty, broken, of another kind, or with external data outside its
            folder.
    """
    import onnx  # protobuf parsing only

    if detect(path) != "onnx":
        raise ArtefactError(f"{path} is not an ONNX file", hint="name an .onnx file")
    proto = _proto(read_bytes(path, "ONNX model"), str(path))
    try:
        onnx.load_external_data_for_model(proto, str(path.resolve().parent))
    # onnx raises many kinds: a path outside the folder, a link, a missing or short file
    except Exception as error:
        raise ArtefactError(
            f"{path} keeps tensors in other files that cannot be read: {first_line(error)}",
            hint="put them beside the model, under their own names",
        ) from error
    check_graph(proto, str(path))
    model = _deserialize(proto, str(path))
    if not in_order(proto.graph):
        model.graph.sort()
    return model


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
                # a size that does not fit the shape shows here
                value.const_value = _owned(value.const_value, value.shape)
    except Exception as error:  # onnx_ir raises many kinds on broken files
        raise _broken(what, error) from error
    return model


def _owned(tensor: ir.TensorProtocol, shape: ir.Shape | None) -> ir.TensorProtocol:
    """A tensor with its own numbers.

    One that reads a protobuf message keeps the whole file in memory, and copies it at each look.
    """
    numbers = tensor.numpy()
    if tensor.dtype == ir.DataType.STRING:
        return tensor
    notes = dict(tensor.metadata_props) or None
    return ir.Tensor(
        numbers.copy(),
        dtype=tensor.dtype,
        shape=shape,
        name=tensor.name,
        doc_string=tensor.doc_string,
        metadata_props=notes,
    )


def _broken(what: str, error: Exception) -> ArtefactError:
    return ArtefactError(
        f"{what} is no ONNX model: {first_line(error)}",
        hint="is it truncated, or another kind of file?",
    )
