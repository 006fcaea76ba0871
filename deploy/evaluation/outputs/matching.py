"""Which output of one artefact is which of another.

By name, then by the number of values where that tells, then by what is in them, which is a guess
and is told.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.evaluation.outputs.output_axes import Output, in_order, order_like
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Outputs = Mapping[str, NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Match:
    """An output of the first artefact, and where another one has it.

    Attributes:
        name: in the first artefact.
        other: its name in the other one.
        order: the permutation of the dimensions of a sample there that makes it read like here.
        guess: what was guessed, a sentence; empty where nothing was.
    """

    name: str
    other: str
    order: tuple[int, ...]
    guess: str = ""


def match(first: tuple[Path, Outputs], other: tuple[Path, Outputs]) -> list[Match]:
    """The outputs of two artefacts that are the same of one network, in the order of the first.

    Args:
        first: the file, and its outputs for some samples, by name.
        other: likewise, for the same samples.

    Raises:
        ArtefactError: both have one output, and these cannot be the same.
    """
    if len(first[1]) == len(other[1]) == 1:
        (name,), (there,) = first[1], other[1]
        order = order_like(_output(*first, name), _output(*other, there))
        return [Match(name, there, order)]
    by_plain = {_plain(name): name for name in other[1]}
    named = [(name, by_plain[_plain(name)]) for name in first[1] if _plain(name) in by_plain]
    found = {
        name: _pair(first, other, name, there)
        for name, there in named
        if _alike(first[1][name], other[1][there])
    }
    free = {name for name in first[1] if name not in found}
    there_free = set(other[1]) - {each.other for each in found.values()}
    near = []
    for name, also in itertools.product(sorted(free), sorted(there_free)):
        if _alike(first[1][name], other[1][also]):
            pair = _pair(first, other, name, also)
            near.append((_error(first[1][name], other[1][also], pair.order), pair))
    for _, pair in sorted(near, key=lambda each: each[0]):
        if pair.name in free and pair.other in there_free:
            rivals = [each for _, each in near if pair.name == each.name]
            taken = _guess(other[0], pair) if len(rivals) > 1 else ""
            told = "; ".join(filter(None, (taken, pair.guess)))
            found[pair.name] = Match(pair.name, pair.other, pair.order, told)
            free.discard(pair.name)
            there_free.discard(pair.other)
    return [found[name] for name in first[1] if name in found]


def _plain(name: str) -> str:
    """A name without what TensorFlow's converters put around it."""
    return name.removeprefix("serving_default_").partition(":")[0]


def _alike(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    return math.prod(one.shape[1:]) == math.prod(other.shape[1:])


def _output(artefact: Path, outputs: Outputs, name: str) -> Output:
    return Output(artefact, outputs[name].shape[1:], list(outputs).index(name))


def _pair(first: tuple[Path, Outputs], other: tuple[Path, Outputs], name: str, there: str) -> Match:
    """Two outputs, with the order of axes that the files tell, else that fits best."""
    one, two = first[1][name], other[1][there]
    try:
        return Match(name, there, order_like(_output(*first, name), _output(*other, there)))
    except ArtefactError:
        kept = [size for size in one.shape[1:] if size != 1]
        orders = [
            order
            for order in itertools.permutations(range(two.ndim - 1))
            if [two.shape[1 + axis] for axis in order if two.shape[1 + axis] != 1] == kept
        ] or [tuple(range(two.ndim - 1))]
        order = min(orders, key=lambda each: _error(one, two, each))
        return Match(
            name,
            there,
            order,
            f"the axes of the output {there!r} of {other[0].name} were ordered by what is in it",
        )


def _guess(artefact: Path, pair: Match) -> str:
    return f"{pair.other!r} of {artefact.name} was taken for {pair.name!r} by what is in it"


def _error(one: NDArray[np.float32], other: NDArray[np.float32], order: tuple[int, ...]) -> float:
    turned = in_order(other, order).reshape(len(other), -1).astype(np.float64)
    error = float(((one.reshape(len(one), -1) - turned) ** 2).mean()) if one.size else 0.0
    return error if math.isfinite(error) else math.inf
