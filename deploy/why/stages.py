"""Which stage is judged by which.

A float stage by the first one, the first quantised stage by the float one, and every other
quantised stage by that first one, so that one wrong stage puts no blame on those behind it. The
first quantised file also runs on the reference of its format, asked for or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.chain import Pair, load_target, reference_name
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import detect

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Judged:
    """One stage.

    Attributes:
        pair: what runs where.
        quantized: whether it computes with integers, or as if.
        against: what it is judged by; None for the first.
        from_float: whether it rounds and what it is judged by does not.
    """

    pair: Pair
    quantized: bool
    against: Pair | None
    from_float: bool = False


def with_reference(pairs: Sequence[Pair], rounded: Mapping[Pair, bool]) -> list[Pair]:
    """The stages, and the first quantised file on the reference of its format in front of them.

    A file in float is left out where the target takes quantised ones only.

    Args:
        pairs: what was asked for, in the order of the chain.
        rounded: which of them round; see :func:`is_quantized`.
    """
    pairs = [pair for pair in pairs if rounded[pair] or not _needs_integers(pair)]
    first = next(
        (pair for pair in pairs if rounded[pair] and detect(pair.artefact) != "checkpoint"), None
    )
    if first is None or any(
        load_target(pair.target).capabilities.reference
        for pair in pairs
        if pair.artefact == first.artefact
    ):
        return list(pairs)
    reference = Pair(first.artefact, reference_name(detect(first.artefact)))
    place = pairs.index(first)
    return [*pairs[:place], reference, *pairs[place:]]


def judged(pairs: Sequence[Pair], asked: Mapping[Pair, bool]) -> list[Judged]:
    """The stages in their order, each with what it is judged by.

    Args:
        pairs: those that ran, the reference among them.
        asked: which of those that were asked for round.
    """
    rounded = {pair: asked.get(pair, True) for pair in pairs}
    floats = [pair for pair in pairs if not rounded[pair]]
    integers = [pair for pair in pairs if rounded[pair]]
    first = _reference_among(integers)
    found = []
    for pair in pairs:
        if not rounded[pair]:
            against = None if pair == floats[0] else floats[0]
        elif pair == first:
            against = floats[0] if floats else None
        else:
            against = first
        from_float = rounded[pair] and against is not None and not rounded[against]
        found.append(Judged(pair, rounded[pair], against, from_float))
    return found


def is_quantized(pairs: Sequence[Pair]) -> dict[Pair, bool]:
    """Whether each stage rounds: a file by what is in it, a checkpoint by its target."""
    files: dict[Path, bool] = {}
    found = {}
    for pair in pairs:
        if detect(pair.artefact) == "checkpoint":
            link = load_target(pair.target).capabilities.link
            found[pair] = link is not None and "quantisation" in link.causes
            continue
        if pair.artefact not in files:
            files[pair.artefact] = _file_is_quantized(pair.artefact)
        found[pair] = files[pair.artefact]
    return found


def _needs_integers(pair: Pair) -> bool:
    return load_target(pair.target).capabilities.replays


def _reference_among(integers: Sequence[Pair]) -> Pair | None:
    """The stage that quantised ones are judged by: the trained network, else the first file's."""
    if not integers or detect(integers[0].artefact) == "checkpoint":
        return integers[0] if integers else None
    own = [pair for pair in integers if pair.artefact == integers[0].artefact]
    return next((pair for pair in own if load_target(pair.target).capabilities.reference), own[0])


def _file_is_quantized(path: Path) -> bool:
    from edgeq.deploy.pipeline import reading

    try:
        return reading.is_quantized(path)
    except EdgeqError:  # its own runtime tells what is wrong with it
        return True
