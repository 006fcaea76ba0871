"""``edgeq train``: quantisation-aware training, or FP32 training, of a network of the zoo."""

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeq.deploy.options import AsJson, DataDir, OptionalOutput, Overwrite, UserModel
from edgeq.deploy.pipeline import training_options as opt
from edgeq.deploy.scheme_check import options as quant
from edgeq.errors import UsageError


def command(
    output: OptionalOutput = None,
    model: Annotated[
        str | None,
        typer.Argument(
            help="A name of `edgeq models`; a recipe can name it instead.", show_default=False
        ),
    ] = None,
    user_model: UserModel = None,
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="Data set: a name of `edgeq data`, a folder with train.npz and test.npz, or "
            "your own MODULE:FUNCTION (digits).",
        ),
    ] = None,
    data_dir: DataDir = None,
    recipe: opt.RecipeFile = None,
    weight_bits: quant.WeightBits = None,
    act_bits: quant.ActBits = None,
    placement: quant.Placement = None,
    weights: quant.Weights = None,
    activations: quant.Activations = None,
    per_channel: quant.PerChannel = None,
    affine: quant.Affine = None,
    normalize_weights: quant.NormalizeWeights = None,
    pair_safe: quant.PairSafe = None,
    first_last: quant.FirstLastLayer = None,
    layers: quant.Layers = None,
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
        int | None,
        typer.Option(
            "--threads", metavar="N", min=1, help="Threads; another number may round differently."
        ),
    ] = None,
    cpu: opt.Cpu = False,
    check: quant.Check = None,
    log: opt.Log = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in the output folder, to the same result."
        ),
    ] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a network, quantised or in FP32.

    Quantised training computes what the device will compute. It keeps the checkpoint with the best
    validation accuracy. A graph network, such as pde-gcn-64, trains on a graph, such as cora.

    --check trains nothing. It checks for each kind of tensor whether a target can hold the scheme.
    It exits with status 1 if one cannot hold it exactly, and with 4 if one could be checked only in
    part.

    Values in parentheses are the defaults where the recipe gives none.
    """
    from edgeq.deploy.pipeline.graph_training import graph_recipe, reads_graph
    from edgeq.deploy.pipeline.training_run import first_process, run_graph, run_images, show
    from edgeq.deploy.user_code import check_named, named_model
    from edgeq.training.recipes import builtin_recipes

    if resume and overwrite:
        raise UsageError(
            "--resume goes on with a run and --overwrite throws it away", hint="give one of them"
        )
    model = named_model(model, user_model)
    path = None if recipe is None else builtin_recipes.find(recipe)
    given: dict[str, Any] = {
        "epochs": epochs,
        "batch_size": batch_size,
        "lr": lr,
        "momentum": momentum,
        "weight_decay": weight_decay,
    }
    given |= {
        "optimizer": optimizer,
        "schedule": schedule,
        "loss": loss,
        "augmentation": augmentation,
        "ema": ema,
        "teacher": teacher,
    }
    given |= {"distillation": distillation, "temperature": temperature, "consistency": consistency}
    given |= {"precision": precision, "compiled": compiled, "seed": seed}
    scheme = {
        "weight_bits": weight_bits,
        "act_bits": act_bits,
        "placement": placement,
        "weights": weights,
        "activations": activations,
    }
    scheme |= {"per_channel": per_channel, "affine": affine, "first_last": first_last}
    scheme |= {"normalize_weights": normalize_weights, "pair_safe": pair_safe}
    if reads_graph(model, path):
        if log is not None or cpu:
            raise UsageError(
                "--log and --cpu mean nothing for a graph network", hint="leave them out"
            )
        on_graph = graph_recipe(
            path, model, data, quant.on_graphs(scheme, layers), given, fp32=fp32
        )
        if check:
            from edgeq.deploy.scheme_check.report import check_graph_run

            check_graph_run(on_graph, data_dir, check, as_json=as_json)
            return
        start = None if init_from is None else Path(init_from)
        trained = run_graph(
            on_graph,
            data_dir,
            quant.required(output),
            start=start,
            resume=resume,
            overwrite=overwrite,
            threads=threads,
        )
        show(trained, as_json=as_json)
        return
    given["init_from"] = init_from
    run = opt.recipe_of(
        path,
        model,
        data,
        given,
        lambda told: quant.scheme_of(told, scheme, layers or (), fp32=fp32),
    )
    check_named(run.data, data)
    if check:
        from edgeq.deploy.scheme_check.report import check_run

        check_run(run, data_dir, check, as_json=as_json)
        return
    result = run_images(
        run,
        data_dir,
        quant.required(output),
        log=log,
        resume=resume,
        overwrite=overwrite,
        threads=threads,
        cpu=cpu,
    )
    if first_process():
        show(result, as_json=as_json)
