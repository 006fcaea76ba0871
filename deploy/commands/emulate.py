"""``edgeq emulate``: run a model bit-exactly on a hardware profile."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import (
    AsJson,
    DataDir,
    Limit,
    OptionalData,
    Split,
    Task,
    TaskOptions,
    Threads,
)
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.deploy.evaluation.emulation import Emulation, LayerEmulation


@with_preprocessing
def command(
    artefact: Annotated[
        Path,
        typer.Argument(
            help="A training folder, a QDQ ONNX file of any tool, or a TFLite file.",
            show_default=False,
        ),
    ],
    hardware: Annotated[
        str,
        typer.Option(
            "--on",
            metavar="HARDWARE",
            help="A hardware profile of `edgeq targets emulator`, or your own: FILE.toml.",
        ),
    ],
    data: OptionalData = None,
    data_dir: DataDir = None,
    split: Split = "test",
    limit: Limit = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    task: Task = None,
    task_option: TaskOptions = None,
    threads: Threads = 1,
    as_json: AsJson = False,
) -> None:
    """Run a model bit-exactly on a hardware profile, without the device.

    It reports for each layer how many sums overflowed or saturated, how many results were clipped,
    and a lower bound of cycles, bytes and energy. With --data it tells the accuracy or the score of
    the task too, beside those of exact arithmetic; without, the costs only.
    """
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.emulation import emulate
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.inputs import load_data

    source = load_data(data, data_dir, preprocess, [artefact]) if data is not None else None
    with console.progress("emulating") as advance:
        found = emulate(
            artefact,
            hardware,
            source=source,
            split=split,
            limit=limit,
            threads=threads,
            task=AskedTask.parse(task, task_option),
            progress=advance,
        )
    console.write_json("emulate", {"emulation": found}, printed=as_json)
    if not as_json:
        _show(found)
    console.next_step("edgeq", "why", artefact, "--data", data or "NAME")


def _show(found: "Emulation") -> None:
    from edgeq.deploy import console
    from edgeq.deploy.report.values import count, decibels, general, percent, score
    from edgeq.deploy.tables import show_remarks

    console.write(f"{found.artefact} on {found.hardware}: {found.summary}")
    if found.answers is not None:
        answers = found.answers
        right = (
            f"{percent(answers.accuracy.fraction)} % right, "
            f"{percent(answers.exact.fraction)} % in exact arithmetic; "
            if answers.accuracy is not None and answers.exact is not None
            else ""
        )
        if answers.score is not None and answers.exact_score is not None:
            right = (
                f"{answers.score.name} {score(answers.score)}, {score(answers.exact_score)} in "
                "exact arithmetic; "
            )
        changed = (
            "no answers to compare"
            if answers.changed is None
            else f"{count(answers.changed)} answered differently"
        )
        console.write(f"{answers.data}, {counted(answers.samples, 'sample')}: {right}{changed}")
        for drift in answers.outputs:
            console.write(
                f"output {drift.tensor}: {decibels(drift.sqnr_db)} dB SQNR against exact "
                f"arithmetic, {general(drift.max_abs)} at most"
            )
        show_remarks(answers.remarks)
    columns = (
        "layer",
        "type",
        "place",
        "MACs",
        "sums",
        "overflowed",
        "pairs cut",
        "wrong",
        "clipped",
        "cycles",
        "bound by",
        "kB",
        "nJ",
    )
    title = "Layers; sums and what happened to them over all samples, costs of one sample"
    console.write_table(
        title,
        columns,
        [*map(_cells, found.layers), _total(found)],
        numbers=columns[3:10] + columns[11:],
    )
    if found.cost is not None:
        assumed = f"; assumed, not published: {', '.join(found.assumed)}" if found.assumed else ""
        console.write(
            "cycles are the fewest that the machine's peak rates allow; energy by "
            f"operations and bytes at 45 nm{assumed}"
        )


def _cells(layer: "LayerEmulation") -> tuple[str, ...]:
    from edgeq.deploy.report.values import count, kilobytes, short

    counts, cost = layer.counts, layer.cost
    counted = (counts.sums, counts.overflowed, counts.pairs, counts.wrong, counts.clipped)
    spent = (
        ("", "", "", "")
        if cost is None
        else (count(cost.cycles), cost.bound, kilobytes(cost.bytes), f"{cost.energy_nj:,.1f}")
    )
    place = "host" if layer.place == "host" else ""
    return (
        short(layer.name),
        layer.op_type,
        place,
        count(layer.macs),
        *(count(each) if each else "" for each in counted),
        *spent,
    )


def _total(found: "Emulation") -> tuple[str, ...]:
    from edgeq.deploy.evaluation.emulation import LayerEmulation

    macs = sum(layer.macs for layer in found.layers)
    return _cells(LayerEmulation("all", "", "hardware", macs, found.counts, found.cost))
