"""What is handed to ``edgeq.quantize`` by mistake is told in a sentence, with what to do."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, cast

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

import edgeq
from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

IMAGES = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
SCHEME = edgeq.Scheme(4, 8)


def network(*first: nn.Module) -> nn.Sequential:
    return nn.Sequential(*first, nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 5))


class Answer(NamedTuple):
    logits: Any


class Named(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = network()

    def forward(self, x: Tensor) -> Answer:
        return Answer(self.body(x))


class NamedAsOurs(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.quantizers = network()

    def forward(self, x: Tensor) -> Any:
        return self.quantizers(x)


class TwoShapes(nn.Module):
    """One weight would have to be that of a convolution and that of a fully connected layer."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 8)

    def forward(self, x: Tensor) -> Any:
        return self.layer(self.layer(x).mean((1, 2)))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (lambda: torch.relu, "the network is a builtin_function_or_method, no torch.nn.Module"),
        (lambda: edgeq.quantize(network(), SCHEME, IMAGES), "quantised already"),
        (lambda: nn.DataParallel(network()), "inside of a DataParallel"),
        (lambda: torch.compile(network(), backend="eager"), "inside of a OptimizedModule"),
        (lambda: nn.Sequential(nn.LazyConv2d(4, 3), nn.Flatten()), "lazy layers"),
        (Named, "the network makes a Answer"),
        (NamedAsOurs, "a module 'quantizers'"),
        (
            lambda: network(nn.utils.weight_norm(nn.Conv2d(3, 3, 1))),
            "0 computes its own weight, as weight normalisation",
        ),
        (
            lambda: network(spectral_norm(nn.Conv2d(3, 3, 1))),
            "0 computes its own weight, as weight normalisation",
        ),
        (TwoShapes, r"layer \(Linear\) reads a tensor of more axes"),
    ],
)
@pytest.mark.filterwarnings(
    "ignore:.*weight_norm.*:FutureWarning", "ignore:Lazy modules are a new feature:UserWarning"
)
def test_a_network_that_is_none_of_those_it_takes(model: Callable[[], Any], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        edgeq.quantize(model(), SCHEME, IMAGES)
    assert caught.value.hint


def test_a_scheme_that_is_none() -> None:
    with pytest.raises(UsageError, match="the scheme is '4w8a'"):
        edgeq.quantize(network(), cast("Any", "4w8a"), IMAGES)


def test_a_part_of_the_batch_is_refused() -> None:
    class First(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x[:1]

    with pytest.raises(UsageError, match="takes a part of the batch"):
        edgeq.quantize(network(First()), SCHEME, IMAGES)
