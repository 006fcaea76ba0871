"""After each step every weight is seen to by its own quantiser, once."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from edgeq.models import zoo
from edgeq.training.layers import QuantLayer
from edgeq.training.optimization.post_optimizer import post_optimizer_step
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme


def test_each_weight_once_however_often_it_is_tied() -> None:
    model = quantize(
        zoo.build("stable-resnet8", classes=4, in_channels=1, image_size=(8, 8)), Scheme(4, 4)
    )
    layers = [layer for layer in model.modules() if isinstance(layer, QuantLayer)]
    weights = {id(layer.layer.weight) for layer in layers}
    assert len(weights) < len(layers), "K and its adjoint share one"
    seen: list[int] = []
    for layer in layers:
        clip: Any = layer.quantizer.clip
        clip.post_optimizer_step = lambda weight: seen.append(id(weight))
    post_optimizer_step(model)
    assert sorted(seen) == sorted(weights)


def test_in_place_and_without_a_gradient() -> None:
    model = quantize(nn.Sequential(nn.Flatten(), nn.Linear(4, 2)), Scheme(4, 4))
    (layer,) = (layer for layer in model.modules() if isinstance(layer, QuantLayer))
    clip: Any = layer.quantizer.clip
    clip.post_optimizer_step = lambda weight: weight.clamp_(-0.1, 0.1)
    post_optimizer_step(model)
    weight: torch.Tensor = layer.layer.weight
    assert weight.abs().max() == torch.tensor(0.1)
    assert weight.requires_grad


def test_a_float_network_is_left_alone() -> None:
    model = nn.Linear(2, 2)
    before = model.weight.clone()
    post_optimizer_step(model)
    assert torch.equal(model.weight, before)
