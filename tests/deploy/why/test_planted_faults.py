"""``edgeq why`` finds every planted fault at its place, and nothing where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from tests.support.faults.kinds import KINDS
from tests.support.faults.networks import SHAPES, network, samples
from tests.support.faults.origins import origin
from tests.support.faults.running import (
    asked,
    asked_of_float,
    complaint,
    leaves_no_trace,
    places,
    planted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

PLACES = {
    "small": 3,
    "resnet8": 3,
    "stable-resnet8": 2,
    "yolo-tiny": 1,
    "gru-denoiser": 1,
    "mobilenetv2": 1,
    "mobilenetv3-small": 1,
    "mlperf-resnet8": 1,
    "mixed": 1,
}
"""In how many places of a network each kind is planted: 14 in all."""

WITHOUT_ACTIVATIONS = "mlperf-resnet8"
"""A file whose activations are the ends of its grids, so that no float network follows from it."""


def complaints(
    name: str, most: int, folder: Path, kinds: Sequence[str] = tuple(KINDS)
) -> tuple[int, list[str]]:
    """How many faults were planted in a network, and what is wrong with the answers."""
    clean, source = network(name), samples(SHAPES[name])
    cases = [
        (kind, layer.node, made)
        for kind in kinds
        for layer in places(clean, kind, most)
        if (made := planted(clean, kind, layer)) is not None
    ]
    causes = asked(clean, [model for _, _, (model, _) in cases], source, folder)
    found = [
        f"{name}, {kind}, {node}: {wrong}"
        for (kind, node, (_, told)), each in zip(cases, causes, strict=True)
        if (wrong := complaint(each, told))
    ]
    return len(cases), found


def test_every_second_kind_in_one_place(tmp_path: Path) -> None:
    """The nightly test has all of them."""
    count, wrong = complaints("small", 1, tmp_path, tuple(KINDS)[::2])
    assert not wrong
    assert count >= 30


@pytest.mark.slow
@pytest.mark.parametrize("name", PLACES)
def test_each_kind_in_many_places(name: str, tmp_path: Path) -> None:
    count, wrong = complaints(name, PLACES[name], tmp_path)
    assert not wrong
    assert count >= 40 * PLACES[name]


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in PLACES if name != WITHOUT_ACTIVATIONS])
def test_each_kind_from_the_float_side(name: str, tmp_path: Path) -> None:
    """Held against the float network, whose names are others, but for what no file can tell."""
    clean, source = network(name), samples(SHAPES[name])
    real = origin(clean)
    assert asked_of_float(real, [clean], source, tmp_path) == [[]]
    planted_kinds, missed = 0, []
    for kind in KINDS:
        for layer in places(clean, kind, 1):
            made = planted(clean, kind, layer)
            if made is None:
                continue
            planted_kinds += 1
            (causes,) = asked_of_float(real, [made[0]], source, tmp_path)
            wrong = complaint(causes, made[1])
            if wrong and not leaves_no_trace(clean, kind, layer):
                missed.append(f"{kind}, {layer.node}: {wrong}")
    assert planted_kinds >= 40
    assert not missed
