"""What the benchmark of training steps makes of the times.

Ratios, verdicts, a step that trains, turns that are fair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from benchmarks.training.qat import SOURCE, Goal, Ratio, Row, paired, row
from benchmarks.workers import stepping

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_ratio_is_taken_round_by_round() -> None:
    """A machine that slows down by ten in some rounds changes no ratio."""
    assert paired([2.0, 20.0, 2.0, 2.2, 1.8], [1.0, 10.0, 1.0, 1.0, 1.0]) == Ratio(2.0, 2.0, 2.0)
    assert paired([1.0, 2.0, 3.0], [1.0, 1.0, 1.0]) == Ratio(2.0, 1.5, 2.5)


def test_a_row_holds_the_clock_and_the_processors_apart() -> None:
    own, beside = (
        {"wall": [3.0, 3.0, 3.0], "cpu": [4.0, 4.0, 4.0]},
        {"wall": [2.0, 2.0, 2.0], "cpu": [4.0, 4.0, 4.0]},
    )
    assert row("a", "b", own, beside) == Row(
        "a", "b", Ratio(1.5, 1.5, 1.5), Ratio(1.0, 1.0, 1.0), 3.0, 2.0
    )


@pytest.mark.parametrize(
    ("low", "high", "word"),
    [
        (0.9, 1.1, "met"),
        (1.0, 1.11, "inconclusive"),
        (1.1, 1.2, "inconclusive"),
        (1.11, 1.2, "missed"),
    ],
)
def test_a_goal_inside_the_spread_is_not_decided(low: float, high: float, word: str) -> None:
    wall = Ratio((low + high) / 2, low, high)
    rows = [
        Row("other", "FP32", Ratio(9, 9, 9), Ratio(9, 9, 9), 9, 1),
        Row("edgeq", "FP32", wall, wall, 1, 1),
    ]
    assert f"edgeq at most 1.1 times FP32: {word}, " in Goal("edgeq", "FP32", 1.1).verdict(rows)


def test_each_step_is_timed_once_a_round_and_its_turn_moves_on() -> None:
    ran: list[str] = []

    def named(name: str) -> Callable[[], None]:
        return lambda: ran.append(name)

    taken = stepping.take_turns({"a": named("a"), "b": named("b")}, rounds=3)
    assert {name: (len(times["wall"]), len(times["cpu"])) for name, times in taken.items()} == {
        "a": (3, 3),
        "b": (3, 3),
    }
    assert "".join(ran) == "aabb" + "aabb" + "bbaa" + "aabb"


@pytest.mark.parametrize("bf16", [False, True])
def test_a_step_trains_a_copy(bf16: bool) -> None:
    network = stepping.float_network(str(SOURCE))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    copies: list[torch.nn.Module] = []

    def keep(copy: torch.nn.Module) -> torch.nn.Module:
        copies.append(copy)
        return copy

    stepping.training_step(network, 4, compiled=keep, bf16=bf16)()
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not torch.equal(
        copies[0].get_parameter("classifier.weight"), before["classifier.weight"]
    )
