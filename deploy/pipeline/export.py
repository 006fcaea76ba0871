"""From a checkpoint or an ONNX file to files in other formats.

All of them are written, with their proof, or none.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.deploy.pipeline.acceptance import require_taken
from edgeq.errors import GateFailed, UsageError
from edgeq.exporter import EXPORTERS, ExportOptions
from edgeq.files import check_folder, check_output, write_files
from edgeq.formats.artefact import detect, resolve
from edgeq.formats.quantizers import QUANTIZERS
from edgeq.network.loading import LOADERS
from edgeq.tabular import counted
from edgeq.target import dialect_for

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir

    from edgeq.exporter import (
        Approximation,
        Exported,
        Exporter,
        FileEnd,
        FloatShare,
        ParityReport,
        Transposes,
    )
    from edgeq.qdq.ort_x86.saturation import PairSums

    ExportCheck = Callable[[str, ir.Model, Exported], None]


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """One file, or folder, that was written.

    Attributes:
        format: the exporter's name.
        path: where it is.
        size_bytes: its size; all files together for a folder.
        parity: the comparison of its numbers with the model's.
        target: the target whose dialect it is written in; empty for one that was asked for by
            format.
        approximations: what is not exact in it; none unless that was allowed.
        transposes: changes of layout that remain in it; None for a format that keeps the model's
            layout.
        in_float: what it computes in float; None where nothing is.
        ends: its inputs and outputs, for a format that may hold their axes in another order than
            the model.
        saturating: the layers that could saturate on x86 without VNNI with int8 weights; None where
            that cannot be told.
        unsigned: whether these layers are stored with uint8 weights, which are exact there.
    """

    format: str
    path: Path
    size_bytes: int
    parity: ParityReport
    target: str = ""
    approximations: tuple[Approximation, ...] = ()
    transposes: Transposes | None = None
    in_float: FloatShare | None = None
    ends: tuple[FileEnd, ...] = ()
    saturating: tuple[PairSums, ...] | None = ()
    unsigned: bool = True


@dataclass(frozen=True, slots=True)
class _Job:
    """One file to write."""

    format: str
    exporter: Exporter
    options: ExportOptions
    path: Path
    target: str = ""

    def check(self, source: Path, *, overwrite: bool) -> None:
        """Refuse early what could not be written at the end."""
        (check_output if self.exporter.suffix.startswith(".") else check_folder)(
            self.path, overwrite=overwrite
        )
        if self.path.exists() and self.path.samefile(source):
            raise UsageError(
                f"{self.path} would replace the file it is made from",
                hint="choose another name or another place with -o/--output",
            )

    def written(self, exported: Exported) -> ExportedFile:
        """What was exported, as a file that is there."""
        return ExportedFile(
            self.format,
            self.path,
            exported.size_bytes,
            exported.parity,
            self.target,
            exported.approximations,
            exported.transposes,
            exported.in_float,
            exported.ends,
            exported.saturating,
            self.options.dialect is None or self.options.dialect.weights != "int8",
        )


def canonical(artefact: Path, *, dense: bool = False, outputs: Sequence[str] = ()) -> ir.Model:
    """The ONNX model of a checkpoint or an ONNX file, with BatchNorm folded into its layers.

    Args:
        artefact: the checkpoint or file.
        dense: write the graph of a graph network as dense matrices, for formats that cannot add up
            rows.
        outputs: the tensors at which it is cut; its own outputs by default.

    Raises:
        ArtefactError: missing, broken, or of a format that nothing can be exported from.
        UsageError: the network holds an operation without an ONNX form.
    """
    from edgeq.formats.subgraph import cut

    model = cut(_model(artefact, dense=dense), outputs)
    if any(node.op_type in QUANTIZERS for node in model.graph):
        return model
    from edgeq.calibration.quantize import fold_onnx
    from edgeq.formats.onnx_io import all_stays
    from edgeq.formats.onnx_validation import error_context

    with error_context(model), all_stays():
        return fold_onnx(model)


def is_float(artefact: Path) -> bool:
    """Whether nothing in an ONNX file is quantised; False for other files."""
    from edgeq.formats.onnx_io import load
    from edgeq.qdq.qoperator.operators import DYNAMIC, QOPERATORS

    path = resolve(artefact)
    if detect(path) != "onnx":
        return False
    used = {node.op_type for node in load(path, weights=False).graph.node}
    known = {*QUANTIZERS, "Quant", "BipolarQuant", *QOPERATORS, *DYNAMIC}
    return not used & known


def _model(artefact: Path, *, dense: bool) -> ir.Model:
    path = resolve(artefact)
    kind = detect(path)
    if kind == "onnx":
        from edgeq.qdq.qoperator.convert import read_as_qdq

        return read_as_qdq(path)
    if kind != "checkpoint":
        raise UsageError(
            f"{path} is a {kind} file, from which nothing can be exported",
            hint="name a checkpoint or an ONNX file; a .tflite file is run as it is, by edgeq "
            "compare, lint and gate",
        )
    from edgeq.exporters.torch.graph_network import lower_graph
    from edgeq.exporters.torch.lower import lower
    from edgeq.training.graph.description import describe_checkpoint, holds_graph

    if holds_graph(path):
        network, metadata = describe_checkpoint(path)
        return lower_graph(network, dense=dense, metadata=metadata)
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
    targets: Sequence[str] = (),
    outputs: Sequence[str] = (),
    check: ExportCheck | None = None,
) -> tuple[ExportedFile, ...]:
    """Write an artefact in each of some formats; nothing is written unless all of them can be.

    Args:
        artefact: a checkpoint, a training folder or an ONNX file.
        formats: names of exporters.
        folder: where the files go.
        options: how the files are written.
        stem: the files' name without its ending; the artefact's own, or its folder's for a
            checkpoint, where it is None.
        overwrite: replace files that exist.
        targets: targets that a file is written for too, each in its dialect; ONNX files carry the
            target's name in theirs.
        outputs: the tensors at which the model is cut; its own outputs by default.
        check: called with each format, the model and the file made from it, before any is written;
            what it raises stops it all.

    Raises:
        ArtefactError: the artefact is missing or broken, or holds something that a format cannot
            express exactly.
        GateFailed: a number would differ in one of the files.
        TargetError: a target that a file is written for can be asked here, and refuses it.
        OutputError: a file exists or cannot be written.
        UnknownName: a format or target is not known.
        UsageError: no format is named, or the stem holds a folder.
    """
    from edgeq.formats.onnx_io import all_stays
    from edgeq.formats.onnx_validation import error_context

    source = resolve(artefact)
    jobs = _jobs(formats, targets, folder, stem or default_stem(source), options)
    for job in jobs:
        job.check(source, overwrite=overwrite)
    done = []
    for job, model in zip(jobs, _models(source, jobs, outputs), strict=True):
        with error_context(model), all_stays():
            done.append((job, model, job.exporter.export(model, job.options)))
    require_parity([(job.path, exported.parity) for job, _, exported in done])
    for job, model, exported in done:
        if job.target:
            require_taken(job.target, job.exporter.suffix, exported)
        if check is not None:
            check(job.format, model, exported)
    contents = {job.path: exported.files or exported.content for job, _, exported in done}
    write_files(contents, overwrite=overwrite)
    return tuple(job.written(exported) for job, _, exported in done)


def require_parity(files: Sequence[tuple[Path, ParityReport]]) -> None:
    """Return where every number of files that are to be written is the model's.

    Raises:
        GateFailed: one is not; lists each.
    """
    different = [f"{path}: {line}" for path, parity in files for line in parity.different]
    if different:
        compared = sum(parity.compared for _, parity in files)
        raise GateFailed(
            "\n  ".join(
                [
                    f"{counted(len(different), 'number', of=compared)} would change on the way:",
                    *different,
                ]
            ),
            hint="nothing was written; please report the model, for this is not meant to happen",
        )


def dynamic(model: ir.Model, options: ExportOptions) -> ir.Model:
    """A float model with the weights of its layers in integers, where that is asked for.

    Raises:
        UsageError: it is quantised already, or the options ask for something else, too.
    """
    if not options.dynamic:
        return model
    from edgeq.calibration.weight_methods.weights_only import weights_only

    plain = ExportOptions(io_layout=options.io_layout, dynamic=True)
    if replace(options, allow_float=False, requantize=False) != plain:
        raise UsageError(
            "dynamic quantisation has one form: int8 weights for every runtime, and float inputs, "
            "outputs and activations",
            hint="leave out --for, --weight-storage, --activation-dtype and --io-type",
        )
    if any(node.op_type in QUANTIZERS for node in model.graph):
        raise UsageError(
            "the model is quantised already, and dynamic quantisation begins with a float one",
            hint="name the float model, or leave --dynamic out",
        )
    return weights_only(model)


def _models(source: Path, jobs: Sequence[_Job], outputs: Sequence[str]) -> list[ir.Model]:
    """What each file is made from.

    One model for all of them, or for a graph network the form that its format can hold.
    """
    if detect(source) == "checkpoint":
        from edgeq.training.graph.description import holds_graph

        if holds_graph(source):
            if any(job.options.dynamic for job in jobs):
                raise UsageError(
                    "graph networks are not quantised dynamically", hint="leave --dynamic out"
                )
            return [canonical(source, dense=job.format != "onnx", outputs=outputs) for job in jobs]
    model = canonical(source, outputs=outputs)
    chosen = next((job for job in jobs if job.options.dialect is not None), jobs[0])
    return [dynamic(model, chosen.options)] * len(jobs)


def _jobs(
    formats: Sequence[str], targets: Sequence[str], folder: Path, stem: str, options: ExportOptions
) -> list[_Job]:
    """The files to write, each once."""
    jobs: dict[Path, _Job] = {}
    for name in formats:
        exporter = EXPORTERS.load(name)
        path = folder / f"{stem}{exporter.suffix}"
        jobs[path] = _Job(name, exporter, options, path)
    for target in targets:
        dialect = dialect_for(target)
        exporter = EXPORTERS.load(dialect.format)
        # TFLite is one dialect wherever all its kernels are
        own = f".{target.replace(':', '-')}" if dialect.format == "onnx" or dialect.lacks else ""
        path = folder / f"{stem}{own}{exporter.suffix}"
        jobs.setdefault(
            path, _Job(dialect.format, exporter, replace(options, dialect=dialect), path, target)
        )
    if Path(stem).name != stem:
        raise UsageError(
            f"the name {stem!r} holds a folder",
            hint="name the folder with -o/--output, and only the files with --name",
        )
    if not jobs:
        raise UsageError(
            "no format is named", hint=f"add --to with one of {', '.join(EXPORTERS.names())}"
        )
    return list(jobs.values())


def default_formats() -> list[str]:
    """What is written where nobody says what: every format that is one file."""
    return [name for name in EXPORTERS.names() if EXPORTERS.load(name).suffix.startswith(".")]


def default_stem(source: Path) -> str:
    """``best.safetensors`` in ``runs/net`` becomes ``net``; other files keep their own stem."""
    return (
        source.resolve().parent.name
        if source.name in ("best.safetensors", "last.safetensors")
        else source.stem
    )
