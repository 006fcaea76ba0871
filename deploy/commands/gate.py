"""``edgeq gate``: is it still as good as when it was last accepted?"""

import math
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

if TYPE_CHECKING:
    from edgeq.deploy.evaluation.baseline import Baseline
    from edgeq.deploy.evaluation.compare import Observed
    from edgeq.deploy.evaluation.gate import StageVerdict
    from edgeq.results import Score


@with_preprocessing
def command(
    artefacts: Artefacts,
    baseline: Annotated[
        Path, typer.Option("--baseline", metavar="FILE", help="The committed file to compare with.")
    ],
    data: Data,
    data_dir: DataDir = None,
    target: Targets = None,
    max_drop: Annotated[
        float,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Fail when a stage loses more than this many percentage points of accuracy or "
            "score, or an error grows by more per cent.",
        ),
    ] = 0.5,
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Accept what is measured now: write the baseline, or replace it."
        ),
    ] = False,
    accept_guessing: Annotated[
        bool,
        typer.Option(
            "--accept-guessing", help="Let --update accept an accuracy that guessing reaches too."
        ),
    ] = False,
    split: Split = "test",
    limit: Limit = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    task: Task = None,
    task_option: TaskOptions = None,
    threads: Threads = 1,
    user_model: UserModel = None,
    as_json: AsJson = False,
) -> None:
    """Pass or fail against a baseline.

    It runs the same stages as `edgeq compare`, and compares accuracy with a committed baseline,
    sample by sample, or the score of the task. Exit status: 0 passed, 1 failed, 3 inconclusive, 4 a
    target of the baseline does not work here.

    Inconclusive means: a stage that the baseline lacks, a stage of the baseline that was not run,
    other samples, or another normalisation.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import with_model
    from edgeq.deploy.evaluation.baseline import Baseline
    from edgeq.deploy.evaluation.chain import chain
    from edgeq.deploy.evaluation.compare import compare
    from edgeq.deploy.evaluation.gate import accept
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.tables import show_remarks, show_saturation
    from edgeq.errors import UsageError
    from edgeq.files import check_output

    if not (math.isfinite(max_drop) and max_drop >= 0):
        raise UsageError(
            f"a drop of {max_drop} points cannot be allowed", hint="give --max-drop 0 or more"
        )
    if update:
        check_output(baseline, overwrite=True)
    before = None if update else Baseline.read(baseline)
    source = load_data(data, data_dir, preprocess, artefacts)
    with with_model(artefacts, user_model, source) as files, console.progress("gate") as advance:
        observed = compare(
            chain(files, target),
            source,
            split=split,
            limit=limit,
            threads=threads,
            tensors=False,
            task=AskedTask.parse(task, task_option),
            progress=advance,
        )
    show_remarks(observed.comparison.remarks)
    if not as_json:
        show_saturation(observed.comparison.saturating)
    if before is None:
        made = accept(observed, baseline, len(source.classes), accept_guessing=accept_guessing)
        _accepted(observed, made, baseline, as_json=as_json)
    else:
        _judge(observed, before, max_drop, as_json=as_json)


def _accepted(observed: "Observed", made: "Baseline", path: Path, *, as_json: bool) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.outputs.scoring import TOP1

    console.write_json(
        "gate",
        {
            "outcome": "updated",
            "baseline": str(path),
            "verdicts": [],
            "stages": observed.comparison.stages,
        },
        printed=as_json,
    )
    if as_json:
        return
    scores = {stage.name: stage.score for stage in observed.comparison.stages}
    rows = [(name, _figure(entry.value, scores[name])) for name, entry in made.stages.items()]
    title = "accuracy %" if made.metric == TOP1 else made.metric
    console.write_table(
        f"Accepted as the baseline {path}", ("stage", title), rows, numbers=(title,)
    )


def _judge(observed: "Observed", before: "Baseline", max_drop: float, *, as_json: bool) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.baseline import changes
    from edgeq.deploy.evaluation.gate import conclude, judge
    from edgeq.deploy.evaluation.outputs.scoring import TOP1
    from edgeq.errors import EdgeqError, Inconclusive

    verdicts: tuple[StageVerdict, ...] = ()
    problem: EdgeqError | None = None
    try:
        verdicts = judge(observed, before, max_drop)
        conclude(verdicts, max_drop)
    except EdgeqError as error:
        problem = error
    outcome = (
        "passed"
        if problem is None
        else "inconclusive"
        if isinstance(problem, Inconclusive)
        else "failed"
    )
    console.write_json(
        "gate",
        {
            "outcome": outcome,
            "max_drop_points": max_drop,
            "verdicts": verdicts,
            "why": problem.what if problem else "",
        },
        printed=as_json,
    )
    if verdicts and not as_json:
        scores = {stage.name: stage.score for stage in observed.comparison.stages}
        plain = observed.measure == TOP1
        columns = (
            "stage",
            "verdict",
            "baseline %" if plain else "baseline",
            "now %" if plain else "now",
            "drop",
            "gap",
            "lost",
            "gained",
            "p",
            "kB",
            "size %",
        )
        console.write_table(
            f"Gate: at most {max_drop:g} points may be lost"
            if observed.measure == TOP1
            else f"Gate: {observed.measure} may be worse by at most {max_drop:g}",
            columns,
            [_cells(verdict, scores.get(verdict.stage)) for verdict in verdicts],
            numbers=columns[2:],
        )
    if problem is not None:
        for change in changes(before):
            console.note(f"since the baseline, {change}")
        raise problem
    if any((verdict.drop_points or 0) < 0 for verdict in verdicts):
        console.note("edgeq: better than the baseline; --update keeps it that way")


def _figure(value: float | None, scored: "Score | None") -> str:
    """An accuracy in per cent, or a score with its unit."""
    from edgeq.deploy.report.values import percent, score

    return percent(value) if scored is None or value is None else score(scored, value)


def _cells(verdict: "StageVerdict", scored: "Score | None") -> tuple[str, ...]:
    from edgeq.deploy.report.values import MISSING, general, kilobytes

    judged = verdict.p_value is not None
    return (
        verdict.stage,
        verdict.state,
        _figure(verdict.baseline, scored),
        _figure(verdict.now, scored),
        MISSING if verdict.drop_points is None else f"{verdict.drop_points:.2f}",
        MISSING if verdict.gap_points is None else f"{verdict.gap_points:.2f}",
        str(verdict.lost) if judged else MISSING,
        str(verdict.gained) if judged else MISSING,
        general(verdict.p_value),
        kilobytes(verdict.size_bytes),
        MISSING if verdict.size_change is None else f"{100 * verdict.size_change:+.1f}",
    )
