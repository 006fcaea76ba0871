"""``edgeq train``: quantisation-aware training, or FP32 training, of a network of the zoo."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.deploy import training_options as opt
from edgeq.deploy.options import AsJson, DataDir, Output, Overwrite
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from edgeq.training.scheme import Scheme


def command(
    output: Output,
    model: Annotated[
        str | None, typer.Argument(help="A name of `edgeq models`; may stand in the recipe instead.", show_default=False)
    ] = None,
    data: Annotated[
        str | None,
        typer.Option("--data", metavar="NAME", help="Data set: a name of `edgeq data`, or a folder with train.npz and test.npz (digits)."),
    ] = None,
    data_dir: DataDir = None,
    recipe: opt.RecipeFile = None,
    weight_bits: Annotated[
        int | None, typer.Option("--weight-bits", metavar="N", help="Bits of inner layers' weights, 2 to 8 (4).")
    ] = None,
    act_bits: Annotated[int | None, typer.Option("--act-bits", metavar="N", help="Bits of what inner layers read, 2 to 8 (8).")] = None,
    placement: Annotated[
        str | None,
        typer.Option(
            "--placement", metavar="integer|paper", help="Quantise all that an integer runtime stores, or as published (integer)."
        ),
    ] = None,
    fp32: Annotated[bool, typer.Option("--fp32", help="Train without quantisation.")] = False,
    epochs: opt.Epochs = None,
    batch_size: opt.BatchSize = None,
    lr: opt.Lr = None,
    momentum: opt.Momentum = None,
    weight_decay: opt.WeightDecay = None,
    optimizer: opt.OptimizerName = None,
    schedule: opt.ScheduleName = None,
    loss: opt.Loss = None,
    augmentation: opt.Augmentation = None,
    init_from: opt.InitFrom = None,
    ema: opt.Ema = None,
    teacher: opt.Teacher = None,
    distillation: opt.Distillation = None,
    temperature: opt.Temperature = None,
    consistency: opt.Consistency = None,
    precision: opt.Precision = None,
    compiled: opt.Compile = None,
    seed: opt.Seed = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Threads; another number may round differently.")
    ] = None,
    cpu: opt.Cpu = False,
    log: opt.Log = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder, to the same result.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a network, quantised or in FP32.

    Quantised training computes what the device will compute. The best checkpoint on the validation split is kept.

    A graph network (pde-gcn-64 and its kin) trains on a graph, such as cora, by Adam; see the guide.

    The numbers in brackets hold where neither a flag nor the recipe says otherwise.
    """
    from edgeq.deploy.graph_training import graph_recipe, reads_graph
    from edgeq.deploy.training_run import first_process, run_graph, run_images, show
    from edgeq.training import shipped

    if resume and overwrite:
        raise UsageError("--resume goes on with a run and --overwrite throws it away", mend="give one of them")
    path = None if recipe is None else shipped.find(recipe)
    given: dict[str, Any] = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum, "weight_decay": weight_decay}
    given |= {"optimizer": optimizer, "schedule": schedule, "loss": loss, "augmentation": augmentation, "ema": ema, "teacher": teacher}
    given |= {"distillation": distillation, "temperature": temperature, "consistency": consistency}
    given |= {"precision": precision, "compiled": compiled, "seed": seed}
    bits = {"weight_bits": weight_bits, "act_bits": act_bits, "placement": placement}
    if reads_graph(model, path):
        if log is not None or cpu:
            raise UsageError("--log and --cpu mean nothing for a graph network", mend="leave them out")
        on_graph = graph_recipe(path, model, data, bits, given, fp32=fp32)
        start = None if init_from is None else Path(init_from)
        trained = run_graph(on_graph, data_dir, output, start=start, resume=resume, overwrite=overwrite, threads=threads)
        show(trained, as_json=as_json)
        return
    given["init_from"] = init_from
    run = opt.recipe_of(path, model, data, given, lambda scheme: _scheme(scheme, bits, fp32=fp32))
    result = run_images(run, data_dir, output, log=log, resume=resume, overwrite=overwrite, threads=threads, cpu=cpu)
    if first_process():
        show(result, as_json=as_json)


def _scheme(scheme: "Scheme | None", flags: dict[str, Any], *, fp32: bool) -> "Scheme | None":
    from edgeq.training.scheme import Scheme

    given = {name: value for name, value in flags.items() if value is not None}
    if not fp32:
        return replace(scheme or Scheme(weight_bits=opt.WEIGHT_BITS), **given) if scheme or given else None
    if given:
        raise UsageError(
            "--fp32 trains without quantisation, and other flags ask for one", mend="leave out --fp32, or the bits and placement"
        )
    return None
