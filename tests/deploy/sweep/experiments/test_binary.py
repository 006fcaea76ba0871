"""What the experiment of binary networks computes beside training.

Agreement of files with torch, its recipes.
"""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.deploy.sweep.experiments.binary import (
    FIRST_LR,
    LAST_LR,
    VARIANTS,
    agreement,
    published_recipe,
)


def test_agreement_counts_answers_outputs_and_steps() -> None:
    reference = np.array([[0.5, 0.0], [0.0, 1.0], [0.25, 0.0]], np.float32)
    answers = np.array([[0.5, 0.0], [0.0, 0.75], [0.25, 0.5]], np.float32)
    assert list(agreement(reference, answers, 0.25).values()) == [1, 2, 2]
    assert list(agreement(reference, reference, 0.25).values()) == [0, 0, 0]


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("epochs", [1, 12, 250])
def test_a_short_schedule_ends_where_the_published_one_does(name: str, epochs: int) -> None:
    recipe = published_recipe(VARIANTS[name], "mnist", epochs, seed=0)
    assert recipe.lr * recipe.schedule.multiplier(epochs, epochs) == pytest.approx(LAST_LR)
    assert recipe.lr == FIRST_LR
