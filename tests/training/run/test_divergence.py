"""Numbers that ran away are named by module, and a run's state is never written over with them."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from edgeq.errors import Diverged, UsageError
from edgeq.models import zoo
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run import divergence

WHERE = "epoch 3 of 9, step 2 of 5"


@pytest.fixture
def network() -> nn.Module:
    return quantize(
        zoo.build("stable-resnet8", classes=4, in_channels=1, image_size=(8, 8)),
        Scheme(4, 4, normalize_weights=True),
    )


def learned(model: nn.Module) -> list[tuple[str, nn.Parameter]]:
    return [
        (name, parameter) for name, parameter in model.named_parameters() if "quantizer" in name
    ]


def test_it_is_the_users_to_hint() -> None:
    assert issubclass(Diverged, UsageError)
    assert Diverged.exit_code == 2


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_no_number(network: nn.Module, loss: float) -> None:
    divergence.check_loss(1e30, network, WHERE)
    with pytest.raises(
        Diverged, match=rf"the loss is {loss} in epoch 3 of 9, step 2 of 5\n  hint: .*--lr"
    ):
        divergence.check_loss(loss, network, WHERE)


def test_the_bound_is_named_before_the_weights_it_spoilt(network: nn.Module) -> None:
    with torch.no_grad():
        next(network.parameters())[:] = math.nan
        name, bound = learned(network)[0]
        bound.fill_(math.inf)
    with pytest.raises(Diverged, match=f"{name} is not finite"):
        divergence.check_loss(math.nan, network, WHERE)
    with pytest.raises(Diverged, match=f"{name} is not finite after {WHERE}"):
        divergence.check_finite(network, WHERE)


@pytest.mark.parametrize("value", [0.0, -1.0, 1e-7])
def test_a_bound_that_collapsed_is_named(network: nn.Module, value: float) -> None:
    divergence.check_bounds(network, WHERE)
    for name, bound in learned(network):
        kept = bound.detach().clone()
        with torch.no_grad():
            bound.fill_(value)
        with pytest.raises(Diverged, match=f"{name.rpartition('.')[0]} has collapsed"):
            divergence.check_bounds(network, WHERE)
        with torch.no_grad():
            bound.copy_(kept)
    divergence.check_bounds(network, WHERE)


def test_a_bound_that_only_follows_may_be_zero() -> None:
    """A branch that is switched off is no accident."""
    model = quantize(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), Scheme(8, 8))
    assert not learned(model)
    model(torch.zeros(2, 4))
    divergence.check_bounds(model, WHERE)
