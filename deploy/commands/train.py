"""``edgeq train``: quantisation-aware training, or FP32 training, of a network of the zoo."""

from collections.abc import Collection
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeq.deploy import console
from edgeq.deploy.options import (
    AsJson,
    DataDir,
    OptionalOutput,
    Overwrite,
    UserModel,
    with_options,
)
from edgeq.deploy.pipeline.training_run import tell
from edgeq.deploy.preprocessing import NOTHING_ASKED, AskedPreprocessing, with_preprocessing
from edgeq.deploy.scheme_check import options as quant
from edgeq.errors import UsageError
from edgeq.training.recipes import builtin_recipes

_CHECKED = "give the same command without --check, and with -o/--output, to train"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainOptions:
    """What the command line says.

    A flag that stands for a field of a recipe or of a scheme has the field's name.
    """

    output: OptionalOutput = None
    model: Annotated[
        str | None,
        typer.Argument(
            help="A name of `edgeq models`; a recipe can name it instead.", show_default=False
        ),
    ] = None
    user_model: UserModel = None
    data: Annotated[
        str | None,
        typer.Option(
            "--data",
            metavar="NAME",
            help="Data set: a name of `edgeq data`; a folder of images, sound or arrays; a CSV or "
            "JSON table; COCO's JSON; .npy or .npz; or your own MODULE:FUNCTION (digits).",
        ),
    ] = None
    data_dir: DataDir = None
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="A TOML recipe, or one that comes with edgeq: "
            f"{', '.join(builtin_recipes.names())}; flags beside it take precedence.",
        ),
    ] = None
    weight_bits: quant.WeightBits = None
    act_bits: quant.ActBits = None
    boundary_bits: quant.BoundaryBits = None
    placement: quant.Placement = None
    weights: quant.Weights = None
    activations: quant.Activations = None
    per_channel: quant.PerChannel = None
    affine: quant.Affine = None
    normalize_weights: quant.NormalizeWeights = None
    pair_safe: quant.PairSafe = None
    first_last: quant.FirstLastLayer = None
    layers: quant.Layers = None
    fp32: Annotated[bool, typer.Option("--fp32", help="Train without quantisation.")] = False
    epochs: Annotated[
        int | None,
        typer.Option("--epochs", metavar="N", help="Passes over the training split (200)."),
    ] = None
    batch_size: Annotated[
        int | None,
        typer.Option("--batch-size", metavar="N", help="Samples a step, over all processes (128)."),
    ] = None
    lr: Annotated[
        float | None,
        typer.Option("--lr", metavar="RATE", help="Learning rate of the first epoch (0.1)."),
    ] = None
    momentum: Annotated[
        float | None, typer.Option("--momentum", help="Momentum of SGD and RMSProp (0.9).")
    ] = None
    weight_decay: Annotated[
        float | None,
        typer.Option("--weight-decay", help="Weight decay of every parameter (0.0001)."),
    ] = None
    optimizer: Annotated[
        str | None,
        typer.Option("--optimizer", metavar="sgd|adam|rmsprop", help="The optimiser (sgd)."),
    ] = None
    schedule: Annotated[
        str | None,
        typer.Option(
            "--schedule",
            metavar="cosine|constant|exponential",
            help="Learning rate schedule; a recipe can name steps (cosine).",
        ),
    ] = None
    loss: Annotated[
        str | None,
        typer.Option(
            "--loss", metavar="cross-entropy|squared-hinge", help="The loss (cross-entropy)."
        ),
    ] = None
    augmentation: Annotated[
        str | None,
        typer.Option(
            "--augmentation",
            metavar="none|crop-flip|affine",
            help="Augmentation of training images (the data set's).",
        ),
    ] = None
    init_from: Annotated[
        str | None,
        typer.Option(
            "--init-from",
            metavar="FILE",
            help="Start from the weights of this checkpoint of the same network.",
        ),
    ] = None
    ema: Annotated[
        float | None,
        typer.Option(
            "--ema",
            metavar="DECAY",
            help="Evaluate and keep a moving average of the weights, such as 0.999 (0).",
        ),
    ] = None
    teacher: Annotated[
        str | None,
        typer.Option(
            "--teacher",
            metavar="FILE",
            help="Distillation: learn the answers of this checkpoint too, such as the FP32 "
            "network's.",
        ),
    ] = None
    distillation: Annotated[
        float | None,
        typer.Option(
            "--distillation", metavar="SHARE", help="The teacher's share of the loss (0.5)."
        ),
    ] = None
    temperature: Annotated[
        float | None,
        typer.Option("--temperature", help="Temperature of the teacher's answers (4)."),
    ] = None
    consistency: Annotated[
        float | None,
        typer.Option(
            "--consistency",
            metavar="WEIGHT",
            help="Weight in the loss of the change of block outputs by rounding activations (0).",
        ),
    ] = None
    precision: Annotated[
        str | None,
        typer.Option(
            "--precision",
            metavar="fp32|bf16",
            help="Precision of convolutions and matrix products in training (fp32).",
        ),
    ] = None
    compiled: Annotated[
        bool | None,
        typer.Option(
            "--compile/--no-compile", help="Train through torch.compile (no).", show_default=False
        ),
    ] = None
    seed: Annotated[
        int | None,
        typer.Option(
            "--seed", metavar="N", help="Seed of initialisation, data order and augmentation (0)."
        ),
    ] = None
    threads: Annotated[
        int | None,
        typer.Option(
            "--threads", metavar="N", min=1, help="Threads; another number may round differently."
        ),
    ] = None
    cpu: Annotated[
        bool, typer.Option("--cpu", help="Train on the CPU, even if there is a GPU.")
    ] = False
    check: quant.Check = None
    log: Annotated[
        str | None,
        typer.Option(
            "--log",
            metavar="tensorboard|mlflow",
            help="Log each epoch to this tracker; its package has to be installed.",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Go on with the run in the output folder, to the same result."
        ),
    ] = False
    overwrite: Overwrite = False
    as_json: AsJson = False
    preprocess: AskedPreprocessing = NOTHING_ASKED

    def of(self, kind: type[Any], *, but: Collection[str]) -> dict[str, Any]:
        """The flags that stand for fields of a dataclass; None for one that was not given."""
        own = {field.name for field in fields(self)} - {*but}
        return {
            field.name: getattr(self, field.name) for field in fields(kind) if field.name in own
        }


