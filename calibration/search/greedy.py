"""Greedy searches: the least bits for the network, then for each layer, then for each neuron.

Seed procedures of a lecture on quantising networks (IMT Atlantique): bits are taken away as long
as the loss stays within what is stated; first from all weights at once, then from all activations,
then from one layer after the other, then from one output channel after the other.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal, get_args

from edgeq.calibration.search.precision import EIGHT, Precision
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgeq.calibration.search.study import Study

Grain = Literal["network", "layer", "neuron"]
GRAINS: tuple[Grain, ...] = get_args(Grain)
"""What bits are taken away from at once, the coarsest first."""
_LEAST = 2


def greedy(study: Study, grain: Grain) -> None:
    """Take bits away, down to a grain; each finer one starts where the coarser one ended.

    Raises:
        UsageError: the goal is a budget, which has no loss to stay within.
    """
    if study.goal.direction != "max-drop":
        raise UsageError(
            f"taking bits away by {grain} needs a loss to stay within", hint="give --max-drop"
        )
    at = _by_network(study)
    if grain != "network":
        at = _by_layer(study, at)
    if grain == "neuron":
        _by_neuron(study, at)


def _by_network(study: Study) -> dict[str, Precision]:
    """One width for all weights, then one for all activations."""
    at = study.uniform(EIGHT)
    if not study.attempt(at, "network").kept:
        return at
    for field in ("weight_bits", "act_bits"):
        for bits in range(7, _LEAST - 1, -1):
            lower = {name: _with(each, field, bits) for name, each in at.items()}
            if not study.open or not study.attempt(lower, "network").kept:
                break
            at = lower
    return at


def _by_layer(study: Study, at: Mapping[str, Precision]) -> dict[str, Precision]:
    """The layers with the most weights first, since they save the most."""
    found = dict(at)
    for field in ("weight_bits", "act_bits"):
        for layer in sorted(study.layers, key=lambda each: -each.weights):
            now = found[layer.name]
            for bits in range(getattr(now, field) - 1, _LEAST - 1, -1):
                lower = {**found, layer.name: _with(now, field, bits)}
                if not study.open or not study.attempt(lower, "layer").kept:
                    break
                found = lower
    return found


def _by_neuron(study: Study, at: Mapping[str, Precision]) -> None:
    """The weights of one output channel after the other; activations have one grid a tensor."""
    found = dict(at)
    for layer in sorted(study.layers, key=lambda each: -each.weights):
        start = found[layer.name]
        found[layer.name] = replace(start, channel_bits=(start.weight_bits,) * layer.channels)
        for channel in range(layer.channels):
            for lower in _narrower(found[layer.name], channel):
                tried = {**found, layer.name: lower}
                if not study.open or not study.attempt(tried, "neuron").kept:
                    break
                found = tried


def _narrower(now: Precision, channel: int) -> Iterator[Precision]:
    bits = list(now.channel_bits)
    for width in range(bits[channel] - 1, _LEAST - 1, -1):
        bits[channel] = width
        yield replace(now, channel_bits=tuple(bits), weight_bits=max(bits))


def _with(precision: Precision, field: str, bits: int) -> Precision:
    if field == "weight_bits":
        return Precision(bits, precision.act_bits)
    return Precision(precision.weight_bits, bits)
