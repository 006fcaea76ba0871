"""``edgeq calibrate``: post-training quantisation of a float network."""

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
    UserModel,
)
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.deploy.scheme_check.options import Layers
from edgeq.errors import TargetError
from edgeq.registry import Registry
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.console import Advance, Bar, Lines
    from edgeq.deploy.evaluation.calibrated import Outcome, Trials
    from edgeq.deploy.pipeline.calibrate import Job
    from edgeq.deploy.pipeline.shards import Shard
    from edgeq.device import Device

_WORST = 5  # layers that the table shows; --json has all


def _list_methods(asked: bool) -> None:
    """What ``--observer`` and ``--weight-method`` can be, with each one's first line."""
    if not asked:
        return
    from edgeq.deploy import console

    rows = [
        (flag, name, _summary(registry, name))
        for flag, registry in (
            ("--observer", OBSERVERS),
            ("--weight-method", WEIGHT_METHODS),
            ("--method", METHODS),
        )
        for name in registry.names()
    ]
    console.write_table("Methods of calibration", ("flag", "name", "what it does"), rows)
    raise typer.Exit


def _summary(registry: Registry[Any], name: str) -> str:
    """The first line of a method's docstring; what is wrong where it cannot be imported."""
    from inspect import getdoc

    try:
        return (getdoc(registry.load(name)) or "").partition("\n")[0]
    except TargetError as error:
        return error.what


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
            help="The QDQ ONNX file to write; none with --shard.",
        ),
    ] = None,
    data_dir: DataDir = None,
    recipe: Annotated[
        Path | None,
        typer.Option(
            "--recipe",
            metavar="FILE",
            help="A TOML file of all that follows, or a file that was calibrated, to do the same; "
            "flags beside it take precedence.",
        ),
    ] = None,
    write_recipe: Annotated[
        Path | None,
        typer.Option(
            "--write-recipe",
            metavar="FILE",
            help="Write what is asked for, recipe and flags together, as a TOML recipe.",
        ),
    ] = None,
    observer: Annotated[
        str | None,
        typer.Option(
            "--observer",
            metavar="NAME",
            autocompletion=OBSERVERS.names,
            help="How ranges are measured (minmax); --list-methods lists the names. Settings stand "
            "behind a colon: percentile:percent=99.9.",
        ),
    ] = None,
    weight_method: Annotated[
        str | None,
        typer.Option(
            "--weight-method",
            metavar="NAME",
            autocompletion=WEIGHT_METHODS.names,
            help="How weights become integers (symmetric); --list-methods lists the names.",
        ),
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            "--method",
            metavar="NAME",
            autocompletion=METHODS.names,
            help="A further method, such as equalize, bias-correction, adaround, reconstruct or "
            "gptq; repeat it for several, in their order. Settings stand behind a colon: "
            "adaround:steps=2000.",
        ),
    ] = None,
    samples: Annotated[
        int | None,
        typer.Option(
            "--samples",
            metavar="N",
            min=1,
            help="Calibrate on this many training samples, evenly spread (500).",
        ),
    ] = None,
    weight_bits: Annotated[
        int | None,
        typer.Option(
            "--weight-bits",
            metavar="N",
            help="Bits of inner layers' weights, 2 to 8 (8). Below 8, where no observer or method "
            "is named, GPTQ and bias correction win back what rounding costs, and depthwise "
            "kernels keep 8.",
        ),
    ] = None,
    depthwise_bits: Annotated[
        int | None,
        typer.Option(
            "--depthwise-bits",
            metavar="N",
            help="Bits of inner depthwise kernels, 2 to 8 (those of --weight-bits).",
        ),
    ] = None,
    act_bits: Annotated[
        int | None,
        typer.Option(
            "--act-bits",
            metavar="N",
            help="Bits of the activations that inner layers read, 2 to 8, or 16 (8).",
        ),
    ] = None,
    boundary_bits: Annotated[
        int | None,
        typer.Option(
            "--boundary-bits",
            metavar="N",
            help="Bits of all other tensors that are stored, 2 to 8, or 16 (8).",
        ),
    ] = None,
    layers: Layers = None,
    per_channel: PerChannel = None,
    pair_safe: Annotated[
        bool | None,
        typer.Option(
            "--pair-safe/--no-pair-safe",
            help="Choose weight scales with which no pair of products saturates on x86 without "
            "VNNI (the default); else such layers get uint8 weights.",
            show_default=False,
        ),
    ] = None,
    device: Annotated[
        str,
        typer.Option(
            "--device",
            metavar="NAME",
            help="Choose what is fast and exact on this device, and say what and why: a name of "
            "`edgeq targets devices`, or a TOML file like those. Flags beside it take precedence.",
        ),
    ] = "",
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="I/N",
            help="Only measure the I-th of N parts of the samples, and keep what was seen in "
            "--statistics.",
        ),
    ] = None,
    statistics: Annotated[
        Path | None,
        typer.Option(
            "--statistics",
            metavar="DIR",
            help="Take the ranges from the shards that were measured into this folder, all of "
            "them.",
        ),
    ] = None,
    held_back: Annotated[
        int,
        typer.Option(
            "--held-back",
            metavar="N",
            min=0,
            help="Judge the float and the calibrated network on so many samples that calibration "
            "has not seen; 0 judges nothing.",
        ),
    ] = 200,
    trials: Annotated[
        int,
        typer.Option(
            "--trials",
            metavar="N",
            min=0,
            help="Calibrate on N further sets of samples, drawn with the seeds from 0, and say how "
            "far the result depends on them.",
        ),
    ] = 0,
    allow_noise: Annotated[
        bool,
        typer.Option("--allow-noise", help="Calibrate on samples that look like random noise."),
    ] = False,
    skip_broken: Annotated[
        bool,
        typer.Option(
            "--skip-broken",
            help="Leave out samples that cannot be read or hold NaN, and say which.",
        ),
    ] = False,
    outputs: CutOutputs = None,
    preprocess: AskedPreprocessing = NOTHING_ASKED,
    _methods: Annotated[
        bool,
        typer.Option(
            "--list-methods",
            callback=_list_methods,
            is_eager=True,
            help="List all methods, and leave.",
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Quantise a float network after training.

    It measures ranges on samples of the training split, and writes canonical QDQ ONNX.
    """
    from edgeq.deploy import console
    from edgeq.deploy.api.networks import only, with_model
    from edgeq.deploy.device_advice import choices, suited
    from edgeq.deploy.evaluation.calibrated import check_judging, trials_of
    from edgeq.deploy.inputs import load_data
    from edgeq.deploy.pipeline.calibrate import Job
    from edgeq.deploy.pipeline.calibration_recipe import CalibrationRecipe
    from edgeq.deploy.pipeline.shards import Shard
    from edgeq.files import write_text
    from edgeq.network.layer_rules import parse_rule
    from edgeq.targets.devices import find

    part = None if shard is None else Shard.parse(shard)
    _check_places(output, statistics, part is not None, overwrite=overwrite)
    said = {
        "samples": samples,
        "observer": observer,
        "weight_method": weight_method,
        "weight_bits": weight_bits,
        "depthwise_bits": depthwise_bits,
        "act_bits": act_bits,
        "boundary_bits": boundary_bits,
        "per_channel": per_channel,
        "pair_safe": pair_safe,
        "layers": tuple(map(parse_rule, layers)) if layers else None,
        "methods": tuple(method) if method else None,
    }
    asked = CalibrationRecipe.said(recipe, **said)
    if told := asked.few_bits():
        console.note(told)
    known = find(device) if device else None
    if known is not None:
        config = suited(asked.config, known, per_channel=per_channel, pair_safe=pair_safe)
        console.note("\n".join(choices(config, known)))
        asked = CalibrationRecipe(config, asked.samples)
    if write_recipe is not None:
        write_text(write_recipe, asked.to_toml(), overwrite=overwrite)
    given = [] if source is None else [source]
    loaded = load_data(data, data_dir, preprocess, given)
    with (
        with_model(given, user_model, loaded) as files,
        console.progress("calibrating") as advance,
    ):
        job = Job(
            only(files),
            loaded,
            asked.config,
            asked.samples,
            outputs or (),
            allow_noise,
            skip_broken=skip_broken,
            given=data,
            # where --model made a file for this command alone, there is none later
            network=(*map(str, given), *(("--model", user_model) if user_model else ())),
        )
        if part is not None and statistics is not None:
            _measure(job, part, statistics, advance, as_json=as_json)
        elif output is not None:
            if lost := check_judging(job, held_back, trials):
                console.note(f"held back: {lost}")
            outcome = _calibrate(job, output, statistics, advance, held_back, overwrite=overwrite)
            tried = trials_of(job, trials, held_back, advance, advance.stage) if trials else None
            _show(outcome, tried, known, asked.by_width_flags(), as_json=as_json)


def _check_places(
    output: Path | None,
    statistics: Path | None,
    only_a_part: bool,
    *,
    overwrite: bool,
) -> None:
    """Whether what is to be written has a place, before long work.

    Raises:
        UsageError: a place is missing or not needed.
        OutputError: the file exists, cannot be written, or is no ``.onnx`` file.
    """
    from edgeq.errors import OutputError, UsageError
    from edgeq.files import check_output

    if only_a_part:
        if statistics is None or output is not None:
            raise UsageError(
                "a shard writes statistics, and no model",
                hint="give --statistics DIR alone; with all shards there, give it with -o/--output "
                "and without --shard",
            )
        return
    if output is None:
        raise UsageError("no file to write is given", hint="name an .onnx file with -o/--output")
    if output.suffix != ".onnx":
        raise OutputError(
            f"{output} does not end in .onnx", hint="name an .onnx file with -o/--output"
        )
    check_output(output, overwrite=overwrite)


def _measure(
    job: "Job", shard: "Shard", folder: Path, advance: "Advance", *, as_json: bool
) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.pipeline.shards import measure

    path, samples = measure(job, shard, folder, progress=advance, tell=console.note)
    console.next_step(
        f"with all {shard.count} shards there, give --statistics {folder} and -o/--output"
    )
    content = {"statistics": str(path), "samples": samples}
    console.write_json("calibrate", content, printed=as_json)
    if not as_json:
        console.write(
            f"{path}: {counted(samples, 'sample')} of {job.source.name} seen by "
            f"{job.config.found_by}"
        )


def _calibrate(
    job: "Job",
    output: Path,
    statistics: Path | None,
    advance: "Bar | Lines",
    held_back: int,
    *,
    overwrite: bool,
) -> "Outcome":
    from edgeq.deploy import console
    from edgeq.deploy.evaluation.calibrated import judged
    from edgeq.deploy.evaluation.plausibility import doubts
    from edgeq.deploy.pipeline.calibrate import calibrate
    from edgeq.deploy.pipeline.shards import gathered

    if told := doubts(job.path, job.source):
        console.note(told)
    done = calibrate(
        job,
        output,
        overwrite=overwrite,
        statistics=None if statistics is None else gathered(job, statistics),
        progress=advance,
        tell=console.note,
        explain=console.is_kept(),
        stage=advance.stage,
    )
    advance.stage("judging")
    return replace(judged(job, output, done, held_back, advance), doubted=bool(told))


def _show(
    outcome: "Outcome",
    trials: "Trials | None",
    device: "Device | None",
    by_width: "Sequence[str]",
    *,
    as_json: bool,
) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.device_advice import afterwards, export_command
    from edgeq.deploy.report.values import kilobytes

    done, output, job = outcome.done, outcome.path, outcome.job
    if device is None and outcome.offered and not outcome.doubted:
        kept = by_width if "--observer" in outcome.offered else ()  # which naming one drops
        console.next_again(*outcome.offered, *kept, "--overwrite")
    elif device is None:
        console.next_step(*outcome.next_command)
    else:
        console.next_step(*export_command(output, device))
    console.write_json("calibrate", outcome.content(trials, device), printed=as_json)
    if done.profiles:
        from edgeq.deploy.runs.drawings import DRAWINGS, layer_drawings

        console.attach(DRAWINGS, json.dumps(layer_drawings(done.profiles)).encode())
    if not as_json:
        own = done.split == "train"
        console.write(
            f"{output}: {kilobytes(done.size_bytes)} kB, ranges by {job.config.found_by} over "
            f"{counted(done.samples, 'training sample' if own else 'sample')} of {job.source.name}"
        )
        if not own:
            whole = len(job.source.test)
            console.note(
                f"{job.source.name} has one part of {counted(whole, 'sample')}: "
                f"{done.samples} of them were calibrated on, and edgeq leaves those out where it "
                f"judges {output.name}"
                if whole > 1
                else f"{job.source.name} has one sample: what it is calibrated on judges it too"
            )
        _show_outcome(outcome)
        if trials is not None:
            console.write(str(trials))
    if outcome.collapsed:
        console.note(f"warning: {outcome.collapsed}")
    if device is not None:
        for line in afterwards(output, device):
            console.note(line)


def _show_outcome(outcome: "Outcome") -> None:
    """Accuracy before and after, and the layers that cost most."""
    from edgeq.deploy import console
    from edgeq.deploy.report.values import short
    from edgeq.deploy.score_tables import show_stages

    if outcome.held_back is None:
        console.write(f"accuracy is not judged: {outcome.not_judged}")
    else:
        show_stages(outcome.held_back, "samples held back")
        for remark in outcome.held_back.remarks:
            console.note(f"edgeq: {remark}")
    worst = outcome.done.layers[:_WORST]
    console.write_table(
        f"The layers that cost most, {len(worst)} of {len(outcome.done.layers)}, on "
        f"{outcome.done.judged_on}",
        ("layer", "SQNR dB", "weights dB", "activations dB", "why"),
        [
            (
                short(each.layer),
                *(f"{db:.1f}" for db in (each.sqnr_db, each.weight_sqnr_db)),
                f"{each.activation_sqnr_db:.1f}" if each.tensor else "",
                each.reason,
            )
            for each in worst
        ],
        numbers=("SQNR dB", "weights dB", "activations dB"),
    )
