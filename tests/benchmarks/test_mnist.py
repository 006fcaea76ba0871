"""What the benchmark of binary networks computes beside training.

Agreement of files with torch, its recipes.
"""

from __future__ import annotations

import numpy as np
import pytest
from benchmarks.published.mnist import (
    FIRST_LR,
    LAST_LR,
    VARIANTS,
    Agreement,
    agreement,
    published_recipe,
)


def test_agreement_counts_answers_outputs_and_steps() -> None:
    reference = np.array([[0.5, 0.0], [0.0, 1.0], [0.25, 0.0]], np.float32)
    answers = np.array([[0.5, 0.0], [0.0, 0.75], [0.25, 0.5]], np.float32)
    assert agreement(reference, answers, 0.25, 1000) == Agreement(
        images=3, answers=1, values=2, most_lsb=2, size_bytes=1000
    )
    assert agreement(reference, reference, 0.25, 1000) == Agreement(
        images=3, answers=0, values=0, most_lsb=0, size_bytes=1000
    )


@pytest.mark.parametrize("name", VARIANTS)
@pytest.mark.parametrize("epochs", [1, 12, 250])
def test_a_short_schedule_ends_where_the_published_one_does(name: str, epochs: int) -> None:
    recipe = published_recipe(VARIANTS[name], epochs, seed=0)
    assert recipe.lr * recipe.schedule.multiplier(epochs, epochs) == pytest.approx(LAST_LR)
    assert recipe.lr == FIRST_LR
