"""``edgeq export``: files for devices, with the proof that no number changed."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from edgeq.deploy import names
from edgeq.deploy.options import (
    AsJson,
    CutOutputs,
    DataDir,
    Few,
    Output,
    Overwrite,
    Split,
    UserModel,
)
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.errors import GateFailed
from edgeq.tabular import few_of

if TYPE_CHECKING:
    from edgeq.deploy.evaluation.verify import Verifier
    from edgeq.deploy.pipeline.export import ExportedFile
    from edgeq.exporter import Approximation, IoLayout, IoType, WeightStorage
    from edgeq.formats.dialect import ActivationDtype

_ACTIVATION_DTYPES = ("uint8", "int8")
_IO_TYPES = ("int8", "uint8", "float32")
_IO_LAYOUTS = ("nhwc", "nchw")
_WEIGHT_STORAGES = ("int8", "int4", "one-bit")


@with_preprocessing
def command(
    *,
    source: Annotated[
        Path | None,
        typer.Argument(
            help="A training folder, a checkpoint or an ONNX file; none with --model.",
            show_default=False,
        ),
    ] = None,
    output: Output,
    user_model: UserModel = None,
    to: Annotated[
        list[str] | None,
        typer.Option(
            "--to",
            metavar="onnx|tflite|vectors",
            callback=names.formats,
            help="A format to write; repeat, or use commas. onnx and tflite where none is named.",
        ),
    ] = None,
    activation_dtype: Annotated[
        str,
        typer.Option(
            "--activation-dtype",
            metavar="|".join(_ACTIVATION_DTYPES),
            help="Integers of ONNX activations: uint8 is fast on x86, int8 on Arm.",
        ),
    ] = "uint8",
    io_type: Annotated[
        str,
        typer.Option(
            "--io-type",
            metavar="|".join(_IO_TYPES),
            help="Type of a TFLite file's input and output.",
        ),
    ] = "int8",
    io_layout: Annotated[
        str,
        typer.Option(
            "--io-layout",
            metavar="|".join(_IO_LAYOUTS),
            help="Order of the axes of a TFLite file's images.",
        ),
    ] = "nhwc",
    weight_storage: Annotated[
        str,
        typer.Option(
            "--weight-storage",
            metavar="|".join(_WEIGHT_STORAGES),
            help="int4 stores weights that fit 4 bits in half the bytes; one-bit stores those of "
            "-1 and +1 in an eighth, in ONNX.",
        ),
    ] = "int8",
    requantize: Annotated[
        bool,
        typer.Option(
            "--requantize",
            help="Approximate what a format cannot express exactly, and list it with its error.",
        ),
    ] = False,
    allow_float: Annotated[
        bool,
        typer.Option(
            "--allow-float",
            help="Keep what TFLite has no integer form for in float, and say what share that is.",
        ),
    ] = False,
    dynamic: Annotated[
        bool,
        typer.Option(
            "--dynamic",
            help="Of a float network, write int8 weights and float activations, which are put on "
            "grids of 8 bits as it runs; needs no data.",
        ),
    ] = False,
    name: Annotated[
        str | None,
        typer.Option(
            "--name",
            metavar="STEM",
            help="Name of the files, without the ending; else the source's.",
        ),
    ] = None,
    targets: Annotated[
        list[str] | None,
        typer.Option(
            "--for",
            metavar="TARGET",
            callback=names.dialects,
            help="Write a file in this target's dialect: ort-cpu, tensorrt …; repeat, or use "
            "commas.",
        ),
    ] = None,
    outputs: CutOutputs = None,
    verify: Annotated[
        str | None,
        typer.Option(
            "--verify",
            metavar="DATA",
            help="Run the TFLite file against the model on this data before anything is written.",
        ),
    ] = None,
    data_dir: DataDir = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    split: Split = "test",
    limit: Few = 64,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write the files that runtimes open, and prove that no number changed.

    Every number in the files is compared with the trained or calibrated one. If a single weight,
    bias, scale or zero point would differ, the command exits with status 1 and writes nothing.

    --verify computes every operator with both references on equal integers. If one differs by more
    than 1 LSB, the command exits with status 1 and writes nothing.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import only, with_model
    from edgeq.deploy.evaluation.verify import verifier_for
    from edgeq.deploy.inputs import choose
    from edgeq.deploy.pipeline.export import default_formats, export, is_float
    from edgeq.exporter import ExportOptions

    options = ExportOptions(
        activation_dtype=cast(
            "ActivationDtype", choose("activation dtype", activation_dtype, _ACTIVATION_DTYPES)
        ),
        io_type=cast("IoType", choose("type", io_type, _IO_TYPES)),
        io_layout=cast("IoLayout", choose("layout", io_layout, _IO_LAYOUTS)),
        weight_storage=cast(
            "WeightStorage", choose("weight storage", weight_storage, _WEIGHT_STORAGES)
        ),
        requantize=requantize,
        allow_float=allow_float,
        dynamic=dynamic,
    )
    formats = to or ([] if targets else default_formats())
    given = [] if source is None else [source]
    verifier = (
        verifier_for(verify, data_dir, preprocess, given, split, limit)
        if verify is not None
        else None
    )
    shown = verifier.source if verifier is not None else None
    if source is None and user_model is not None:
        name = name or user_model.rpartition(":")[2]
    try:
        with (
            with_model(given, user_model, shown, "--verify") as files,
            console.progress("verifying") as advance,
        ):
            if verifier is not None:
                verifier.progress = advance
            written = export(
                only(files),
                formats,
                output,
                options,
                stem=name,
                overwrite=overwrite,
                targets=targets or (),
                outputs=outputs or (),
                check=verifier,
            )
            if not dynamic and is_float(only(files)):
                console.note(
                    f"{only(files)} is a float network: nothing in it is quantised, and nothing "
                    "will be in what is written; edgeq calibrate quantises it, and --dynamic its "
                    "weights"
                )
    except GateFailed:
        console.write_json("export", {"files": [], **_verification(verifier)}, printed=as_json)
        if not as_json:
            _show_verified(verifier)
        raise
    if verifier is not None and not verifier.found:
        console.note(
            "nothing was verified: --verify compares the integers between the operators of a "
            "TFLite file with its model's, and what was written is no such file; edgeq compare "
            "runs any"
        )
    data = verify or "NAME"
    console.next_step("edgeq", "compare", *(each.path for each in written), "--data", data)
    content = {"files": [_record(each) for each in written], **_verification(verifier)}
    console.write_json("export", content, printed=as_json)
    if not as_json:
        from edgeq.deploy.report.sections.making.files import READ_BACK

        console.write_table(
            "Numbers compared with the source's",
            READ_BACK,
            [_cells(each) for each in written],
            numbers=READ_BACK[1:],
        )
        _show_rescaled(written)
        _show_ends(written)
        _show_approximations(written)
        _show_fallback(written)
        _show_saturating(written)
        _show_verified(verifier)


def _record(each: "ExportedFile") -> dict[str, object]:
    return {
        "format": each.format,
        "path": str(each.path),
        "size_bytes": each.size_bytes,
        "parity": each.parity,
        "approximations": each.approximations,
        "transposes": each.transposes,
        "in_float": each.in_float,
        "ends": each.ends,
        "saturating": each.saturating,
        "unsigned_weights": each.unsigned,
    }


def _show_rescaled(written: "tuple[ExportedFile, ...]") -> None:
    """Channels whose sums would have left 32 bits on the scale that the source gives them."""
    from edgeq.deploy import console
    from edgeq.errors import channels_named

    rows = [
        (str(each.path), one.tensor, channels_named(one.channels), f"{one.max_error_lsb:.3g}")
        for each in written
        for one in each.parity.rescaled
    ]
    if rows:
        console.write_table(
            "Weight scales that were changed, since sums would not fit 32 bits",
            ("file", "tensor", "channels", "error, LSB"),
            rows,
            numbers=("error, LSB",),
        )


def _show_ends(written: "tuple[ExportedFile, ...]") -> None:
    """What each file takes and gives, and in which order of axes."""
    from edgeq.deploy import console

    for each in written:
        if each.ends:
            rows = [
                (end.kind, end.name, " x ".join(map(str, end.shape)), end.order)
                for end in each.ends
            ]
            console.write_table(
                f"Inputs and outputs of {each.path}", ("", "name", "shape", "axes"), rows
            )


def _show_approximations(written: "tuple[ExportedFile, ...]") -> None:
    from edgeq.deploy import console

    alike: dict[tuple[str, str], list[Approximation]] = {}
    for each in written:
        for one in each.approximations:
            alike.setdefault((str(each.path), one.what), []).append(one)
    rows = [
        (path, few_of([one.tensor for one in found]), what, f"{error:.3g}")
        for (path, what), found in alike.items()
        for error in [max(one.max_error_lsb for one in found)]
    ]
    if rows:
        console.write_table(
            "Not exact",
            ("file", "tensors", "what was done", "error, LSB"),
            rows,
            numbers=("error, LSB",),
        )


def _show_fallback(written: "tuple[ExportedFile, ...]") -> None:
    from edgeq.deploy import console

    for each in written:
        if (share := each.in_float) is not None:
            title = (
                f"In float: {100 * share.share:.1f} % of {share.total_macs:,} multiplications "
                f"in {each.path}"
            )
            console.write_table(title, ("operator",), [(line,) for line in share.operators])


def _show_saturating(written: "tuple[ExportedFile, ...]") -> None:
    """How layers are stored that int8 kernels of x86 without VNNI would compute wrongly."""
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.saturation.pair_saturation import remedy
    from edgeq.deploy.tables import show_saturating
    from edgeq.results import LayerSaturation
    from edgeq.target import TARGETS

    for each in written:
        if each.saturating is None and each.parity.scales:
            console.write(
                f"{each.path}: the graph cannot be read as integers as a whole, so weights "
                "are uint8, exact on every processor, "
                "except in layers that cannot saturate whatever they read"
            )
        elif each.saturating and each.unsigned:
            console.write(f"{each.path}: {_told_unsigned(each)}")
        elif each.saturating:
            console.write(f"{each.path}:")
            layers = [LayerSaturation.of(sums) for sums in each.saturating]
            capabilities = TARGETS.load(each.target).capabilities
            show_saturating(layers, remedy(each.path, each.target, capabilities, layers))


def _told_unsigned(each: "ExportedFile") -> str:
    from edgeq.deploy.evaluation.saturation.pair_saturation import cost_told, costs_of
    from edgeq.formats.dialect import CANONICAL, INT8_WEIGHTS
    from edgeq.tabular import counted
    from edgeq.target import dialect_for

    dialect = dialect_for(each.target) if each.target else CANONICAL
    layers = counted(len(each.saturating or ()), "layer")
    told = (
        f"{layers} with uint8 weights, since pairs of products could saturate on x86 without "
        "VNNI; the numbers are the same."
    )
    costs = "".join(
        f" On {name} uint8 weights take {cost_told(cost)}."
        for name, cost in costs_of(dialect).items()
    )
    keeps = (
        f" Where every x86 has VNNI, --for {INT8_WEIGHTS[dialect]} keeps int8 weights."
        if dialect in INT8_WEIGHTS
        else ""
    )
    return f"{told}{costs}{keeps}"


def _verification(verifier: "Verifier | None") -> dict[str, object]:
    return {} if verifier is None else {"verification": verifier.found}


def _show_verified(verifier: "Verifier | None") -> None:
    from edgeq.deploy.tables import show_verification

    for verification in verifier.found.values() if verifier is not None else ():
        show_verification(verification)


def _cells(each: "ExportedFile") -> tuple[str, ...]:
    from edgeq.deploy.report.values import count, kilobytes

    parity = each.parity
    numbers = (
        parity.weights,
        parity.biases,
        parity.scales,
        parity.zero_points,
        len(parity.different),
    )
    return str(each.path), kilobytes(each.size_bytes), *map(count, numbers), _transposes(each)


def _transposes(each: "ExportedFile") -> str:
    from edgeq.deploy.report.values import kilobytes

    moved = each.transposes
    if moved is None:
        return ""
    return f"{moved.count}, {kilobytes(moved.size_bytes)} kB" if moved.count else "0"
