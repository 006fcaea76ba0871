"""``edgeq compare``: accuracy and drift, stage by stage and layer by layer."""

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

MAX_TENSORS = 25  # lines of a table; --json has all
MAX_HOPS = 4  # whose tensors are shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.console import Advance
    from edgeq.deploy.evaluation.sharded import ComparisonJob
    from edgeq.deploy.pipeline.shards import Shard
    from edgeq.results import Comparison, Drift, Hop


def _list_tasks(asked: bool) -> None:
    """What ``--task`` and ``--task-option`` can be."""
    if not asked:
        return
    from edgeq.deploy import console
    from edgeq.tasks import TASKS
    from edgeq.tasks.decoders import DECODERS

    tasks = [(name, TASKS.load(name)) for name in TASKS.names()]
    console.write_table(
        "Tasks", ("--task", "what it judges"), [(name, task.summary) for name, task in tasks]
    )
    options = [
        (name, key, what) for name, task in tasks for key, what in sorted(task.options.items())
    ]
    console.write_table("Task options", ("--task", "--task-option", "what it is"), options)
    decoders = [(f"decoder={name}", DECODERS.load(name).summary) for name in DECODERS.names()]
    console.write_table("Decoders", ("--task-option", "what it reads"), decoders)
    console.next_step("edgeq", "compare", "FILE", "--data", "NAME", "--task", tasks[0][0])
    raise typer.Exit


