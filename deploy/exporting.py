"""From a checkpoint or an ONNX file to files in other formats: all of them are written, with their proof, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.artefact import detect, resolve
from edgeq.errors import UsageError
from edgeq.exporter import EXPORTERS
from edgeq.files import check_output, write_bytes
from edgeq.loading import LOADERS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.exporter import Exported, ExportOptions, ParityReport


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file that was written.

    Attributes:
        format: the exporter's name.
        path: where it is.
        size_bytes: its size.
        parity: the comparison of its numbers with the model's.
    """

    format: str
    path: Path
    size_bytes: int
    parity: ParityReport


def canonical(artefact: Path) -> ir.Model:
    """The ONNX model of a checkpoint or an ONNX file; BatchNorm is folded into the layers of a float one too.

    Raises:
        ArtefactError: missing, broken, or of a format that nothing can be exported from.
        UsageError: the network holds an operation without an ONNX form.
    """
    model = _model(artefact)
    if any(node.op_type in ("QuantizeLinear", "DequantizeLinear") for node in model.graph):
        return model
    from edgeq.calibration.quantize import fold_onnx

    return fold_onnx(model)


def _model(artefact: Path) -> ir.Model:
    path = resolve(artefact)
    kind = detect(path)
    if kind == "onnx":
        from edgeq.exporters.onnx import read

        return read(path)
    if kind != "checkpoint":
        raise UsageError(f"{path} is a {kind} file, from which nothing can be exported", mend="name a checkpoint or an ONNX file")
    from edgeq.exporters.lower import lower

    loaded = LOADERS.load("checkpoint")(path)
    return lower(loaded.module, loaded.input_shape, metadata=loaded.metadata)


def export(
    artefact: Path, formats: Sequence[str], folder: Path, options: ExportOptions, *, stem: str | None = None, overwrite: bool = False
) -> tuple[ExportedFile, ...]:
    """Write an artefact in each of some formats; nothing is written unless all of them can be.

    Args:
        artefact: a checkpoint, a training folder or an ONNX file.
        formats: names of exporters.
        folder: where the files go.
        options: carrier and boundary type.
        stem: the files' name without its ending; the artefact's own, or its folder's for a checkpoint, where it is None.
        overwrite: replace files that exist.

    Raises:
        ArtefactError: the artefact is missing or broken, or holds something that a format cannot express exactly.
        OutputError: a file exists or cannot be written.
        UnknownName: a format is not registered.
    """
    exporters = {name: EXPORTERS.load(name) for name in dict.fromkeys(formats)}
    if not exporters:
        raise UsageError("no format is named", mend=f"add --to with one of {', '.join(EXPORTERS.names())}")
    source = resolve(artefact)
    name = stem or default_stem(source)
    paths = {kind: folder / f"{name}{exporter.suffix}" for kind, exporter in exporters.items()}
    for path in paths.values():
        check_output(path, overwrite=overwrite)
        if path.exists() and path.samefile(source):
            raise UsageError(f"{path} would replace the file it is made from", mend="choose another name or another place with -o/--output")
    model = canonical(source)
    contents: dict[str, Exported] = {kind: exporter.export(model, options) for kind, exporter in exporters.items()}
    for kind, exported in contents.items():
        write_bytes(paths[kind], exported.content, overwrite=overwrite)
    return tuple(ExportedFile(kind, paths[kind], len(exported.content), exported.parity) for kind, exported in contents.items())


def default_stem(source: Path) -> str:
    """``best.safetensors`` in ``runs/net`` becomes ``net``; other files keep their own stem."""
    return source.resolve().parent.name if source.name in ("best.safetensors", "last.safetensors") else source.stem
