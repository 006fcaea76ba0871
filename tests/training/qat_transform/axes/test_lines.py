"""Layers of lines are those of images of one row; a ReLU stays with its layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.training.layers import QuantLayer
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

LINES = torch.randn(5, 4, 16, generator=torch.Generator().manual_seed(0))


class Of(nn.Module):
    def __init__(self, function: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.function, self.kernel = function, nn.Parameter(torch.randn(4, 2, 3))

    def forward(self, x: Tensor) -> Tensor:
        return self.function(F.conv1d(x, self.kernel, groups=2))


def shared() -> nn.Module:
    layer = nn.Conv1d(4, 4, 3, padding=1)
    return nn.Sequential(layer, nn.ReLU(), layer)


NETWORKS: dict[str, Callable[[], nn.Module]] = {
    "conv": lambda: nn.Sequential(nn.Conv1d(4, 6, 3, 2, 1, groups=2), nn.BatchNorm1d(6), nn.ReLU()),
    "same": lambda: nn.Conv1d(4, 6, 4, padding="same", dilation=2),
    "transposed": lambda: nn.ConvTranspose1d(4, 6, 3, 2, 1, output_padding=1),
    "norm": lambda: nn.Sequential(nn.ReLU(), nn.BatchNorm1d(4), nn.ReLU()),
    "max": lambda: nn.MaxPool1d(3, 2, 1),
    "mean": lambda: nn.AvgPool1d(2),
    "adaptive": lambda: nn.Sequential(nn.Conv1d(4, 6, 1), nn.AdaptiveMaxPool1d(1), nn.Flatten()),
    "adaptive mean": lambda: nn.Sequential(nn.Conv1d(4, 6, 1), nn.AdaptiveAvgPool1d(4)),
    "shared": shared,
    "functions": lambda: Of(lambda x: F.max_pool1d(F.avg_pool1d(x.relu(), 2), 3, stride=2)),
    "adaptive functions": lambda: Of(
        lambda x: F.adaptive_avg_pool1d(x, 1) + F.adaptive_max_pool1d(x, 1)
    ),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_it_computes_the_same_and_is_trained(name: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv1d(4, 4, 1), NETWORKS[name]()).eval()
    torch.testing.assert_close(trace(network, LINES)(LINES), network(LINES))
    model = quantize(network, Scheme(), LINES).train()
    model(LINES).square().mean().backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_nothing_stands_between_a_layer_and_its_relu() -> None:
    model = quantize(NETWORKS["conv"](), Scheme(), LINES)
    relu = next(node for node in model.graph.nodes if node.target == "2")
    assert isinstance(model.get_submodule(str(relu.args[0].target)), QuantLayer)


def test_sizes_are_asked_for() -> None:
    with pytest.raises(UsageError, match="give an example"):
        trace(NETWORKS["conv"]())
