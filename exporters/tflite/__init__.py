"""Writes QDQ models as TFLite files, number by number, and proves it by reading the file back.

Ready-made converters calibrate again, widen 4-bit ranges to 8 bits or compute in float; this one
only copies.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.errors import ArtefactError
from edgeq.exporter import Exported, FloatShare

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgeq.exporter import ExportOptions
    from edgeq.qdq.ir import QdqGraph, QdqOp


@dataclass(frozen=True, slots=True)
class TfliteExporter:
    """The exporter of ``.tflite`` files."""

    suffix: str = ".tflite"

    def export(self, model: ir.Model, options: ExportOptions) -> Exported:
        """Write a QDQ model in integers, or a float model in float.

        Every number of the model is compared with what the file's bytes hold.

        Raises:
            ArtefactError: the model holds something that TFLite cannot express exactly, names the
                node; or weights of one bit are asked for.
        """
        from edgeq.exporters.parity import compare
        from edgeq.exporters.tflite.floating import export_float, is_float
        from edgeq.exporters.tflite.legalize import legalize
        from edgeq.exporters.tflite.parity import expected_in, numbers_in, opened, transposes_in
        from edgeq.exporters.tflite.storage import choose_storage
        from edgeq.exporters.tflite.widths import in_one_width
        from edgeq.exporters.tflite.writer import write
        from edgeq.formats.tflite_file import axes_in
        from edgeq.qdq.reader import read_qdq

        if options.weight_storage == "one-bit":
            raise ArtefactError(
                "TFLite has no weights of one bit, and no kernel would unpack them",
                hint="write ONNX, or leave the weights in int8",
            )
        if options.dynamic or is_float(model):
            return export_float(model, options)
        legal = legalize(read_qdq(model, float_fallback=True), approximate=options.requantize)
        graph = in_one_width(legal.graph)
        written = write(graph, options)
        file = opened(written.content)
        found, transposes = numbers_in(file, axes_in(written.content)), transposes_in(file)
        del file
        names = {op.output.name for op in written.in_float}
        expected = expected_in(graph, choose_storage(graph), found, names)
        return Exported(
            written.content,
            replace(compare(expected, found), rescaled=legal.rescaled),
            legal.approximations,
            transposes,
            stored=written.stored,
            in_float=_share(graph, written.in_float),
            ends=written.ends,
        )


def _share(graph: QdqGraph, in_float: tuple[QdqOp, ...]) -> FloatShare | None:

    if not in_float:
        return None
    told = tuple(
        f"{op.op_type} {op.name}" + (f" ({op.source})" if op.source else "") for op in in_float
    )
    return FloatShare(told, sum(op.macs for op in in_float), sum(op.macs for op in graph.ops))


exporter = TfliteExporter()
