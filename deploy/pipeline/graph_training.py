"""``edgeq train`` for networks that read a graph.

Which of the flags mean something for them, and what they mean.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError
from edgeq.files import parse_toml
from edgeq.models import zoo

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeq.training.graph.recipe import GraphRecipe, GraphScheme

_FOR_IMAGES = {"batch_size": "trains on the whole graph at once", "momentum": "is trained by Adam"}
_KNOWN = ("epochs", "lr", "weight_decay", "seed")


def reads_graph(model: str | None, recipe: Path | None) -> bool:
    """Whether the network that a command or its recipe names reads a graph.

    False where none is named or known.
    """
    return (
        zoo.describe(name).reads == "graphs"
        if (name := model or _named(recipe)) in zoo.names()
        else False
    )


def _named(recipe: Path | None) -> str:
    try:
        return str(parse_toml(recipe.read_bytes()).get("model", "")) if recipe is not None else ""
    except (OSError, ValueError):
        return ""  # what is wrong with it is told when it is read


def graph_recipe(
    path: Path | None,
    model: str | None,
    data: str | None,
    scheme: Mapping[str, Any],
    flags: Mapping[str, Any],
    *,
    fp32: bool,
) -> GraphRecipe:
    """The run that a command asks for.

    Args:
        path: a TOML recipe, or None.
        model: of the zoo; None for the recipe's.
        data: a graph's name; None for the recipe's.
        scheme: the flags of the quantisation: ``weight_bits``, ``act_bits``, ``placement``.
        flags: the other flags, of image networks too.
        fp32: train without quantisation.

    Raises:
        UsageError: a flag means nothing for a graph network, or what it says is out of range.
    """
    from edgeq.training.graph.recipe import GraphRecipe, GraphScheme

    given = {name: value for name, value in flags.items() if value is not None}
    for name in given.keys() - set(_KNOWN):
        why = _FOR_IMAGES.get(name, "takes no such option")
        raise UsageError(
            f"--{name.replace('_', '-')} means nothing here: a graph network {why}",
            hint="leave it out",
        )
    if path is not None:
        told = GraphRecipe.from_toml(path)
        run = replace(told, model=model or told.model, data=data or told.data)
    elif model is None or data is None:
        raise UsageError(
            "a graph network needs a graph", hint="add --data with one of the graphs of edgeq data"
        )
    else:
        run = GraphRecipe(model, data, GraphScheme())
    return replace(run, scheme=_scheme(run.scheme, scheme, fp32=fp32), **given)


def _scheme(
    scheme: GraphScheme | None, flags: Mapping[str, Any], *, fp32: bool
) -> GraphScheme | None:
    from edgeq.training.graph.recipe import GraphScheme

    given = {name: value for name, value in flags.items() if value is not None}
    if given.pop("placement", "paper") != "paper":
        raise UsageError(
            "a graph network cannot be integer from end to end: differences along edges "
            "and their sums are in float",
            hint="use --placement paper, or leave it out",
        )
    if fp32 and given:
        raise UsageError(
            "--fp32 trains without quantisation, and other flags ask for one",
            hint="leave out --fp32, or the bits",
        )
    if fp32 or (scheme is None and not given):
        return None
    return replace(scheme or GraphScheme(), **given)
