"""Optimisers, schedules and groups as data: the published numbers, and refusals by name."""

from __future__ import annotations

from typing import Any

import pytest

from edgeq.errors import UsageError
from edgeq.training.recipes.optimization import Group, Optimizer, Schedule


class TestSchedules:
    def test_cosine_ends_at_zero(self) -> None:
        held = [Schedule().multiplier(epoch, 200) for epoch in range(200)]
        assert held[0] == 1.0
        assert held[100] == pytest.approx(0.5)
        assert held == sorted(held, reverse=True)
        assert Schedule().multiplier(200, 200) == 0.0

    @pytest.mark.parametrize(
        ("epoch", "held"), [(0, 1), (149, 1), (150, 0.1), (224, 0.1), (225, 0.01), (299, 0.01)]
    )
    def test_the_steps_of_apot(self, epoch: int, held: float) -> None:
        assert Schedule("step", at=(0.5, 0.75)).multiplier(epoch, 300) == pytest.approx(held)

    def test_steps_keep_their_proportions(self) -> None:
        assert [
            Schedule("step", at=(0.5, 0.75)).multiplier(epoch, 4) for epoch in range(4)
        ] == pytest.approx([1, 1, 0.1, 0.01])

    def test_the_exponential_of_yun_and_wong(self) -> None:
        held = [
            0.045 * Schedule("exponential", factor=0.97).multiplier(epoch, 200)
            for epoch in (0, 1, 199)
        ]
        assert held == pytest.approx([0.045, 0.045 * 0.97, 0.045 * 0.97**199])

    def test_constant(self) -> None:
        assert {Schedule("constant").multiplier(epoch, 9) for epoch in range(9)} == {1.0}


@pytest.mark.parametrize(
    ("kind", "content", "named"),
    [
        (Optimizer, {"name": "lamb"}, "optimizer"),
        (Optimizer, {"decay": 1.5}, "decay"),
        (Optimizer, {"betas": (0.9,)}, "betas"),
        (Optimizer, {"betas": (0.9, 1.0)}, "betas"),
        (Optimizer, {"epsilon": 0}, "epsilon"),
        (Optimizer, {"epsilon": "small"}, "epsilon"),
        (Schedule, {"name": "linear"}, "schedule"),
        (Schedule, {"name": "step"}, "at"),
        (Schedule, {"at": (0.5,)}, "at"),
        (Schedule, {"name": "step", "at": (150,)}, "at"),
        (Schedule, {"name": "step", "at": 0.5}, "at"),
        (Schedule, {"factor": 0}, "factor"),
        (Group, {"of": ""}, "group"),
        (Group, {"of": "norms", "lr": -1.0}, "lr of norms"),
        (Group, {"of": "norms", "weight_decay": float("nan")}, "weight_decay of norms"),
    ],
)
def test_what_cannot_be_is_refused_by_name(kind: Any, content: dict[str, Any], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        kind(**content)
