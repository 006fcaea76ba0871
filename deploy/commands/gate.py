"""``edgeq gate``: is it still as good as when it was last accepted?"""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
import typer.core

from edgeq.deploy.gate.ci.outputs import CiOutputs, with_ci_outputs
from edgeq.deploy.options import (
    AsJson,
    Data,
    DataDir,
    Limit,
    OptionalData,
    Overwrite,
    Split,
    Targets,
    Task,
    TaskOptions,
    Threads,
    UserModel,
)
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.deploy.runs.flag import with_run
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.gate.config import GateConfig
    from edgeq.deploy.gate.result import Finding, GateResult

_FILE = Path("edgeq-gate.toml")
_MOST_ROWS = 24  # findings that are shown a row each, whatever they say


class RunUnlessNamed(typer.core.TyperGroup):
    """Lets ``edgeq gate`` stand for ``edgeq gate run``, whatever flags follow."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Name the command where none is."""
        named = bool(args) and (args[0] in self.commands or args[0] in ctx.help_option_names)
        return super().parse_args(ctx, args if named else ["run", *args])


app = typer.Typer(
    cls=RunUnlessNamed,
    help="Pass or fail by the rules of edgeq-gate.toml, against a baseline.\n\n"
    "`edgeq gate` alone is `edgeq gate run`, whose --help lists the flags and exit codes.",
)


