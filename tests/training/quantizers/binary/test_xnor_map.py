"""The convolution with K: the paper's formula, and a refusal to be exported."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.support.checks.quantizers import activation
from torch.nn import functional as F

from edgeq.errors import UsageError
from edgeq.network.layer_protocols import IntegerLayer
from edgeq.training.qat_transform import quantize
from edgeq.training.quantizers.binary.xnor_map import XnorConv2d, magnitude_map
from edgeq.training.recipes.scheme import Scheme


def layer(**options: Any) -> XnorConv2d:
    torch.manual_seed(0)
    return XnorConv2d(4, 6, 3, **options)


@pytest.mark.parametrize(
    "options", [{}, {"padding": 1}, {"stride": 2, "padding": 1}, {"dilation": 2}]
)
def test_the_map_is_the_mean_magnitude_over_channels_and_kernel(options: dict[str, int]) -> None:
    x, made = activation(shape=(2, 4, 7, 7)), layer(**options)
    ones = torch.ones(1, 4, 3, 3, dtype=torch.float64) / 36
    expected = F.conv2d(x.double().abs(), ones, None, **options)
    torch.testing.assert_close(magnitude_map(x, made).double(), expected, atol=1e-6, rtol=1e-6)


def test_the_output_is_the_papers() -> None:
    """(sign(I) * sign(W)) . K alpha, plus the bias."""
    x, made = activation(shape=(2, 4, 7, 7)), layer(padding=1)
    alpha = made.weight.abs().mean((1, 2, 3)).reshape(-1, 1, 1)
    product = F.conv2d(
        torch.where(x >= 0, 1.0, -1.0), torch.where(made.weight >= 0, 1.0, -1.0), padding=1
    )
    assert made.bias is not None
    torch.testing.assert_close(
        made(x), product * alpha * magnitude_map(x, made) + made.bias.reshape(-1, 1, 1)
    )


def test_it_approximates_the_convolution_better_than_signs_alone() -> None:
    x, made = activation(shape=(2, 4, 7, 7)) * 3, layer(bias=False)
    exact = F.conv2d(x, made.weight)
    signs_alone = F.conv2d(torch.where(x >= 0, 1.0, -1.0), made._binary(made.weight))
    assert (made(x) - exact).square().mean() < (signs_alone - exact).square().mean()


def test_gradients_reach_weight_and_input() -> None:
    x, made = activation(shape=(2, 4, 7, 7)).requires_grad_(), layer()
    made(x).square().sum().backward()
    assert x.grad is not None
    assert x.grad.any()
    assert made.weight.grad is not None
    assert made.weight.grad.any()


def test_it_is_not_exported() -> None:
    made = layer()
    assert isinstance(made, IntegerLayer), (
        "so that an exporter asks, and does not take it for a plain convolution"
    )
    with pytest.raises(UsageError, match="each pixel"):
        made.integer_weights()


def test_quantising_a_network_that_has_one_names_it() -> None:
    network = torch.nn.Sequential(layer(), torch.nn.ReLU())
    with pytest.raises(UsageError, match=r"0 \(XnorConv2d\) cannot be quantised"):
        quantize(network, Scheme(), torch.zeros(1, 4, 7, 7))


def test_groups_are_refused() -> None:
    with pytest.raises(UsageError, match="groups"):
        XnorConv2d(4, 4, 3, groups=2)(activation())