@with_preprocessing
def command(
    artefacts: Artefacts,
    data: Data,
    data_dir: DataDir = None,
    target: Targets = None,
    reference: Annotated[
        Path | None,
        typer.Option(
            "--reference",
            metavar="PATH",
            help="Compare with this artefact on its first target; else with the first stage.",
        ),
    ] = None,
    split: Split = "test",
    limit: Limit = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    task: Task = None,
    task_option: TaskOptions = None,
    tensors: Annotated[
        bool,
        typer.Option(
            "--tensors/--no-tensors",
            help="Compare the tensors inside too, on the first 200 samples at most.",
        ),
    ] = True,
    growth: Annotated[
        bool,
        typer.Option(
            "--growth",
            help="Tell how errors grow from block to block, of rounding activations and of each "
            "stage.",
        ),
    ] = False,
    threads: Threads = 1,
    user_model: UserModel = None,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only run the I-th of N parts of the samples, and keep what comes out in "
            "--statistics.",
        ),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(
            "--statistics",
            metavar="DIR",
            help="Compare what the shards that were run into this folder came to, all of them.",
        ),
    ] = None,
    _tasks: Annotated[
        bool,
        typer.Option(
            "--tasks",
            callback=_list_tasks,
            is_eager=True,
            help="List the tasks with their options and the decoders of detectors, and leave.",
        ),
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Compare accuracy, or a task's score, and drift, hop by hop.

    It runs artefacts on targets over the same samples, and shows where answers change, by how much
    and why. A target that fails loses its own stages only, and the command exits with status 4. On
    a graph it compares checkpoints with and without rounding, by the degree of nodes too.
    """
    from edgeq.data import GRAPHS
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import with_model
    from edgeq.deploy.depth.growth import compare_by_depth
    from edgeq.deploy.evaluation.chain import chain
    from edgeq.deploy.evaluation.compare import compare, ordered, shorten
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.evaluation.sharded import ComparisonJob
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.pipeline.shards import Shard
    from edgeq.deploy.report.values import GUESSING
    from edgeq.deploy.runs.drawings import DRAWINGS, drawings
    from edgeq.errors import UsageError
    from edgeq.results import require_all

    if growth and reference is not None:
        raise UsageError(
            "--growth has a reference of its own: that of the first quantised file",
            hint="leave --reference out, and name that file first",
        )
    if growth and not tensors:
        raise UsageError("--growth needs the tensors inside", hint="leave --no-tensors out")
    if growth and statistics is not None:
        raise UsageError(
            "--growth looks at the tensors of all samples, which --statistics does not keep",
            hint="leave --statistics and --shard out",
        )
    mine = None if shard is None else Shard.parse(shard)
    if mine is not None and statistics is None:
        raise UsageError(
            "a shard is kept in a folder, and none is named", hint="add --statistics DIR"
        )
    if data in GRAPHS.names():
        left_out = (target, reference, limit, task, task_option, shard, statistics, user_model)
        if any(left_out) or growth or preprocess != NOTHING_ASKED:
            raise UsageError(
                f"{data} is a graph, of which checkpoints are compared as a whole, in PyTorch",
                hint="leave all flags but --data, --data-dir, --split and --json out",
            )
        _compare_graph(artefacts, data, data_dir, split, as_json=as_json)
        return
    fed = [*artefacts, *([] if reference is None else [reference])]
    source = load_data(data, data_dir, preprocess, fed)
    with (
        with_model(artefacts, user_model, source) as files,
        console.progress("comparing") as advance,
    ):
        pairs = chain(files, target)
        against = chain([reference])[0] if reference is not None else None
        if mine is not None and statistics is not None:
            job = ComparisonJob(ordered(pairs, against), source, split, limit, threads, tensors)
            _measure(job, mine, statistics, advance, as_json=as_json)
            return
        asked = AskedTask.parse(task, task_option)
        if growth:
            observed = compare_by_depth(
                pairs,
                source,
                split=split,
                limit=limit,
                threads=threads,
                task=asked,
                progress=advance,
            )
        else:
            observed = compare(
                pairs,
                source,
                split=split,
                limit=limit,
                reference=against,
                threads=threads,
                tensors=tensors,
                task=asked,
                statistics=statistics,
                progress=advance,
            )
        found = observed.comparison
        if console.is_kept():
            names = shorten(
                [pair.artefact for pair in pairs] + ([] if reference is None else [reference])
            )
            named = {name: path for path, name in names.items()}
            console.attach(DRAWINGS, drawings(found, observed.answers, named, source, split))
    console.write_json("compare", {"comparison": found}, printed=as_json)
    if not as_json:
        _show(found, split)
    others = _of_other_weights(found)
    if others and user_model is not None:
        console.next_step(f"let {user_model} load the weights that {others[1]} was made from")
    elif others:
        paths = {name: path for path, name in shorten(fed).items()}
        console.next_step("edgeq", "diff", *(paths.get(name, name) for name in others))
    elif any(stage.changed for stage in found.stages) or found.saturating:
        console.next_step("edgeq", "why", *artefacts, "--data", data)
    elif flags := next((each.flags for each in observed.doubts if each.flags), ""):
        console.next_step(f"the same command with {flags}")
    elif observed.doubts or any(GUESSING in remark for remark in found.remarks):
        console.next_step("edgeq", "data", data)  # nothing that a gate should hold on to
    elif not found.failures:
        console.next_step("edgeq", "gate", "init", *artefacts, "--data", data)
    require_all(found.failures)


def _compare_graph(
    artefacts: "Sequence[Path]", data: str, folder: Path | None, split: str, *, as_json: bool
) -> None:
    """Checkpoints of graph networks, with and without rounding, on all nodes at once."""
    from edgeq.data import load_graph
    from edgeq.deploy import console
    from edgeq.deploy.depth.graph import compare_graph

    found = compare_graph(artefacts, load_graph(data, folder), split)
    console.write_json("compare", {"comparison": found}, printed=as_json)
    if not as_json:
        _show(found, split)
    console.next_step("edgeq", "models", "--margins", artefacts[0])


def _of_other_weights(found: "Comparison") -> tuple[str, str] | None:
    """The first two files, by name, that hold the weights of two trainings; None for none."""
    from edgeq.deploy.evaluation.compare import OTHER_WEIGHTS

    for hop in found.hops:
        if OTHER_WEIGHTS in hop.cause:
            first, second = (end.rpartition(" @ ")[0] for end in (hop.source, hop.stage))
            return first, second
    return None


def _measure(
    job: "ComparisonJob", shard: "Shard", folder: Path, advance: "Advance", *, as_json: bool
) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.sharded import measure

    path, samples = measure(job, shard, folder, progress=advance)
    console.next_step(f"with all {shard.count} shards there, leave --shard out")
    content = {"statistics": str(path), "samples": samples}
    console.write_json("compare", content, printed=as_json)
    if not as_json:
        console.write(
            f"{path}: what {counted(len(job.pairs), 'stage', 'compute')} for "
            f"{counted(samples, 'sample')}"
        )


def _show(found: "Comparison", split: str) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.report.values import further_headings
    from edgeq.deploy.score_tables import show_stages
    from edgeq.deploy.tables import show_degrees, show_failures, show_remarks, show_saturation

    show_stages(found, split)
    show_remarks(found.remarks)
    show_failures(found.failures)
    if not found.hops:
        show_saturation(found.saturating)
        return
    further = further_headings("hops")
    hop_columns = (
        "from",
        "to",
        "cause",
        "SQNR dB",
        "RMSE",
        "largest",
        *further,
        "worst tensor",
        "its SQNR dB",
        "off by LSB",
    )
    # numbers of classes are no quantities
    named = {stage.name for stage in found.stages if stage.answers == "classes"}
    rows = [_hop_cells(hop, quantities=hop.stage not in named) for hop in found.hops]
    console.write_table(
        "Drift, hop by hop",
        hop_columns,
        rows,
        numbers=("SQNR dB", "RMSE", "largest", *further, "its SQNR dB"),
    )
    without: dict[str, list[str]] = {}
    for hop in found.hops:
        if hop.without_tensors:
            without.setdefault(hop.without_tensors, []).append(f"{hop.source} → {hop.stage}")
    for why, hops in without.items():
        more = f" and {counted(len(hops) - 1, 'other hop')}" if len(hops) > 1 else ""
        console.note(f"{hops[0]}{more}: no tensors inside are compared: {why}")
    _show_outputs(found.hops)
    show_saturation(found.saturating)
    _show_growth(found)
    detailed = farthest(found.hops)
    for hop in found.hops:
        if hop in detailed:
            _show_tensors(hop)
        show_degrees(hop)
    if others := len(found.hops) - len(detailed):
        console.note(f"the tensors of {counted(others, 'other hop')} are in --json and in a report")


def farthest(hops: "Sequence[Hop]") -> "list[Hop]":
    """Of many hops the few whose outputs are farthest apart, in their order."""
    worst = sorted(range(len(hops)), key=lambda place: hops[place].output.sqnr_db)[:MAX_HOPS]
    return [hops[place] for place in sorted(worst)]


def _show_growth(found: "Comparison") -> None:
    """What a block costs of each stage, and the error at the end of each block."""
    from edgeq.deploy import console
    from edgeq.deploy.report.values import decibels, general, short

    known = [each for each in found.growth if each.blocks]
    if not known:
        return
    numbers = ("dB a block", "95 % interval", "first dB", "last dB", "MSE", "RMSE")
    console.write_table(
        f"How the error grows over {counted(len(known[0].blocks), 'block')}, against "
        f"{known[0].source}",
        ("stage", *numbers),
        [
            (
                each.stage,
                "" if each.rate is None else f"{each.rate.rate_db:+.2f}",
                "" if each.rate is None else f"{each.rate.low_db:+.2f} to {each.rate.high_db:+.2f}",
                decibels(each.blocks[0].sqnr_db),
                decibels(each.blocks[-1].sqnr_db),
                general(each.mse),
                general(each.rmse),
            )
            for each in known
        ],
        numbers=numbers,
    )
    stages = [f"RMSE, {each.stage}" for each in known]
    ends = [{drift.tensor: drift for drift in each.blocks} for each in known]
    rows = [
        (
            str(number),
            short(name),
            *(_end_of_block(blocks[name]) if name in blocks else "" for blocks in ends),
        )
        for number, name in enumerate(dict.fromkeys(n for at in ends for n in at), start=1)
    ]
    console.write_table(
        "Error at the end of each block, in brackets the integers that differ",
        ("block", "ends with", *stages),
        rows,
        numbers=("block", *stages),
    )


def _end_of_block(drift: "Drift") -> str:
    from edgeq.deploy.report.values import general

    values = sum(drift.lsb.values())
    differ = f" ({100 * (1 - drift.lsb.get(0, 0) / values):.2g} %)" if values else ""
    return f"{general(drift.rmse)}{differ}"


def _show_outputs(hops: "Sequence[Hop]") -> None:
    """Each output of networks with several, hop by hop."""
    from edgeq.deploy import console
    from edgeq.deploy.report.values import decibels, general

    numbers = ("SQNR dB", "RMSE", "largest")
    distances = [drift.sqnr_db for hop in hops for drift in hop.outputs]
    rows = [
        (
            hop.source,
            hop.stage,
            drift.tensor,
            decibels(drift.sqnr_db),
            general(drift.rmse),
            general(drift.max_abs),
        )
        for hop in hops
        for drift in hop.outputs
    ]
    title = "Drift of each output"
    if len(rows) > MAX_TENSORS:
        title += f", the {MAX_TENSORS} farthest apart of {len(rows)}"
        order = sorted(range(len(rows)), key=lambda place: distances[place])[:MAX_TENSORS]
        rows = [rows[place] for place in sorted(order)]
    if rows:
        console.write_table(title, ("from", "to", "output", *numbers), rows, numbers=numbers)


def _show_tensors(hop: "Hop") -> None:
    """The tensors that differ; of many, those farthest apart, in graph order."""
    from edgeq.deploy import console
    from edgeq.deploy.report.values import further_headings

    different = [drift for drift in hop.tensors if drift.mse > 0]
    if not different:
        return
    shown = sorted(
        sorted(different, key=lambda drift: drift.sqnr_db)[:MAX_TENSORS],
        key=lambda drift: drift.depth,
    )
    further = further_headings("tensors")
    numbers = ("SQNR dB", "MSE", "RMSE", *further)
    columns = ("depth", "tensor", *numbers, "off by LSB")
    title = (
        f"{hop.source} → {hop.stage}: {hop.cause}; "
        f"{counted(len(different), 'tensor', 'differ', of=len(hop.tensors))}"
    )
    if len(shown) < len(different):
        title += f", the {len(shown)} farthest apart are"
    console.write_table(
        title,
        columns,
        [_tensor_cells(drift) for drift in shown],
        numbers=("depth", *numbers),
    )


def _hop_cells(hop: "Hop", *, quantities: bool) -> tuple[str, ...]:
    from edgeq.deploy.report.values import (
        MISSING,
        decibels,
        further_cells,
        general,
        pooled_steps,
        short,
        steps,
    )

    output: tuple[str, ...] = (
        decibels(hop.output.sqnr_db),
        general(hop.output.rmse),
        general(hop.output.max_abs),
        *further_cells(hop.output.metrics, "hops"),
    )
    if not quantities:
        output = (MISSING,) * len(output)
    worst = min(hop.tensors, key=lambda drift: drift.sqnr_db, default=None)
    return (
        hop.source,
        hop.stage,
        hop.cause,
        *output,
        short(worst.tensor) if worst else "",
        decibels(worst.sqnr_db) if worst else "",
        steps(*pooled_steps(hop.tensors)),
    )


def _tensor_cells(drift: "Drift") -> tuple[str, ...]:
    from edgeq.deploy.report.values import decibels, further_cells, general, short, steps

    return (
        str(drift.depth),
        short(drift.tensor),
        decibels(drift.sqnr_db),
        general(drift.mse),
        general(drift.rmse),
        *further_cells(drift.metrics, "tensors"),
        steps(drift.lsb, drift.max_lsb),
    )
