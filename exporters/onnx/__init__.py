"""The ONNX exporter: a canonical QDQ model in the dialect of the runtime it is for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.exporter import Exported
from edgeq.exporters.onnx.dialects import in_dialect
from edgeq.exporters.onnx.dynamic import export_dynamic
from edgeq.exporters.onnx.int2 import widen_two_bits
from edgeq.exporters.onnx.int4 import store_int4
from edgeq.exporters.onnx.one_bit import store_one_bit
from edgeq.exporters.onnx.parity import compare_models
from edgeq.exporters.onnx.runtime_workarounds import with_zero_points
from edgeq.formats.dialect import Dialect
from edgeq.formats.onnx_io import parse, serialize
from edgeq.qdq.normal_form.one_bit import with_unpacked_weights
from edgeq.qdq.ort_x86.softmax import check_softmax

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.exporter import ExportOptions


class OnnxExporter:
    """Writes canonical QDQ models as ONNX, in the dialect of the runtime that is to read them."""

    @property
    def suffix(self) -> str:
        """The file ending, with its dot."""
        return ".onnx"

    def export(self, model: ir.Model, options: ExportOptions) -> Exported:
        """Write a QDQ model in the dialect that is asked for, and prove that no number changed.

        Where ``options`` name no dialect, their activation dtype decides.

        Raises:
            ArtefactError: the dialect has no exact form for something in the model, names it; its
                opset has no int4; or a Softmax overflows in ONNX Runtime's integer kernel.
        """
        if options.dynamic:
            return export_dynamic(model)
        plain = with_zero_points(model)
        widen_two_bits(plain)
        spelled, saturating = in_dialect(
            plain, options.dialect or Dialect(activation_dtype=options.activation_dtype)
        )
        if options.weight_storage == "int4":
            store_int4(spelled)
        if options.weight_storage == "one-bit":
            store_one_bit(spelled)
        check_softmax(spelled)
        content = serialize(spelled)
        return Exported(
            content,
            compare_models(plain, with_unpacked_weights(parse(content, "the written file"))),
            saturating=saturating,
        )


exporter = OnnxExporter()
