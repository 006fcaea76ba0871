"""Golden vectors: for every layer its integers in and out, its constants and factors.

As npz, and as C with a program that replays it.

They come from running the TFLite file of the model with TensorFlow Lite's reference kernels, so
they are what a device that keeps to those kernels answers.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.exporter import Exported, ExportOptions
    from edgeq.exporters.vectors.layers import RecordedLayer

_C_FILES = ("edgeq_kernels.h", "edgeq_layer.h", "replay.c")


@dataclass(frozen=True, slots=True)
class VectorsExporter:
    """The exporter of folders of golden vectors."""

    suffix: str = "-vectors"

    def export(self, model: ir.Model, options: ExportOptions) -> Exported:
        """Write a QDQ model's layers.

        The proof is that of the TFLite file that they are recorded from.

        Raises:
            ArtefactError: the model is in float, or holds something that TFLite cannot express
                exactly; names the node.
        """
        from importlib.metadata import version

        from edgeq.exporters.tflite import exporter as tflite
        from edgeq.exporters.tflite.floating import is_float
        from edgeq.exporters.vectors.headers import header, stem, table
        from edgeq.exporters.vectors.layers import record
        from edgeq.exporters.vectors.readme import readme

        if options.dynamic or is_float(model):
            raise ArtefactError(
                "the model's activations are in float, so it has no integers to record",
                hint="quantise it first, as edgeq calibrate does",
            )
        written = tflite.export(model, replace(options, io_type="int8"))
        layers = record(written.content)
        if all(layer.arithmetic is None for layer in layers):
            raise ArtefactError(
                "none of the model's layers computes in 8 bits", hint="leave out --to vectors"
            )
        texts = {f"{stem(layer)}.h": header(layer) for layer in layers}
        texts |= {"layers.h": table(layers), "README.md": readme(layers, version("ai-edge-litert"))}
        files = {name: (Path(__file__).parent / "c" / name).read_bytes() for name in _C_FILES}
        files |= {name: text.encode() for name, text in texts.items()}
        files |= {"vectors.npz": _archive(layers), "model.tflite": written.content}
        return replace(written, content=b"", stored=(), files=files)


exporter = VectorsExporter()


def _archive(layers: Sequence[RecordedLayer]) -> bytes:
    content = io.BytesIO()
    np.savez(
        content,
        allow_pickle=False,
        **{name: values for layer in layers for name, values in _arrays(layer)},
    )
    return content.getvalue()


def _arrays(layer: RecordedLayer) -> Iterator[tuple[str, NDArray[np.generic]]]:
    prefix = f"{layer.index:03d}"
    yield f"{prefix}/operator", np.array(layer.operator)
    yield f"{prefix}/name", np.array(layer.output.name)
    for what, tensor in (
        *((f"input{i}", tensor) for i, tensor in enumerate(layer.inputs)),
        ("output", layer.output),
    ):
        yield f"{prefix}/{what}", tensor.values
        yield f"{prefix}/{what}_scale", np.array(tensor.scale, np.float32)
        yield f"{prefix}/{what}_zero_point", np.array(tensor.zero_point, np.int32)
    if layer.arithmetic is None:
        return
    for what, values in layer.arithmetic.constants.items():
        yield f"{prefix}/{what}", values
    for what, numbers in layer.arithmetic.settings.items():
        yield f"{prefix}/{what}", np.array(numbers, np.int32)
    factors = (
        *((f"input{i}", factor) for i, factor in enumerate(layer.arithmetic.inputs)),
        ("output", layer.arithmetic.output),
    )
    for what, factor in factors:
        if factor is not None:
            yield f"{prefix}/{what}_multiplier", np.array(factor.mantissa, np.int32)
            yield f"{prefix}/{what}_shift", np.array(factor.shift, np.int32)