@with_preprocessing
@with_ci_outputs
def command(
    artefacts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="Files to judge without a file of rules; none to judge by edgeq-gate.toml.",
            show_default=False,
        ),
    ] = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="The file of rules.")
    ] = _FILE,
    against: Annotated[
        str,
        typer.Option(
            "--against",
            metavar="REVISION",
            help="Read the baseline from where this change left a git revision, such as "
            "origin/main, so that the change cannot edit what it is measured against.",
        ),
    ] = "",
    update: Annotated[
        bool,
        typer.Option(
            "--update", help="Accept what is measured now: write the baseline, or replace it."
        ),
    ] = False,
    stage: Annotated[
        list[str] | None,
        typer.Option(
            "--stage",
            metavar="PATTERN",
            help="With --update: accept these stages only, such as '*.tflite @ *'.",
        ),
    ] = None,
    forget: Annotated[
        list[str] | None,
        typer.Option(
            "--forget",
            metavar="PATTERN",
            help="With --update: leave these stages out of the baseline from now on.",
        ),
    ] = None,
    accept_worse: Annotated[
        bool,
        typer.Option(
            "--accept-worse", help="Let --update accept what became worse or cannot be compared."
        ),
    ] = False,
    accept_guessing: Annotated[
        bool,
        typer.Option(
            "--accept-guessing", help="Let --update accept an accuracy that guessing reaches too."
        ),
    ] = False,
    detectable: Annotated[
        bool,
        typer.Option(
            "--min-detectable-drop",
            help="Run nothing: tell the least drop of accuracy that so many samples can show.",
        ),
    ] = False,
    baseline: Annotated[
        Path | None,
        typer.Option(
            "--baseline", metavar="FILE", help="The committed baseline, of files named here."
        ),
    ] = None,
    data: OptionalData = None,
    data_dir: DataDir = None,
    target: Targets = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Of files named here: fail when a stage is shown to lose more than this many "
            "percentage points of accuracy, or an error grows by more per cent.",
            show_default="0.5",
        ),
    ] = None,
    split: Split = "test",
    limit: Limit = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    task: Task = None,
    task_option: TaskOptions = None,
    threads: Threads = 1,
    user_model: UserModel = None,
    outputs: CiOutputs = CiOutputs(),  # noqa: B008  it is frozen
    as_json: AsJson = False,
) -> None:
    """Pass or fail by rules, against a baseline. `run` may be left out.

    It runs the stages that edgeq-gate.toml names and judges each rule of it on each stage, sample
    by sample, against the committed baseline. Exit status: 0 passed, 1 failed, 3 inconclusive, 4 a
    target does not work here. Without a file of rules, name files, --data and --baseline: then
    accuracy is judged.

    Inconclusive means: too few samples to tell, a stage that the baseline lacks, a stage of the
    baseline that was not run, other samples, or another preprocessing.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import with_model
    from edgeq.deploy.gate import run
    from edgeq.deploy.inputs import load_data
    from edgeq.errors import UsageError
    from edgeq.targets.isolation import apart

    given = {
        "--data": data,
        "--baseline": baseline,
        "--max-drop": max_drop,
        "--model": user_model,
        "--data-dir": data_dir,
        "--target": target or None,
        "--split": None if split == "test" else split,
        "--limit": limit,
        "a flag of preprocessing": None if preprocess == NOTHING_ASKED else preprocess,
        "--task": task,
        "--task-option": task_option or None,
        "--threads": None if threads == 1 else threads,
    }
    if not artefacts and user_model is None:
        told = [name for name, value in given.items() if value is not None]
        if told:
            raise UsageError(
                f"{told[0]} is for files named here, and none is",
                hint=f"name files, or write it into {config}",
            )
    else:
        for name in ("--data", "--baseline"):
            if given[name] is None:
                raise UsageError(
                    f"files are named, and no {name}", hint=f"add {name}, or name no file"
                )
    if not update and (stage or forget or accept_worse or accept_guessing):
        raise UsageError("a flag of --update is given without it", hint="add --update")
    source = None
    if data is not None:
        source = load_data(data, data_dir, preprocess, artefacts or ())
    with with_model(artefacts or [], user_model, source) as files:
        asked = (
            _from_file(config)
            if data is None
            else _from_flags(
                files,
                data,
                baseline or Path(),
                0.5 if max_drop is None else max_drop,
                data_dir=data_dir,
                targets=tuple(target or ()),
                split=split,
                samples=limit,
                task=task,
                task_option=task_option,
                threads=threads,
                preprocessing=preprocess,
            )
        )
        if detectable:
            _show_detectable(asked, as_json=as_json)
            return
        with console.progress("gate") as advance, apart():
            result = (
                run.update(
                    asked,
                    named=tuple(stage or ()),
                    forget=tuple(forget or ()),
                    accept_worse=accept_worse,
                    accept_guessing=accept_guessing,
                    source=source,
                    progress=advance,
                )
                if update
                else run.gate(asked, against=against, source=source, progress=advance)
            )
    after = _after(result, asked)
    _show(result, after, as_json=as_json)
    outputs.write(result)
    if update:
        console.next_step("git", "add", asked.baseline, *([asked.path] if asked.path else []))
    else:
        console.next_step(after)
    if not as_json:
        console.failure_told(
            f"{result.summary}\n  hint: see each finding, its cause and the next command above"
        )
    result.require_passed()


def init(
    artefacts: Annotated[
        list[Path] | None,
        typer.Argument(
            help="The files to judge; else those below this folder.", show_default=False
        ),
    ] = None,
    data: Data = "",
    target: Targets = None,
    preprocess: Annotated[
        str | None,
        typer.Option(
            "--preprocess",
            metavar="NAME|FILE.toml",
            help="How samples are fed; else as the files note.",
        ),
    ] = None,
    user_model: UserModel = None,
    config: Annotated[
        Path, typer.Option("--config", "-c", metavar="FILE", help="The file to write.")
    ] = _FILE,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Write edgeq-gate.toml for the files that are there and the targets that work here."""
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.stage_runner import select
    from edgeq.deploy.gate.reading import read_config
    from edgeq.deploy.gate.starting import found_in, initial
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.preprocessing import AskedPreprocessing
    from edgeq.errors import UsageError
    from edgeq.files import check_output, write_text

    if not data:
        raise UsageError("no data are named", hint="add --data NAME; edgeq data lists them")
    check_output(config, overwrite=overwrite)
    files = artefacts or found_in(Path())

    def judged_by() -> str:
        source = load_data(data, None, AskedPreprocessing(preprocess), files)
        return "" if select(source, "test", None).labels is None else source.task

    text = initial(
        files,
        data,
        tuple(target or ()),
        config.parent,
        preprocess,
        user_model,
        judged_by=judged_by,
    )
    write_text(config, text, overwrite=overwrite)
    made = read_config(config)
    rules = [rule.name for rule in made.rules]
    console.write_json(
        "gate", {"config": config, "stages": made.stages, "rules": rules}, printed=as_json
    )
    if not as_json:
        console.write(f"{config}: {counted(len(made.stages), 'stage')}, rules: {', '.join(rules)}")
    console.next_step("edgeq", "gate", "--update", "--config", config)


app.command("run")(with_run(command))
app.command("init")(init)


def _from_file(path: Path) -> "GateConfig":
    from edgeq.deploy.gate.reading import read_config

    return read_config(path)


