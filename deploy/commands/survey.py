"""``edgeq survey``: networks on every target, each in its own dialect, in one table."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import (
    AsJson,
    Data,
    DataDir,
    Limit,
    Split,
    Targets,
    Task,
    TaskOptions,
    Threads,
    UserModel,
)
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.deploy.evaluation.survey import Survey, SurveyRow
    from edgeq.results import Profile


@with_preprocessing
def command(
    networks: Annotated[
        list[Path],
        typer.Argument(help="Training folders, checkpoints or QDQ ONNX files.", show_default=False),
    ],
    data: Data,
    data_dir: DataDir = None,
    target: Targets = None,
    against: Annotated[
        str,
        typer.Option(
            "--against", metavar="NAME", help="The target that the others are compared with."
        ),
    ] = "emulator",
    split: Split = "test",
    limit: Limit = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    task: Task = None,
    task_option: TaskOptions = None,
    seconds: Annotated[
        float,
        typer.Option(
            "--seconds",
            metavar="S",
            min=0,
            help="Time each network on each target for at least this long; 0: not at all.",
        ),
    ] = 1.0,
    threads: Threads = 1,
    user_model: UserModel = None,
    as_json: AsJson = False,
) -> None:
    """Run networks on every target that works here.

    Each network is exported in each target's dialect and answers the same samples there. The table
    has accuracy, or the score of the task, answers and outputs that differ from one target's, and
    the latency with what it means. A target that fails is a row with the reason; the others keep
    theirs, and the exit status is 4.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import with_model
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.evaluation.survey import survey
    from edgeq.deploy.inputs import load_data
    from edgeq.machine import fingerprint

    source, machine = load_data(data, data_dir, preprocess, networks), fingerprint()
    with (
        with_model(networks, user_model, source) as files,
        console.progress("surveying") as advance,
    ):
        found = survey(
            files,
            source,
            targets=target or (),
            reference=against,
            split=split,
            limit=limit,
            threads=threads,
            seconds=seconds or None,
            task=AskedTask.parse(task, task_option),
            progress=advance,
        )
    console.write_json("survey", {"machine": machine, "survey": found}, printed=as_json)
    if not as_json:
        _show(found, split)
    flipped = next((row for row in found.rows if row.flipped), None)
    if flipped is not None:
        console.next_step("edgeq", "why", *networks, "--data", data, "-t", flipped.target)
    else:
        console.next_step("edgeq", "export", networks[0], "-o", "exported")
    found.require_all()


def _show(found: "Survey", split: str) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.report.values import further_headings
    from edgeq.deploy.tables import show_remarks, show_saturation

    further = further_headings("survey")
    score = next((row.score.name for row in found.rows if row.score), "accuracy %")
    columns = (
        "network",
        "target",
        score,
        "flipped",
        "outputs off by LSB",
        *further,
        "p50 ms",
        "latency is",
        "kB",
        "why it did not run",
    )
    title = (
        f"{found.data} {split}, {counted(found.samples, 'sample')}; flipped and LSB against "
        f"{found.reference}"
    )
    console.write_table(
        title,
        columns,
        [_cells(row) for row in found.rows],
        numbers=(score, "flipped", *further, "p50 ms", "kB"),
    )
    show_remarks(found.remarks)
    show_saturation(row.saturating for row in found.rows)


def _cells(row: "SurveyRow") -> tuple[str, ...]:
    from edgeq.deploy.report.values import further_cells, kilobytes, percent, score, steps

    further = further_cells(row.metrics, "survey")
    if row.failure:
        return row.network, row.target, *[""] * (6 + len(further)), row.failure
    scored = percent(row.accuracy.fraction if row.accuracy else None)
    if row.score is not None:
        scored = score(row.score)
    flipped = "" if row.flipped is None else str(row.flipped)
    return (
        row.network,
        row.target,
        scored,
        flipped,
        steps(row.lsb, row.max_lsb),
        *further,
        *_latency(row.profile),
        kilobytes(row.size_bytes),
        "",
    )


def _latency(profile: "Profile | None") -> tuple[str, str]:
    from edgeq.deploy.report.values import milliseconds

    if profile is None:
        return "", ""
    noisy = "?" if profile.kind == "measured" and not profile.latency.trustworthy else ""
    return f"{milliseconds(profile.latency.p50_ms)}{noisy}", profile.kind
