"""A BatchNorm of its own becomes a layer that multiplies by one.

Nothing but its bias is rounded.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tests.support.models.blocks import Head, PreActivated
from tests.support.models.families import plain
from torch import nn

from edgeq.errors import UsageError
from edgeq.training.layers import QuantLayer
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

IMAGES = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def norms(model: nn.Module) -> list[QuantLayer]:
    return [
        module
        for path, module in model.named_modules()
        if isinstance(module, QuantLayer) and path.endswith(".norm")
    ]


def test_its_integers_are_one_and_its_scales_the_factors() -> None:
    torch.manual_seed(0)
    model = quantize(plain(PreActivated(8)), Scheme(4, 4), IMAGES).train()
    (norm,) = norms(model)
    bn = norm.bn
    assert bn is not None
    nn.init.normal_(bn.weight)
    nn.init.normal_(bn.bias)
    model(IMAGES)
    stored = norm.eval().integer_weights()
    assert stored.groups == 8
    assert bn.running_var is not None
    factor = (bn.weight / torch.sqrt(bn.running_var + bn.eps)).detach().numpy()
    np.testing.assert_allclose(
        stored.weight_params.dequantize(stored.weight).reshape(-1), factor, rtol=1e-6
    )
    assert set(np.abs(stored.weight).ravel().tolist()) == {127}


def test_its_one_is_not_trained() -> None:
    model = quantize(plain(PreActivated(8)), Scheme(4, 4), IMAGES).train()
    (norm,) = norms(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=0.1)
    model(IMAGES).sum().backward()
    optimizer.step()
    assert bool((norm.layer.weight == 1).all())
    assert norm.bn is not None
    assert norm.bn.weight.grad is not None


def test_the_published_placement_leaves_it_in_float() -> None:
    model = quantize(plain(PreActivated(8)), Scheme(4, 4, placement="paper"), IMAGES)
    assert isinstance(model.get_submodule("1.norm"), nn.BatchNorm2d)


def test_a_factor_behind_it_goes_into_it() -> None:
    class Scaled(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.norm, self.conv, self.head = nn.BatchNorm2d(3), nn.Conv2d(3, 8, 3), Head(8)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = self.head(self.conv(x - 0.5 * self.norm(x)))
            return out

    (norm,) = [
        m
        for m in quantize(Scaled(), Scheme(), IMAGES).modules()
        if isinstance(m, QuantLayer) and isinstance(m.bn, nn.BatchNorm2d)
    ]
    assert norm.gain == -0.5


def test_one_of_features_normalises_images_of_one_pixel_and_stays_the_networks_own() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Flatten(), nn.Linear(768, 16), nn.ReLU(), nn.BatchNorm1d(16), nn.Linear(16, 5)
    )
    model = quantize(network, Scheme(8, 8, pair_safe=False), IMAGES).train()
    layer = model.get_submodule("3")
    assert isinstance(layer, QuantLayer)
    assert isinstance(layer.bn, nn.BatchNorm2d)
    assert {name for name, _ in model.named_parameters() if name.startswith("3.")} == {
        "3.layer.weight",
        "3.bn.weight",
        "3.bn.bias",
    }
    for _ in range(100):
        model(IMAGES)
        network(IMAGES)
    quantizers: Any = model.get_submodule("quantizers")
    read, answered = (float(quantizers.get_submodule(name).scale) for name in ("_2", "_4"))
    own: Any = network[3]
    assert float((layer.bn.running_mean - own.running_mean).abs().max()) <= read
    with torch.no_grad():
        assert float((model.eval()(IMAGES) - network.eval()(IMAGES)).abs().max()) <= 4 * answered


@pytest.mark.parametrize("affine", [True, False])
def test_one_of_tokens_too(affine: bool) -> None:
    network = nn.Sequential(
        nn.Conv2d(3, 6, 4, 4), nn.Flatten(2), nn.BatchNorm1d(6, affine=affine), nn.Linear(16, 5)
    ).eval()
    model = quantize(network, Scheme(8, 8), IMAGES).train()
    model(IMAGES)
    assert model.eval()(IMAGES[:1]).shape == (1, 6, 5)


def test_one_of_an_unknown_tensor_asks_for_an_example() -> None:
    with pytest.raises(UsageError, match="of unknown size") as caught:
        quantize(nn.Sequential(nn.Flatten(), nn.BatchNorm1d(768), nn.Linear(768, 5)), Scheme())
    assert "example" in caught.value.hint