def _from_flags(
    files: list[Path], data: str, baseline: Path, max_drop: float, **more: Any
) -> "GateConfig":
    """A gate of accuracy alone."""
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.gate.config import GateConfig, Rule
    from edgeq.errors import UsageError

    if not (math.isfinite(max_drop) and max_drop >= 0):
        raise UsageError(
            f"a drop of {max_drop} points cannot be allowed", hint="give --max-drop 0 or more"
        )
    asked = AskedTask.parse(more.pop("task"), more.pop("task_option"))
    return GateConfig(
        artefacts=tuple(files),
        data=data,
        baseline=baseline,
        rules=(Rule("accuracy", {"max_drop": max_drop}),),
        folder=baseline.parent,
        task=asked.name,
        task_options=asked.options,
        **more,
    )


def _show_detectable(asked: "GateConfig", *, as_json: bool) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.gate.run import detectable, source_of
    from edgeq.deploy.gate.words import worded

    samples, drop = detectable(asked, source_of(asked))
    power, changing = asked.levels.power, asked.levels.changing
    points = None if drop is None else 100 * drop
    content = {"samples": samples, "min_detectable_drop_points": points, "power": power}
    console.write_json("gate", content, printed=as_json)
    if not as_json:
        what = "no drop at all" if points is None else f"a drop of {points:.2f} points"
        console.write(
            f"{counted(samples, 'sample', 'show')} {what} in {100 * power:g} of 100 gates, where "
            f"{100 * changing:g} % of the samples change both ways beside it"
        )
    console.next_step(worded("edgeq gate", asked))


def _after(result: "GateResult", asked: "GateConfig") -> str:
    """What is to be done next."""
    from edgeq.deploy.gate.words import worded

    if result.passed:
        return "nothing is left to do: it may be merged"
    told = [each.next_command for each in result.complaints]
    said = next((each for each in told if each.startswith(("edgeq ", "git "))), "") or told[0]
    return said or worded("edgeq gate --json", asked)


def _show(result: "GateResult", after: str, *, as_json: bool) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.tables import show_remarks

    console.write_json("gate", result.to_dict(), printed=as_json)
    show_remarks(result.remarks)
    if as_json:
        return
    if result.outcome == "updated":
        _show_changes(result)
        return
    table = result.table()
    numbers = ("baseline", "now", "limit")
    rows = [row[:-1] for row in table.rows]
    if len(rows) > _MOST_ROWS:
        rows = in_short(result.findings, rows)
    console.write_table(table.title, table.columns[:-1], rows, numbers=numbers)
    for each in result.complaints:
        console.write(f"{each.outcome.upper()}  {each.message}")
        if each.cause:
            console.write(f"  cause: {each.cause}")
        if each.next_command and each.next_command != after:
            console.write(f"  next: {each.next_command}")
    better = [each for each in result.findings if _is_better(each)]
    if better:
        console.note("edgeq: better than the baseline; --update keeps it that way")


def in_short(
    findings: "Sequence[Finding]", rows: "Sequence[Sequence[str]]"
) -> "list[Sequence[str]]":
    """Each row that did not pass, and one for each rule that did, so that the former are seen."""
    passed: dict[str, list[str]] = {}
    for each in findings:
        if each.outcome == "pass":
            passed.setdefault(each.called, []).append(each.stage)
    kept = [row for each, row in zip(findings, rows, strict=True) if each.outcome != "pass"]
    blank = [""] * (len(rows[0]) - 3)
    for rule, names in passed.items():
        noun = "stage" if any(" @ " in name for name in names) else "file"
        kept.append(
            (rule, names[0] if len(names) == 1 else counted(len(names), noun), "pass", *blank)
        )
    return kept


def _is_better(finding: "Finding") -> bool:
    """Whether an accuracy is above the baseline's."""
    if finding.rule != "accuracy.max_drop" or finding.baseline is None:
        return False
    return finding.unit == "%" and (finding.measured or 0.0) > finding.baseline


def _show_changes(result: "GateResult") -> None:
    """What an update changed, figure by figure."""
    from edgeq.deploy import console

    rows = [
        (
            each.stage,
            each.metric,
            "new" if each.before is None else each.told(each.before),
            "gone" if each.now is None else each.told(each.now),
        )
        for each in result.deltas
    ]
    title = f"Accepted as the baseline {result.baseline}" + ("" if rows else ": no figure changed")
    columns = ("stage", "figure", "before", "after")
    console.write_table(title, columns, rows, numbers=("before", "after"))
