"""Which parameter is in which group, and that an optimiser's state survives a checkpoint."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from edgeq.errors import UsageError
from edgeq.models import zoo
from edgeq.training.optimization import optimizers
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.optimization import Group, Optimizer
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme


def network() -> nn.Module:
    return quantize(
        zoo.build("stable-resnet8", classes=4, in_channels=1, image_size=(8, 8)),
        Scheme(4, 4, normalize_weights=True),
    )


def recipe(**fields: Any) -> Recipe:
    return Recipe(**{"model": "stable-resnet8", "data": "digits", "scheme": Scheme(4, 4), **fields})


def rates(run: Recipe, model: nn.Module) -> dict[str, tuple[float, float]]:
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = optimizers.build(run, model).param_groups
    return {
        names[id(p)]: (group["lr"], group["weight_decay"])
        for group in groups
        for p in group["params"]
    }


class TestGroups:
    def test_without_groups_all_are_alike_and_in_order(self) -> None:
        model = network()
        (group,) = optimizers.build(recipe(), model).param_groups
        assert list(map(id, group["params"])) == list(map(id, model.parameters()))
        assert (group["lr"], group["weight_decay"], group["momentum"]) == (0.1, 1e-4, 0.9)

    def test_the_groups_of_apot(self) -> None:
        model = network()
        groups = (
            Group("act-bounds", lr=0.1, weight_decay=1e-4),
            Group("weight-bounds", lr=0.02),
            Group("norms", weight_decay=0.0),
        )
        found = rates(recipe(lr=0.04, weight_decay=3e-5, groups=groups), model)
        assert len(found) == len(list(model.parameters()))
        for name, rate in found.items():
            owner = model.get_submodule(name.rpartition(".")[0])
            if name.startswith("quantizers."):
                assert rate == (0.1, 1e-4)
            elif ".quantizer." in name:
                assert rate == (0.02, 3e-5)
            elif isinstance(owner, nn.BatchNorm2d):
                assert rate == (0.04, 0.0)
            else:
                assert rate == (0.04, 3e-5)
        assert set(found.values()) == {(0.1, 1e-4), (0.02, 3e-5), (0.04, 0.0), (0.04, 3e-5)}, (
            "each group has members"
        )

    def test_patterns_and_the_first_that_fits(self) -> None:
        model = network()
        first = next(name for name, parameter in model.named_parameters() if parameter.ndim == 4)
        found = rates(recipe(groups=(Group(first, lr=0.5), Group("*", lr=0.25))), model)
        assert found.pop(first)[0] == 0.5
        assert {rate for rate, _ in found.values()} == {0.25}

    def test_a_pattern_that_fits_nothing(self) -> None:
        with pytest.raises(UsageError, match=r"no parameter is called like 'stemm\.\*'"):
            optimizers.build(recipe(groups=(Group("stemm.*"),)), network())

    def test_a_kind_that_the_network_lacks_is_no_error(self) -> None:
        optimizer = optimizers.build(
            recipe(scheme=None, groups=(Group("weight-bounds", lr=0.5),)), nn.Linear(2, 2)
        )
        assert [group["lr"] for group in optimizer.param_groups] == [0.1]


def test_rates_follow_the_schedule_in_every_group() -> None:
    optimizer = optimizers.build(recipe(groups=(Group("norms", lr=0.02),)), network())
    optimizers.set_rates(optimizer, 0.5)
    optimizers.set_rates(optimizer, 0.1)
    assert {group["lr"] for group in optimizer.param_groups} == {0.1 * 0.1, 0.02 * 0.1}


@pytest.mark.parametrize("name", ["sgd", "adam", "rmsprop"])
def test_state_there_and_back(name: Any) -> None:
    """After a restore the next step is the same, bit for bit.

    Plain momentum keeps the parameter's own name.
    """
    run = recipe(optimizer=Optimizer(name))
    torch.manual_seed(0)
    model, twin = (nn.Linear(3, 2) for _ in range(2))
    ours, theirs = optimizers.build(run, model), optimizers.build(run, twin)
    for _ in range(3):
        model(torch.randn(5, 3)).square().sum().backward()
        ours.step()
    twin.load_state_dict(model.state_dict())
    saved = optimizers.state(ours, dict(model.named_parameters()))
    optimizers.restore(
        theirs,
        dict(twin.named_parameters()),
        {key: tensor.clone() for key, tensor in saved.items()},
    )
    assert ("weight" in saved) == (name != "adam")
    for parameter, other in zip(model.parameters(), twin.parameters(), strict=True):
        other.grad = parameter.grad
    ours.step()
    theirs.step()
    assert all(
        torch.equal(a, b) for a, b in zip(model.parameters(), twin.parameters(), strict=True)
    )
