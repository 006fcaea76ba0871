"""The flags that say how a network is trained, and the recipe that they and a file come to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.deploy.scheme_check.options import WEIGHT_BITS
from edgeq.errors import UsageError
from edgeq.training.recipes import builtin_recipes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.recipes.scheme import Scheme


_EMBEDDED = "digits"

RecipeFile = Annotated[
    str | None,
    typer.Option(
        "--recipe",
        metavar="NAME|FILE",
        help="A TOML recipe, or one that comes with edgeq: "
        f"{', '.join(builtin_recipes.names())}; flags beside it take precedence.",
    ),
]
Epochs = Annotated[
    int | None, typer.Option("--epochs", metavar="N", help="Passes over the training split (200).")
]
BatchSize = Annotated[
    int | None,
    typer.Option("--batch-size", metavar="N", help="Samples a step, over all processes (128)."),
]
Lr = Annotated[
    float | None,
    typer.Option("--lr", metavar="RATE", help="Learning rate of the first epoch (0.1)."),
]
Momentum = Annotated[
    float | None, typer.Option("--momentum", help="Momentum of SGD and RMSProp (0.9).")
]
WeightDecay = Annotated[
    float | None, typer.Option("--weight-decay", help="Weight decay of every parameter (0.0001).")
]
Seed = Annotated[
    int | None,
    typer.Option(
        "--seed", metavar="N", help="Seed of initialisation, data order and augmentation (0)."
    ),
]
OptimizerName = Annotated[
    str | None,
    typer.Option("--optimizer", metavar="sgd|adam|rmsprop", help="The optimiser (sgd)."),
]
ScheduleName = Annotated[
    str | None,
    typer.Option(
        "--schedule",
        metavar="cosine|constant|exponential",
        help="Learning rate schedule; a recipe can name steps (cosine).",
    ),
]
Loss = Annotated[
    str | None,
    typer.Option("--loss", metavar="cross-entropy|squared-hinge", help="The loss (cross-entropy)."),
]
Augmentation = Annotated[
    str | None,
    typer.Option(
        "--augmentation",
        metavar="none|crop-flip|affine",
        help="Augmentation of training images (the data set's).",
    ),
]
Precision = Annotated[
    str | None,
    typer.Option(
        "--precision",
        metavar="fp32|bf16",
        help="Precision of convolutions and matrix products in training (fp32).",
    ),
]
Compile = Annotated[
    bool | None,
    typer.Option(
        "--compile/--no-compile", help="Train through torch.compile (no).", show_default=False
    ),
]
InitFrom = Annotated[
    str | None,
    typer.Option(
        "--init-from",
        metavar="FILE",
        help="Start from the weights of this checkpoint of the same network.",
    ),
]
Ema = Annotated[
    float | None,
    typer.Option(
        "--ema",
        metavar="DECAY",
        help="Evaluate and keep a moving average of the weights, such as 0.999 (0).",
    ),
]
Teacher = Annotated[
    str | None,
    typer.Option(
        "--teacher",
        metavar="FILE",
        help="Distillation: learn the answers of this checkpoint too, such as the FP32 network's.",
    ),
]
Distillation = Annotated[
    float | None,
    typer.Option("--distillation", metavar="SHARE", help="The teacher's share of the loss (0.5)."),
]
Temperature = Annotated[
    float | None, typer.Option("--temperature", help="Temperature of the teacher's answers (4).")
]
Consistency = Annotated[
    float | None,
    typer.Option(
        "--consistency",
        metavar="WEIGHT",
        help="Weight in the loss of the change of block outputs by rounding activations (0).",
    ),
]
Log = Annotated[
    str | None,
    typer.Option(
        "--log",
        metavar="tensorboard|mlflow",
        help="Log each epoch to this tracker; its package has to be installed.",
    ),
]
Cpu = Annotated[bool, typer.Option("--cpu", help="Train on the CPU, even if there is a GPU.")]


def recipe_of(
    path: Path | None,
    model: str | None,
    data: str | None,
    flags: Mapping[str, Any],
    scheme: Callable[[Scheme | None], Scheme | None],
) -> Recipe:
    """The recipe of a file, or the default one, with what flags say in its place.

    Args:
        path: a TOML file, or None.
        model: of the zoo; None for the file's.
        data: a data set; None for the file's.
        flags: by the fields of :class:`edgeq.training.recipes.recipe.Recipe`; None for one that was not
            given.
        scheme: makes the run's scheme of the recipe's.

    Raises:
        UsageError: no network is named, or a value is none that can be.
    """
    from edgeq.training.recipes.optimization import Optimizer, Schedule
    from edgeq.training.recipes.recipe import Recipe
    from edgeq.training.recipes.scheme import Scheme

    given = {
        name: value
        for name, value in {"model": model, "data": data, **flags}.items()
        if value is not None
    }
    if path is None and model is None:
        raise UsageError(
            "no model is named",
            hint="name one of edgeq models, one of your own with --model "
            "package.module:function, or give --recipe",
        )
    base = (
        Recipe.from_toml(path)
        if path is not None
        else Recipe(str(model), data or _EMBEDDED, Scheme(weight_bits=WEIGHT_BITS))
    )
    for name, held, kind in (
        ("optimizer", base.optimizer, Optimizer),
        ("schedule", base.schedule, Schedule),
    ):
        if name in given:  # another one than the recipe's has its constants by default
            given[name] = held if given[name] == held.name else kind(given[name])
    return replace(base, scheme=scheme(base.scheme), **given)