@with_preprocessing
@with_options(TrainOptions)
def command(given: TrainOptions) -> None:
    """Train a network, quantised or in FP32.

    Quantised training computes what the device will compute. It keeps the checkpoint with the best
    validation accuracy. A graph network, such as pde-gcn-64, trains on a graph, such as cora.

    --check trains nothing. It checks for each kind of tensor whether a target can hold the scheme.
    It exits with status 1 if one cannot hold it exactly, and with 4 if one could be checked only in
    part.

    Samples are fed as the flags of preprocessing say, else as --init-from and --teacher note, else
    as the data have it; the checkpoint notes it for all other commands.

    Values in parentheses are the defaults where the recipe gives none.
    """
    if given.resume and given.overwrite:
        raise UsageError(
            "--resume goes on with a run and --overwrite throws it away", hint="give one of them"
        )
    tell("loading torch")
    from edgeq.deploy.pipeline.graph_training import graph_recipe, reads_graph
    from edgeq.deploy.pipeline.training_options import recipe_of
    from edgeq.deploy.pipeline.training_run import run_graph, run_images, show
    from edgeq.deploy.scheme_check.report import check_graph_run, check_run
    from edgeq.deploy.user_code import check_named, named_model
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.recipes.scheme import Scheme

    model, data, data_dir = named_model(given.model, given.user_model), given.data, given.data_dir
    path = None if given.recipe is None else builtin_recipes.find(given.recipe)
    flags = given.of(Recipe, but=("model", "data"))
    scheme = given.of(Scheme, but=("layers",))
    if reads_graph(model, path):
        if given.log is not None or given.cpu:
            raise UsageError(
                "--log and --cpu mean nothing for a graph network", hint="leave them out"
            )
        if given.preprocess != NOTHING_ASKED:
            raise UsageError(
                "a graph is fed as it is, and flags of preprocessing mean nothing for it",
                hint="leave them out",
            )
        start = flags.pop("init_from")
        on_graphs = quant.on_graphs(scheme, given.layers)
        graph_run = graph_recipe(path, model, data, on_graphs, flags, fp32=given.fp32)
        if given.check:
            console.next_step(_CHECKED)
            check_graph_run(graph_run, data_dir, given.check, as_json=given.as_json)
            return
        trained = run_graph(
            graph_run,
            data_dir,
            quant.required(given.output),
            start=None if start is None else Path(start),
            resume=given.resume,
            overwrite=given.overwrite,
            threads=given.threads,
        )
        show(trained, as_json=given.as_json)
        console.next_step("edgeq", "export", trained.folder, "-o", "exported")
        return
    run = recipe_of(
        path,
        model,
        data,
        flags,
        lambda told: quant.scheme_of(told, scheme, given.layers or (), fp32=given.fp32),
    )
    check_named(run.data, data)
    if given.check:
        console.next_step(_CHECKED)
        check_run(run, data_dir, given.check, given.preprocess, as_json=given.as_json)
        return
    result = run_images(
        run,
        data_dir,
        quant.required(given.output),
        given.preprocess,
        log=given.log,
        resume=given.resume,
        overwrite=given.overwrite,
        threads=given.threads,
        cpu=given.cpu,
    )
    if console.first_process():
        show(result, as_json=given.as_json)
        own = () if given.user_model is None else ("--model", given.user_model)
        console.next_step("edgeq", "export", result.folder, *own, "-o", "exported")
