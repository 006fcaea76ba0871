"""``edgeq train``: quantisation-aware training, or FP32 training, of a network of the zoo."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.deploy.options import AsJson, DataDir, Output, Overwrite
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.deploy.console import Advance
    from edgeq.training.graph_loop import GraphResult
    from edgeq.training.loop import Progress, TrainingResult
    from edgeq.training.recipe import Recipe
    from edgeq.training.scheme import Scheme

_EMBEDDED = "digits"
_WEIGHT_BITS = 4  # with 8-bit activations the published scheme that loses least; both are flags


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
    recipe: Annotated[Path | None, typer.Option("--recipe", metavar="FILE", help="A TOML recipe; flags beside it take precedence.")] = None,
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
    epochs: Annotated[int | None, typer.Option("--epochs", metavar="N", help="Passes over the training split (200).")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", metavar="N", help="Samples a step (128).")] = None,
    lr: Annotated[float | None, typer.Option("--lr", metavar="RATE", help="Learning rate of the first epoch (0.1).")] = None,
    momentum: Annotated[float | None, typer.Option("--momentum", help="Momentum of SGD (0.9).")] = None,
    weight_decay: Annotated[float | None, typer.Option("--weight-decay", help="On every parameter (0.0001).")] = None,
    seed: Annotated[int | None, typer.Option("--seed", metavar="N", help="Of initialisation, data order and augmentation (0).")] = None,
    threads: Annotated[
        int | None, typer.Option("--threads", metavar="N", min=1, help="Threads; another number may round differently.")
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option("--start", metavar="FILE", help="Begin with the weights of this FP32 checkpoint of the same graph network."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the run in the output folder, to the same result.")] = False,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Train a network, quantised or in FP32.

    Quantised training computes what the device will compute. The best checkpoint on the validation split is kept.

    A graph network (pde-gcn-64 and its kin) trains on a graph, such as cora, by Adam; see the guide.

    The numbers in brackets hold where neither a flag nor the recipe says otherwise.
    """
    from edgeq.deploy import console
    from edgeq.deploy.graph_training import graph_recipe, reads_graph
    from edgeq.deploy.inputs import load_data
    from edgeq.training.loop import train

    if resume and overwrite:
        raise UsageError("--resume goes on with a run and --overwrite throws it away", mend="give one of them")
    given = {"epochs": epochs, "batch_size": batch_size, "lr": lr, "momentum": momentum, "weight_decay": weight_decay, "seed": seed}
    bits = {"weight_bits": weight_bits, "act_bits": act_bits, "placement": placement}
    if reads_graph(model, recipe):
        from edgeq.data import load_graph
        from edgeq.training.graph_loop import train_graph

        on_graph = graph_recipe(recipe, model, data, bits, given, fp32=fp32)
        graph = load_graph(on_graph.data, data_dir)
        with console.progress(on_graph.name) as advance:
            trained = train_graph(
                on_graph, graph, output, start=start, resume=resume, overwrite=overwrite, threads=threads, report=_reporter(advance)
            )
        _show(trained, as_json=as_json)
        return
    if start is not None:
        raise UsageError("--start is for graph networks", mend="leave it out")
    run = _base(recipe, model, data)
    run = replace(run, scheme=_scheme(run.scheme, bits, fp32=fp32), **_only_given(given))
    source = load_data(run.data, data_dir)
    with console.progress(run.name) as advance:
        result = train(run, source, output, resume=resume, overwrite=overwrite, threads=threads, report=_reporter(advance))
    _show(result, as_json=as_json)


def _base(path: Path | None, model: str | None, data: str | None) -> "Recipe":
    from edgeq.training.recipe import Recipe
    from edgeq.training.scheme import Scheme

    if path is not None:
        return replace(Recipe.from_toml(path), **_only_given({"model": model, "data": data}))
    if model is None:
        raise UsageError("no model is named", mend="name one of edgeq models, or give --recipe FILE")
    return Recipe(model, data or _EMBEDDED, Scheme(weight_bits=_WEIGHT_BITS))


def _scheme(scheme: "Scheme | None", flags: dict[str, Any], *, fp32: bool) -> "Scheme | None":
    from edgeq.training.scheme import Scheme

    given = _only_given(flags)
    if not fp32:
        return replace(scheme or Scheme(weight_bits=_WEIGHT_BITS), **given) if scheme or given else None
    if given:
        raise UsageError(
            "--fp32 trains without quantisation, and other flags ask for one", mend="leave out --fp32, or the bits and placement"
        )
    return None


def _only_given(flags: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in flags.items() if value is not None}


def _reporter(advance: "Advance") -> "Callable[[Progress], None]":
    """Moves the bar after each step, and says one line an epoch where no bar is drawn."""
    from edgeq.deploy import console

    quiet = console.animated(sys.stderr)

    def report(at: "Progress") -> None:
        advance(at.epoch * at.steps + at.step, at.epochs * at.steps)
        if at.step == at.steps and not quiet:
            before = "" if at.validation is None else f", validation before it {100 * at.validation:.2f} %"
            console.note(f"epoch {at.epoch + 1} of {at.epochs}: loss {at.loss:.4f}, training {100 * at.accuracy:.2f} %{before}")

    return report


def _show(result: "TrainingResult | GraphResult", *, as_json: bool) -> None:
    from edgeq.deploy import console
    from edgeq.metrics import wilson

    low, high = wilson(result.test_correct, result.test_total)
    if as_json:
        console.write_json(
            "train",
            {
                "folder": str(result.folder),
                "recipe": result.recipe,
                "best_epoch": result.best_epoch,
                "validation": result.validation,
                "test": {"correct": result.test_correct, "total": result.test_total, "low": low, "high": high},
                "seconds": result.seconds,
                "history": result.history,
            },
        )
        return
    share = result.test_correct / result.test_total
    console.write(
        f"{result.recipe.name}: test accuracy {100 * share:.2f} % (95 % interval {100 * low:.2f} – {100 * high:.2f}), "
        f"best epoch {result.best_epoch + 1} with {100 * result.validation:.2f} % on validation, {result.seconds:.0f} s; in {result.folder}"
    )
