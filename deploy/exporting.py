"""From a checkpoint or an ONNX file to files in other formats: all of them are written, with their proof, or none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.artefact import detect, resolve
from edgeq.errors import UsageError
from edgeq.exporter import EXPORTERS
from edgeq.files import check_folder, check_output, write_bytes, write_folder
from edgeq.loading import LOADERS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import onnx_ir as ir

    from edgeq.exporter import Exported, Exporter, ExportOptions, ParityReport

    Check = Callable[[str, ir.Model, Exported], None]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file, or folder, that was written.

    Attributes:
        format: the exporter's name.
        path: where it is.
        size_bytes: its size; all files together for a folder.
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
    artefact: Path,
    formats: Sequence[str],
    folder: Path,
    options: ExportOptions,
    *,
    stem: str | None = None,
    overwrite: bool = False,
    check: Check | None = None,
) -> tuple[ExportedFile, ...]:
    """Write an artefact in each of some formats; nothing is written unless all of them can be.

    Args:
        artefact: a checkpoint, a training folder or an ONNX file.
        formats: names of exporters.
        folder: where the files go.
        options: carrier and boundary type.
        stem: the files' name without its ending; the artefact's own, or its folder's for a checkpoint, where it is None.
        overwrite: replace files that exist.
        check: called with each format, the model and the file made from it, before any is written; what it raises stops it all.

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
    for kind, path in paths.items():
        _check(path, exporters[kind], overwrite=overwrite)
        if path.exists() and path.samefile(source):
            raise UsageError(f"{path} would replace the file it is made from", mend="choose another name or another place with -o/--output")
    model = canonical(source)
    contents: dict[str, Exported] = {kind: exporter.export(model, options) for kind, exporter in exporters.items()}
    for kind, exported in contents.items():
        if check is not None:
            check(kind, model, exported)
    for kind, exported in contents.items():
        _write(paths[kind], exported, overwrite=overwrite)
    return tuple(ExportedFile(kind, paths[kind], exported.size_bytes, exported.parity) for kind, exported in contents.items())


def default_formats() -> list[str]:
    """What is written where nobody says what: every format that is one file."""
    return [name for name in EXPORTERS.names() if EXPORTERS.load(name).suffix.startswith(".")]


def _check(path: Path, exporter: Exporter, *, overwrite: bool) -> None:
    (check_output if exporter.suffix.startswith(".") else check_folder)(path, overwrite=overwrite)


def _write(path: Path, exported: Exported, *, overwrite: bool) -> None:
    if exported.files:
        write_folder(path, exported.files, overwrite=overwrite)
    else:
        write_bytes(path, exported.content, overwrite=overwrite)


def default_stem(source: Path) -> str:
    """``best.safetensors`` in ``runs/net`` becomes ``net``; other files keep their own stem."""
    return source.resolve().parent.name if source.name in ("best.safetensors", "last.safetensors") else source.stem
