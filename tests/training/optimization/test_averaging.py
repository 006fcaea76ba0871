"""The moving average of weights.

Its formula, what it leaves alone, and that the network comes back.
"""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeq.training.checkpoint import model_state
from edgeq.training.optimization.averaging import WeightAverage
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme


def network() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 2)
    )


def test_the_formula() -> None:
    model = nn.Linear(1, 1, bias=False)
    average = WeightAverage(model, 0.3)
    wanted = value = model.weight.item()
    for step in range(5):
        with torch.no_grad():
            model.weight += 1
        value += 1
        decay = min(0.3, (1 + step) / (10 + step))
        wanted = decay * wanted + (1 - decay) * value
        average.update(step)
        assert average.tensors["weight"].item() == pytest.approx(wanted, rel=1e-6)


def test_bounds_and_statistics_are_averaged_and_counts_copied() -> None:
    model = quantize(network(), Scheme(4, 4)).train()
    average = WeightAverage(model, 0.5)
    before = {name: tensor.clone() for name, tensor in average.tensors.items()}
    for step in range(100, 103):
        model(3 * torch.randn(8, 1, 4, 4))
        average.update(step)
    moved = {
        name for name, tensor in average.tensors.items() if not torch.equal(tensor, before[name])
    }
    assert {"0.bn.running_var", "0.bn.num_batches_tracked"} <= moved
    assert any(name.startswith("quantizers.") and name.endswith("alpha") for name in moved)
    state = model_state(model)
    assert average.tensors["0.bn.num_batches_tracked"] == state["0.bn.num_batches_tracked"] == 3
    assert not torch.equal(average.tensors["0.bn.running_var"], state["0.bn.running_var"])


def test_the_network_is_the_average_for_a_while() -> None:
    model = network()
    average = WeightAverage(model, 0.9)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    before = {name: tensor.clone() for name, tensor in model_state(model).items()}
    with average.in_place():
        assert torch.equal(model_state(model)["4.weight"], average.tensors["4.weight"])
    assert all(torch.equal(before[name], tensor) for name, tensor in model_state(model).items())
