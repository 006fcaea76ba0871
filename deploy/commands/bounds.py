"""``edgeq bounds``: what is provable of a file, whatever its input is."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy import names
from edgeq.deploy.options import AsJson, DataDir, Limit, OptionalData, Split, Threads
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.bounds.drift.certificate import Certificate
    from edgeq.tabular import Table


@with_preprocessing
def command(
    file: Annotated[
        Path,
        typer.Argument(
            help="ONNX or TFLite file of any tool, a checkpoint or a training folder.",
            show_default=False,
        ),
    ],
    drift: Annotated[
        bool,
        typer.Option(
            "--drift", help="Bound how far its answers can be from FP32, for every input."
        ),
    ] = False,
    origin: Annotated[
        Path | None,
        typer.Option(
            "--origin",
            metavar="FLOAT",
            help="The float ONNX file it was made from: bound what rounding its weights changed.",
        ),
    ] = None,
    data: OptionalData = None,
    data_dir: DataDir = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    split: Split = "test",
    limit: Limit = None,
    target: Annotated[
        list[str] | None,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME",
            callback=names.targets,
            help="Hold what this runtime answers against the bound; repeat, or use commas.",
        ),
    ] = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Say what a file provably never does.

    For each layer, the least accumulator in which no sum overflows, in exact integers; which
    channels leave 16, 24 and 32 bits; the pairs of products that can saturate on x86 without VNNI;
    and the channels that no input moves. With --data, how far the answers can be from FP32 on
    these samples on any kernel that is within 1 LSB of the nearest integer, tensor by tensor beside
    what rounding gives, and how many answers no such kernel can change. With --drift or --origin,
    what rounding the weights of an ONNX file can change of any answer, by the norms of the layers.
    It exits with status 1 if a target is beyond its bound.
    """
    from edgeq.data.splitting import limited
    from edgeq.deploy import console
    from edgeq.deploy.bounds.drift.asked import has_bound
    from edgeq.deploy.bounds.drift.tables import answers_table, held_table, tensors_table
    from edgeq.deploy.bounds.run import bounds, require_held
    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples
    from edgeq.deploy.evaluation.stage_runner import select
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.tables import show_remarks
    from edgeq.formats.artefact import resolve

    samples = None
    if data is not None:
        source = load_data(data, data_dir, preprocess, [file])
        source = limited(source, split, limit)
        samples = Samples(source, select(source, split))
        show_remarks(filter(None, (source.remark,)))
    found = bounds(
        file, drift=drift, samples=samples, targets=target or (), threads=threads, origin=origin
    )
    console.write_json(
        "bounds", {"accumulator_bits": found.accumulator_bits, "bounds": found}, printed=as_json
    )
    if not as_json:
        _show(found.table(), 2)
        if found.certificates:
            _show(answers_table(found.certificates), 1)
            _show(tensors_table(_told(found.certificates)), 2)
        if any(each.held for each in found.certificates):
            _show(held_table(found.certificates), 1)
        if found.weights is not None:
            _show_words(found.weights.table())
    if data is None and has_bound(resolve(file)):
        console.next_step("edgeq", "bounds", file, "--data", "NAME")
    elif found.sums or found.certificates:
        console.next_step("edgeq", "compare", file, "--data", data or "NAME")
    else:
        console.next_step("edgeq", "calibrate", file, "--data", "NAME", "-o", "quantised.onnx")
    require_held(found)


def _told(certificates: "Sequence[Certificate]") -> "Certificate":
    """The one whose tensors are shown: against FP32 on samples, where there are any."""
    return next((each for each in certificates if each.samples), certificates[0])


def _show_words(table: "Table") -> None:
    from edgeq.deploy import console

    console.write_table(table.title, table.columns, table.rows, numbers=("value",))


def _show(table: "Table", words: int) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.report.values import short

    if not table.rows:
        console.write(table.title)
        return
    rows = [(short(first), *rest) for first, *rest in table.rows]
    console.write_table(table.title, table.columns, rows, numbers=table.columns[words:])
