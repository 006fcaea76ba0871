"""``edgeq why``: which step, which operator and which cause."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.deploy.options import (
    Artefacts,
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

WIDTH = 80  # columns
MAX_OPERATORS = 12  # lines of a table; --json has all

if TYPE_CHECKING:
    from edgeq.deploy.why.records import OperatorError, StageVerdict, Why


@with_preprocessing
def command(
    artefacts: Artefacts,
    data: Data,
    data_dir: DataDir = None,
    target: Targets = None,
    split: Split = "test",
    limit: Limit = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    task: Task = None,
    task_option: TaskOptions = None,
    threads: Threads = 1,
    user_model: UserModel = None,
    reduce: Annotated[
        Path | None,
        typer.Option(
            "--reduce",
            metavar="DIR",
            help="Write the smallest files that fail, an input, and a script that shows it.",
        ),
    ] = None,
    tensor: Annotated[
        str | None,
        typer.Option(
            "--tensor",
            metavar="NAME",
            help="Show the error of this tensor by channel, row, column and class, too.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Say at which step a network goes wrong, in which operator, and why.

    It runs the files on the targets, the reference of the first one beside them, and judges each
    operator given equal inputs, so that what differs by rounding alone is called exact. It ends
    with the cause and the next command, and with status 1 where there is a cause.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import with_model
    from edgeq.deploy.evaluation.chain import chain
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.why.detail import details_of
    from edgeq.deploy.why.reduce import require_new, write_reproducer
    from edgeq.deploy.why.run import why
    from edgeq.errors import GateFailed
    from edgeq.results import require_all

    if reduce is not None:
        require_new(reduce)
    source = load_data(data, data_dir, preprocess, artefacts)
    with (
        with_model(artefacts, user_model, source) as files,
        console.progress("asking why") as advance,
    ):
        findings = why(
            chain(files, target),
            source,
            split=split,
            limit=limit,
            threads=threads,
            task=AskedTask.parse(task, task_option),
            given=console.with_typed("edgeq", "calibrate", "--data", data)[2:],
            progress=advance,
        )
        written = None if reduce is None else write_reproducer(findings, reduce)
        details = (
            []
            if tensor is None
            else details_of(tensor, findings, source, split=split, limit=limit, threads=threads)
        )
    found = findings.why
    console.write_json(
        "why", {"exact": found.exact, "why": found, "tensor": details}, printed=as_json
    )
    if not as_json:
        for each in details:
            table = each.table()
            console.write_table(table.title, table.columns, table.rows, numbers=table.columns[1:])
        _show(found, split)
    if found.exact and not found.failures:
        next_one = ("gate", "init") if found.whole else ("compare",)
        console.next_step("edgeq", *next_one, *artefacts, "--data", data)
    elif as_json and found.causes:  # people read it behind the cause
        console.next_step(found.causes[0].hint)
    if written is not None:
        console.note(f"python {written} shows it")
    elif reduce is not None:
        console.note(
            f"nothing is written to {reduce}: given equal inputs, no operator is wrong on these "
            "samples, so there is nothing to cut out"
        )
    require_all(found.failures)
    if not found.exact:
        first = found.causes[0]
        where = f" in {first.place}" if first.place else ""
        if not as_json:
            console.failure_told(f"{counted(len(found.causes), 'cause')}, told above")
        raise GateFailed(f"{first.kind}{where}", hint=first.hint)


def _show(found: "Why", split: str) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.tables import show_failures, show_remarks

    table = found.table()
    title = f"{found.data} {split}, {counted(found.samples, 'sample')}"
    console.write_table(title, table.columns, table.rows, numbers=table.columns[1:3])
    for stage in found.stages:
        if stage.state == "WRONG":
            _show_operators(stage)
    _show_growth(found)
    show_remarks(found.remarks)
    show_failures(found.failures)
    for cause in found.causes:
        where = f" in {cause.place}" if cause.place else ""
        _write("CAUSE", f"{cause.kind}{where}: {cause.what}")
        for each in cause.evidence:
            _write("", each)
        _write("HINT", cause.hint)


def _write(head: str, text: str) -> None:
    """A paragraph of lines of a terminal's usual width, behind a word in front."""
    from textwrap import fill

    from edgeq.deploy import console

    lines = fill(
        text,
        WIDTH,
        initial_indent=f"{head:7}",
        subsequent_indent=" " * 7,
        break_long_words=False,
        break_on_hyphens=False,
    )
    console.write(lines)


def _show_operators(stage: "StageVerdict") -> None:
    """The operators that are wrong; of many, the first."""
    from edgeq.deploy import console

    wrong = [each for each in stage.operators if each.wrong]
    if not wrong:
        return
    title = f"{stage.name}: {counted(len(wrong), 'operator')} wrong"
    if len(wrong) > MAX_OPERATORS:
        title += f", the first {MAX_OPERATORS} are"
    columns = ("operator", "tensor", "wrong", "local LSB", "accumulated LSB", "accumulated dB")
    console.write_table(
        title,
        columns,
        [_operator_cells(each) for each in wrong[:MAX_OPERATORS]],
        numbers=columns[2:],
    )


def _show_growth(found: "Why") -> None:
    """What a block costs, of each stage that quantisation alone sets apart."""
    from edgeq.deploy import console

    rows = [
        (
            stage.name,
            stage.against,
            f"{stage.growth.rate_db:+.2f}",
            f"{stage.growth.low_db:+.2f} to {stage.growth.high_db:+.2f}",
            str(stage.growth.blocks),
        )
        for stage in found.stages
        if stage.growth is not None and stage.state == "quantisation"
    ]
    if rows:
        columns = ("stage", "against", "dB a block", "95 % interval", "blocks")
        console.write_table("How the error grows with depth", columns, rows, numbers=columns[2:])


def _operator_cells(error: "OperatorError") -> tuple[str, ...]:
    from edgeq.deploy.report.values import decibels, short

    return (
        f"{error.number or ''} {error.op_type}".strip(),
        short(error.tensor),
        f"{error.wrong:,} of {error.elements:,}",
        "" if error.max_lsb is None else f"{error.max_lsb:,}",
        "" if error.accumulated_lsb is None else f"{error.accumulated_lsb:,}",
        "" if error.accumulated_db is None else decibels(error.accumulated_db),
    )
