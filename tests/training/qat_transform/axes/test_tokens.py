"""Linear layers on pixels and tokens become convolutions, and no axis moves without need."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.training.qat_transform import quantize
from edgeq.training.qat_transform.tracing import trace
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import fx

PIXELS = torch.randn(4, 6, 5, 8, generator=torch.Generator().manual_seed(0))
TOKENS = PIXELS.flatten(1, 2)


class Two(nn.Module):
    """Two layers with something between them."""

    def __init__(
        self, between: Callable[[Tensor], Tensor], before: Callable[[Tensor], Tensor] = lambda x: x
    ) -> None:
        super().__init__()
        self.first, self.second, self.drop = nn.Linear(8, 12), nn.Linear(12, 8), nn.Dropout(0.5)
        self.before, self.between = before, between

    def forward(self, x: Tensor) -> Any:
        return self.second(self.drop(self.between(self.first(self.before(x)))))


def moves(graph_module: fx.GraphModule) -> list[Any]:
    return [
        node.target
        for node in graph_module.graph.nodes
        if node.target in (torch.permute, torch.flatten, torch.unflatten)
    ]


@pytest.mark.parametrize("between", [torch.relu, F.gelu, lambda x: x, lambda x: F.silu(x).relu()])
@pytest.mark.parametrize("images", [PIXELS, TOKENS])
def test_what_undoes_itself_is_left_out(
    images: Tensor, between: Callable[[Tensor], Tensor]
) -> None:
    torch.manual_seed(0)
    network = Two(between).eval()
    traced = trace(network, images)
    assert isinstance(traced.get_submodule("first"), nn.Conv2d)
    torch.testing.assert_close(traced(images), network(images))
    there, back = (
        ([torch.permute], [torch.permute])
        if images.ndim == 4
        else ([torch.permute, torch.flatten, torch.unflatten],) * 2
    )
    assert sorted(map(str, moves(traced))) == sorted(map(str, there + back))


def test_permutations_around_a_layer_go_with_it() -> None:
    network = Two(torch.relu, before=lambda x: x.permute(0, 2, 3, 1))
    images = PIXELS.permute(0, 3, 1, 2).contiguous()
    traced = trace(network, images)
    assert moves(traced) == [torch.permute]  # of what leaves the network
    torch.testing.assert_close(traced.eval()(images), network.eval()(images))


def test_what_others_read_is_not_left_out() -> None:
    network = Two(lambda x: F.gelu(x) * x)
    traced = trace(network, PIXELS)
    assert len(moves(traced)) == 4
    torch.testing.assert_close(traced.eval()(PIXELS), network.eval()(PIXELS))


@pytest.mark.parametrize("images", [PIXELS, TOKENS])
def test_a_relu_stays_with_its_layer(images: Tensor) -> None:
    model = quantize(Two(torch.relu), Scheme(4, 4), images)
    relu = next(node for node in model.graph.nodes if node.target is torch.relu)
    assert relu.all_input_nodes[0].target == "first"


def test_tied_layers_stay_tied() -> None:
    network = Two(torch.relu)
    network.second = nn.Linear(8, 12)
    network.second.weight = network.first.weight
    network.between = lambda x: x[..., :8]
    traced = trace(network, PIXELS)
    first, second = (traced.get_submodule(path) for path in ("first", "second"))
    assert first.weight is second.weight
    assert len(list(traced.parameters())) == 3


def test_a_layer_of_features_is_left_as_it_is() -> None:
    assert isinstance(trace(Two(torch.relu), PIXELS[:, 0, 0]).get_submodule("first"), nn.Linear)


def test_a_dropout_of_whole_channels_keeps_its_axis() -> None:
    network = nn.Sequential(nn.Linear(8, 12), nn.GELU(), nn.Dropout1d(0.1), nn.Linear(12, 8))
    traced = trace(network, TOKENS)
    assert len(moves(traced)) == 12
    torch.testing.assert_close(traced.eval()(TOKENS), network.eval()(TOKENS))


@pytest.mark.parametrize(
    "move",
    [
        lambda x: x.transpose(0, 1),
        lambda x: x.permute(1, 0, 2),
        lambda x: x.permute(dims=(2, 0, 1)),
    ],
)
def test_the_axis_of_the_batch_stays_where_it_is(move: Callable[[Tensor], Tensor]) -> None:
    with pytest.raises(UsageError, match="moves the batch's axis"):
        trace(Two(torch.relu, before=lambda x: move(x)[..., :8]), TOKENS)
