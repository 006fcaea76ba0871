"""Losses against their formulas, computed another way."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from edgeq.training.optimization import losses
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

LOGITS = torch.tensor([[2.0, -0.5, 0.3], [0.1, 0.2, -3.0]])
LABELS = torch.tensor([0, 2])


def test_squared_hinge() -> None:
    margins = [[1 - 2.0, 1 + -0.5, 1 + 0.3], [1 + 0.1, 1 + 0.2, 1 - -3.0]]
    wanted = sum(max(0.0, margin) ** 2 for row in margins for margin in row) / 6
    assert losses.squared_hinge(LOGITS, LABELS).item() == pytest.approx(wanted)


def test_squared_hinge_is_zero_beyond_the_margin() -> None:
    assert losses.squared_hinge(torch.tensor([[1.0, -1.0]]), torch.tensor([0])).item() == 0.0


def test_distillation_is_the_divergence() -> None:
    teacher = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]])
    p, q = (np.exp(x.double().numpy() / 3) for x in (teacher, LOGITS))
    p, q = (x / x.sum(1, keepdims=True) for x in (p, q))
    wanted = 9 * (p * np.log(p / q)).sum(1).mean()
    assert losses.distillation(LOGITS, teacher, 3.0).item() == pytest.approx(wanted, rel=1e-5)
    assert losses.distillation(teacher, teacher, 3.0).item() == pytest.approx(0.0, abs=1e-6)


def test_high_temperatures_keep_the_size_of_gradients() -> None:
    """Hinton et al., Sec. 2.1.

    In the limit it is half the mean squared difference of centred logits, over classes.
    """
    teacher = torch.tensor([[1.0, 0.0, -1.0], [0.0, 2.0, 0.5]])
    centred = (LOGITS - LOGITS.mean(1, keepdim=True)) - (teacher - teacher.mean(1, keepdim=True))
    assert losses.distillation(LOGITS, teacher, 300.0).item() == pytest.approx(
        centred.square().mean(1).mean().item() / 2, rel=0.02
    )


def test_the_parts_are_weighted() -> None:
    run = Recipe(
        "resnet8", "digits", Scheme(4, 4), distillation=0.25, temperature=2.0, consistency=3.0
    )
    teacher, inconsistency = torch.zeros(2, 3), torch.tensor(0.5)
    wanted = (
        0.75 * F.cross_entropy(LOGITS, LABELS)
        + 0.25 * losses.distillation(LOGITS, teacher, 2.0)
        + 3.0 * 0.5
    )
    loss = F.cross_entropy(LOGITS, LABELS)
    assert losses.with_terms(run, loss, LOGITS, teacher, inconsistency).item() == pytest.approx(
        wanted.item()
    )
    assert losses.with_terms(run, loss, LOGITS, None, None).item() == loss.item()


def test_the_penalty_sums_what_quantisers_add() -> None:
    class Penalised(torch.nn.Module):
        def __init__(self, value: float) -> None:
            super().__init__()
            self.alpha = torch.nn.Parameter(torch.tensor(value))

        def penalty(self) -> torch.Tensor:
            return self.alpha.square()

    model = torch.nn.Sequential(Penalised(3.0), torch.nn.ReLU(), Penalised(2.0))
    total = losses.penalty(model)
    total.backward()
    assert total.item() == 13.0
    assert model[0].alpha.grad == 6.0
    assert losses.penalty(torch.nn.ReLU()).item() == 0.0
