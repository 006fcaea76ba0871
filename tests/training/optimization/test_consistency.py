"""The consistency term.

The figure of the papers on a training batch, with a gradient, and without side effects.
"""

from __future__ import annotations

import pytest
import torch

from edgeq.errors import UsageError
from edgeq.models import zoo
from edgeq.training.activation_error import block_outputs, record
from edgeq.training.checkpoint import model_state
from edgeq.training.optimization.consistency import Consistent
from edgeq.training.qat_transform import quantize, quantizers, set_rounding
from edgeq.training.recipes.scheme import Scheme


@pytest.fixture
def network() -> torch.fx.GraphModule:
    torch.manual_seed(0)
    return quantize(
        zoo.build("stable-resnet8", classes=4, in_channels=1, image_size=(8, 8)),
        Scheme(4, 4, normalize_weights=True),
    )


def test_it_is_the_mean_over_blocks_of_the_mean_squared_difference(
    network: torch.fx.GraphModule,
) -> None:
    x = torch.randn(6, 1, 8, 8)
    network.eval()
    logits, found = Consistent(network)(x)
    names = [node.name for node in block_outputs(network)]
    with torch.no_grad():
        rounded, wanted_logits = record(network, x, names)
        set_rounding(network, weights=True, activations=False)
        clipped, _ = record(network, x, names)
    wanted = sum(float((rounded[name] - clipped[name]).square().mean()) for name in names) / len(
        names
    )
    assert len(names) == 3
    assert wanted > 0
    assert found.item() == pytest.approx(wanted, rel=1e-6)
    assert torch.equal(logits, wanted_logits)


def test_statistics_and_bounds_follow_the_batch_once(network: torch.fx.GraphModule) -> None:
    x = torch.randn(6, 1, 8, 8)
    network.train()
    before = {name: tensor.clone() for name, tensor in model_state(network).items()}
    network(x)
    wanted = {name: tensor.clone() for name, tensor in model_state(network).items()}
    with torch.no_grad():
        for name, tensor in model_state(network).items():
            tensor.copy_(before[name])
    Consistent(network)(x)
    assert all(torch.equal(wanted[name], tensor) for name, tensor in model_state(network).items())
    assert all(quantizer.rounding for quantizer in quantizers(network))


def test_it_has_a_gradient(network: torch.fx.GraphModule) -> None:
    _, difference = Consistent(network.train())(torch.randn(6, 1, 8, 8))
    difference.backward()
    assert (
        sum(
            float(parameter.grad.abs().sum())
            for parameter in network.parameters()
            if parameter.grad is not None
        )
        > 0
    )


def test_a_network_without_blocks() -> None:
    model = quantize(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(4, 2)), Scheme(4, 4))
    with pytest.raises(UsageError, match="residual blocks"):
        Consistent(model)
    with pytest.raises(UsageError, match="residual blocks"):
        Consistent(torch.nn.Linear(2, 2))
