"""``edgeq search``: which layers need how many bits."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeq.calibration.methods import METHODS
from edgeq.calibration.observers import OBSERVERS
from edgeq.calibration.weight_methods import WEIGHT_METHODS
from edgeq.deploy.options import (
    AsJson,
    CutOutputs,
    Data,
    DataDir,
    FloatNetwork,
    Overwrite,
    PerChannel,
    Task,
    TaskOptions,
    UserModel,
)
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.tabular import counted

if TYPE_CHECKING:
    from edgeq.calibration.search.precision import Precision
    from edgeq.deploy.search.result import SearchResult
    from edgeq.device import Device


@with_preprocessing
def command(
    *,
    source: FloatNetwork = None,
    user_model: UserModel = None,
    data: Data,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="The QDQ ONNX file to write; beside it come the scheme and the trials.",
        ),
    ] = None,
    data_dir: DataDir = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            "--max-drop",
            metavar="POINTS",
            help="Find the least cost that loses at most so much: points of accuracy, or of the "
            "task's figure.",
        ),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(
            "--budget",
            metavar="COST=VALUE",
            help="Find the best answers within a cost: bytes=200k, macs=60%, latency=2.5 (ms) or "
            "cycles=1.5M. A share is one of the cost with all layers in 8 bits.",
        ),
    ] = None,
    cost: Annotated[
        str,
        typer.Option(
            "--cost",
            metavar="bytes|macs|latency|cycles",
            help="What is least within --max-drop.",
        ),
    ] = "bytes",
    target: Annotated[
        str,
        typer.Option(
            "--target",
            "-t",
            metavar="NAME",
            help="Where latency is measured, or cycles are estimated.",
        ),
    ] = "",
    precisions: Annotated[
        str,
        typer.Option(
            "--precisions",
            metavar="NAME,NAME",
            help="What a layer can have: w4a8 is weights of 4 bits that read 8 (the device's, or "
            "w4a8,w8a8,float).",
        ),
    ] = "",
    strategy: Annotated[
        str,
        typer.Option(
            "--strategy",
            metavar="optuna|path|network|layer|neuron|keep-float",
            help="What is tried next.",
        ),
    ] = "optuna",
    trials: Annotated[
        int, typer.Option("--trials", metavar="N", min=1, help="Try at most so many.")
    ] = 60,
    time_budget: Annotated[
        float | None,
        typer.Option("--time-budget", metavar="SECONDS", help="Search for at most so long."),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of what Optuna asks.")] = 0,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the trials that are kept beside -o.")
    ] = False,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            metavar="N",
            min=1,
            help="Calibrate on this many training samples, evenly spread (500).",
        ),
    ] = None,
    eval_samples: Annotated[
        int,
        typer.Option(
            "--eval-samples",
            metavar="N",
            min=1,
            help="Judge trials on this many validation samples, evenly spread.",
        ),
    ] = 500,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="FILE",
            help="Calibrate as a recipe of edgeq calibrate says, but for widths; flags beside it "
            "take precedence.",
        ),
    ] = None,
    observer: Annotated[
        str | None,
        typer.Option(
            "--observer",
            metavar="NAME",
            autocompletion=OBSERVERS.names,
            help="How ranges are measured (minmax); edgeq calibrate --list-methods lists the "
            "names.",
        ),
    ] = None,
    weight_method: Annotated[
        str | None,
        typer.Option(
            "--weight-method",
            metavar="NAME",
            autocompletion=WEIGHT_METHODS.names,
            help="How weights become integers (symmetric), such as floor; edgeq calibrate "
            "--list-methods lists the names.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            autocompletion=METHODS.names,
            help="A further method, such as bias-correction or gptq, in each trial, which takes "
            "longer by it; repeat it for several, in their order.",
        ),
    ] = None,
    per_channel: PerChannel = None,
    pair_safe: Annotated[
        bool | None,
        typer.Option(
            "--pair-safe/--no-pair-safe",
            help="Choose weight scales with which no pair of products saturates on x86 without "
            "VNNI (the default).",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Choose among what is fast on this device: a name of `edgeq targets devices`, or "
            "a TOML file like those.",
        ),
    ] = "",
    task: Task = None,
    task_options: TaskOptions = None,
    outputs: CutOutputs = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find how many bits each layer needs.

    First each layer is quantised alone, which shows what it costs the answers. With --max-drop or
    --budget, precisions are then searched for; the result is a scheme for `edgeq train`,
    `edgeq.quantize` and `edgeq calibrate`, and with -o the quantised file.

    Trials are judged on the validation split; the result is judged once on test samples that no
    trial has seen. `optuna` needs `pip install 'edgeq[search]'`; `path` needs nothing; `network`,
    `layer` and `neuron` take bits away as long as the loss allows it; `keep-float` gives the most
    sensitive layers back. The exit status is 1 if nothing is within the limit, and if the file
    loses more than --max-drop on the test samples.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import only, with_model
    from edgeq.deploy.device_advice import choices, suited
    from edgeq.deploy.evaluation.outputs.scoring import AskedTask
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.pipeline.calibration_recipe import CalibrationRecipe
    from edgeq.deploy.search.costs import parse_budget, parse_cost
    from edgeq.deploy.search.run import SearchOptions, on_device, search
    from edgeq.targets.devices import find

    known = find(device) if device else None
    asked = CalibrationRecipe.said(
        recipe,
        samples=samples,
        observer=observer,
        weight_method=weight_method,
        weight_bits=8,  # a search chooses widths itself
        per_channel=per_channel,
        pair_safe=pair_safe,
        methods=tuple(method) if method else None,
    )
    config = asked.config
    if known is not None:
        config = suited(config, known, per_channel=per_channel, pair_safe=pair_safe)
        console.note("\n".join(choices(config, known)))
    options = SearchOptions(
        max_drop=max_drop,
        budget=None if budget is None else parse_budget(budget),
        cost=parse_cost(cost),
        target=target,
        precisions=_precisions(precisions, known),
        strategy=strategy,
        trials=trials,
        seconds=float("inf") if time_budget is None else time_budget,
        seed=seed,
        samples=asked.samples,
        eval_samples=eval_samples,
        outputs=tuple(outputs or ()),
        resume=resume,
    )
    if known is not None:
        options = on_device(options, known)
    given = [] if source is None else [source]
    loaded = load_data(data, data_dir, preprocess, given)
    with (
        with_model(given, user_model, loaded) as files,
        console.progress("searching") as advance,
    ):
        found = search(
            only(files),
            loaded,
            output,
            config,
            options,
            task=AskedTask.parse(task, task_options),
            overwrite=overwrite,
            progress=advance,
            tell=console.note,
        )
    console.write_json("search", found.content(), printed=as_json)
    if not as_json:
        _show(found, source, data)
    if not found.trials:
        console.next_again("--max-drop", "0.5")
    elif found.path is not None:
        console.next_step("edgeq", "export", found.path, "--to", "tflite", "-o", "exported")
    else:
        console.next_again("-o", "searched.onnx")
    if options.searches:
        _judge(found)


def _judge(found: "SearchResult") -> None:
    """Whether something is within the limit, on samples that no trial has seen too."""
    from edgeq.errors import GateFailed

    tried = len(found.trials)
    if found.best is None:
        nearest = found.nearest()
        raise GateFailed(
            f"none of {counted(tried, 'trial')} is within {found.limit}: the nearest has "
            f"a score of {nearest.figures.score:.2f} at {found.amount(nearest)}",
            hint="allow more, name wider --precisions, or try more with --trials",
        )
    lost = found.unseen_loss
    if lost is not None and found.max_drop is not None and lost > found.max_drop:
        raise GateFailed(
            f"on samples that no trial has seen it loses {lost:.2f}, more than "
            f"{found.max_drop:g}: the best of {counted(tried, 'trial')} looks better than it is",
            hint="judge trials on more samples (--eval-samples), or ask for a smaller loss; "
            f"{found.path} is written all the same",
        )


def _precisions(text: str, device: "Device | None") -> "tuple[Precision, ...]":
    from edgeq.calibration.search.precision import parse
    from edgeq.deploy.search.run import usual

    names = [name.strip() for name in text.split(",") if name.strip()]
    return tuple(map(parse, names)) or usual(device)


def _show(found: "SearchResult", source: Path | None, data: str) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.search.result import told

    if found.sensitivities:
        table = found.sensitivity_table()
        console.write_table(table.title, table.columns, table.rows, numbers=table.columns[2:])
    if found.trials:
        table = found.table()
        console.write_table(table.title, table.columns, table.rows, numbers=table.columns[2:5])
    for line in told(found, source, console.with_typed("edgeq", "calibrate", "--data", data)[2:]):
        console.write(line)
