"""The flags that say how a network is quantised, and the scheme that they and a recipe come to."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgeq.training.recipes.scheme import Scheme

_ON_GRAPHS = ("weight_bits", "act_bits", "placement")
WEIGHT_BITS = 4  # with 8-bit activations the published scheme that loses least; both are flags

WeightBits = Annotated[
    int | None,
    typer.Option("--weight-bits", metavar="N", help="Bits of inner layers' weights, 1 to 8 (4)."),
]
ActBits = Annotated[
    int | None,
    typer.Option(
        "--act-bits", metavar="N", help="Bits of what inner layers read, 1 to 8, or 16 (8)."
    ),
]
BoundaryBits = Annotated[
    int | None,
    typer.Option(
        "--boundary-bits",
        metavar="N",
        help="Bits of all other tensors that are stored, 2 to 8, or 16 (8).",
    ),
]
Placement = Annotated[
    str | None,
    typer.Option(
        "--placement",
        metavar="integer|paper",
        help="Quantise everything that an integer runtime stores, or as papers do (integer).",
    ),
]
Weights = Annotated[
    str | None,
    typer.Option(
        "--weight-method",
        metavar="METHOD",
        help="Method of weights: auto, or a name of the methods reference (auto).",
    ),
]
Activations = Annotated[
    str | None,
    typer.Option(
        "--activation-method",
        metavar="METHOD",
        help="Method of activations of inner layers: auto, or a name as above (auto).",
    ),
]
PerChannel = Annotated[
    bool | None,
    typer.Option(
        "--per-channel/--per-tensor",
        help="A weight scale for each output channel, or one for the layer (per tensor from "
        "scratch, else per channel).",
        show_default=False,
    ),
]
Affine = Annotated[
    bool | None,
    typer.Option(
        "--affine/--symmetric",
        help="Zero anywhere in the range of a tensor that can be negative, or in the middle "
        "(symmetric from scratch, else affine).",
        show_default=False,
    ),
]
NormalizeWeights = Annotated[
    bool | None,
    typer.Option(
        "--normalize-weights/--no-normalize-weights",
        help="Give weights in front of a BatchNorm zero mean and unit variance, as published "
        "(from scratch only).",
        show_default=False,
    ),
]
PairSafe = Annotated[
    bool | None,
    typer.Option(
        "--pair-safe/--no-pair-safe",
        help="Weight scales with which no pair of products saturates on x86 without VNNI (yes).",
        show_default=False,
    ),
]
FirstLastLayer = Annotated[
    str | None,
    typer.Option(
        "--first-last",
        metavar="boundary|inner|float",
        help="First and last layer: at 8 bits, like any layer, or in float (boundary).",
    ),
]
Layers = Annotated[
    list[str] | None,
    typer.Option(
        "--layer",
        metavar="PATTERN=NAME:VALUE,…",
        help="A rule for some layers: stages.2.*=weight_bits:8,act_bits:8; a later one wins.",
    ),
]
Check = Annotated[
    list[str] | None,
    typer.Option(
        "--check",
        metavar="TARGET",
        help="Train nothing; say whether this target can hold the scheme exactly. Repeat, or "
        "use commas.",
    ),
]


def required(output: Path | None) -> Path:
    """The folder that a run needs.

    Raises:
        UsageError: none is named.
    """
    if output is None:
        raise UsageError("no folder is named for the run", hint="add -o or --output FOLDER")
    return output


def on_graphs(flags: Mapping[str, Any], layers: Sequence[str] | None) -> dict[str, Any]:
    """The flags that mean something for a graph network.

    Raises:
        UsageError: another one is given.
    """
    others = {
        "layer": layers,
        **{name: value for name, value in flags.items() if name not in _ON_GRAPHS},
    }
    for name, value in others.items():
        if value is not None and value != []:
            raise UsageError(
                f"--{name.replace('_', '-')} means nothing for a graph network", hint="leave it out"
            )
    return {name: flags[name] for name in _ON_GRAPHS}


def scheme_of(
    scheme: Scheme | None, flags: Mapping[str, Any], layers: Sequence[str], *, fp32: bool
) -> Scheme | None:
    """The scheme of a recipe, with what flags say in its place.

    Args:
        scheme: the recipe's; None for training in FP32.
        flags: by the fields of :class:`edgeq.training.recipes.scheme.Scheme`; None for those not
            given.
        layers: rules as they are written on the command line; they go before the recipe's.
        fp32: whether quantisation is to be left out.

    Raises:
        UsageError: flags contradict each other, or a value is none that can be.
    """
    from edgeq.network.layer_rules import parse_rule
    from edgeq.training.recipes.scheme import Scheme

    given = {name: value for name, value in flags.items() if value is not None}
    rules = tuple(parse_rule(text) for text in layers)
    if fp32 and (given or rules):
        raise UsageError(
            "--fp32 trains without quantisation, and other flags ask for one",
            hint="leave out --fp32, or the flags of the scheme",
        )
    if fp32 or not (scheme or given or rules):
        return None
    base = scheme or Scheme(weight_bits=WEIGHT_BITS)
    return replace(base, **(_only_widths(given) | given), layers=(*base.layers, *rules))


def _only_widths(given: Mapping[str, Any]) -> dict[str, Any]:
    """The width of a method that comes in one only, where none was given."""
    from edgeq.training.quantizers.catalogue import methods
    from edgeq.training.recipes.scheme import WIDTHS

    found: dict[str, Any] = {}
    for role, width in WIDTHS.items():
        for method in methods(role):
            if method.name == given.get(role) and len(method.widths) == 1 and width not in given:
                found[width] = method.widths[0]
    return found
