"""K^T is the adjoint of K and stays tied to it.

The step is symmetric and does not expand where the theory says so.
"""

from __future__ import annotations

import copy
import io
from typing import TYPE_CHECKING, cast

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from edgeq.models.macs import count_parameters
from edgeq.models.stable_resnet import StableBlock, StableResNet

if TYPE_CHECKING:
    from collections.abc import Callable


def _norms(block: StableBlock) -> list[nn.BatchNorm2d]:
    return [norm for norm in (block.bn1, block.bn2) if isinstance(norm, nn.BatchNorm2d)]


def identity_norms(block: StableBlock) -> StableBlock:
    """The block in evaluation mode with both BatchNorms as exact identities, in float64."""
    for norm in _norms(block):
        norm.eps = 0.0
    return block.double().eval()


def inner_step(block: StableBlock, x: Tensor) -> Tensor:
    """``x - h K^T ReLU(K x)``: Eq. 2, without the outer ReLU."""
    return x - block.step_size * cast("Tensor", block.conv_transpose(block.relu1(block.conv(x))))


def operator_norm(block: StableBlock, size: int) -> float:
    """The largest singular value of the block's convolution at this size, from its full matrix."""
    channels = block.conv.in_channels
    basis = torch.eye(channels * size * size, dtype=torch.float64).reshape(-1, channels, size, size)
    return float(torch.linalg.matrix_norm(block.conv(basis).flatten(1).detach(), 2))


@pytest.mark.parametrize(("classes", "count"), [(10, 405_850), (100, 411_700)])
def test_stable_resnet56_is_exact(classes: int, count: int) -> None:
    assert count_parameters(StableResNet(9, classes=classes)) == count


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 9), st.integers(1, 9), st.integers(0, 2**31))
def test_the_transposed_convolution_is_the_adjoint(
    channels: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    block = identity_norms(StableBlock(channels, channels))
    x, y = torch.randn(2, 1, channels, height, width, dtype=torch.float64)
    left = (block.conv(x) * y).sum().item()
    right = (x * block.conv_transpose(y)).sum().item()
    assert left == pytest.approx(right, rel=1e-10, abs=1e-10)


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 3), st.integers(0, 2**31))
def test_the_step_has_a_symmetric_jacobian(channels: int, seed: int) -> None:
    torch.manual_seed(seed)
    block = identity_norms(StableBlock(channels, channels))
    x = torch.randn(1, channels, 4, 4, dtype=torch.float64)
    jacobian = torch.autograd.functional.jacobian(lambda v: inner_step(block, v), x)
    matrix = cast("Tensor", jacobian).reshape(x.numel(), x.numel())
    assert torch.allclose(matrix, matrix.T, atol=1e-12)
    assert torch.linalg.eigvalsh(matrix).max() <= 1 + 1e-12


def test_an_untied_block_has_no_symmetric_jacobian() -> None:
    torch.manual_seed(0)
    block = identity_norms(StableBlock(2, 2))
    block.conv_transpose.weight = nn.Parameter(torch.randn_like(block.conv.weight))
    x = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    matrix = cast(
        "Tensor", torch.autograd.functional.jacobian(lambda v: inner_step(block, v), x)
    ).reshape(32, 32)
    assert not torch.allclose(matrix, matrix.T, atol=1e-3)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 4),
    st.integers(2, 6),
    st.floats(0.01, 1.0),
    st.floats(1e-3, 10),
    st.integers(0, 2**31),
)
def test_a_step_below_two_over_the_squared_norm_does_not_expand(
    channels: int, size: int, share: float, apart: float, seed: int
) -> None:
    torch.manual_seed(seed)
    block = identity_norms(StableBlock(channels, channels))
    block.step_size = share * 2 / operator_norm(block, size) ** 2
    x, noise = torch.randn(2, 1, channels, size, size, dtype=torch.float64)
    other = x + apart * noise
    assert (block(x) - block(other)).norm() <= (x - other).norm() * (1 + 1e-12)


def test_a_step_far_above_does_expand() -> None:
    torch.manual_seed(0)
    block = identity_norms(StableBlock(2, 2))
    block.step_size = 10 * 2 / operator_norm(block, 4) ** 2
    x, noise = torch.randn(2, 1, 2, 4, 4, dtype=torch.float64)
    assert (block(x) - block(x + noise)).norm() > noise.norm()


def test_growing_appends_the_input_and_halves_the_image() -> None:
    torch.manual_seed(0)
    block = StableBlock(4, 7).eval()
    x = torch.randn(2, 4, 6, 6)
    y = block(x)
    assert y.shape == (2, 7, 3, 3)
    assert torch.equal(y[:, 4:], nn.functional.avg_pool2d(x[:, :3], 2))


def test_the_whole_step_with_its_two_batchnorms() -> None:
    torch.manual_seed(0)
    block = StableBlock(3, 3, step_size=0.25).eval()
    for norm in _norms(block):
        nn.init.uniform_(norm.weight)
        nn.init.normal_(norm.bias)
    x = torch.randn(2, 3, 5, 5)
    weight = block.conv.weight
    inner = torch.relu(block.bn1(nn.functional.conv2d(x, weight, padding=1)))
    expected = torch.relu(
        x - 0.25 * block.bn2(nn.functional.conv_transpose2d(inner, weight, padding=1))
    )
    assert torch.allclose(block(x), expected)


def _deepcopy(network: StableResNet) -> nn.Module:
    return copy.deepcopy(network)


def _double(network: StableResNet) -> nn.Module:
    return network.to(torch.float64)


def _meta(network: StableResNet) -> nn.Module:
    return network.to("meta")


def _load(network: StableResNet) -> nn.Module:
    network.load_state_dict(StableResNet(1, classes=10).state_dict())
    return network


def _assign(network: StableResNet) -> nn.Module:
    network.load_state_dict(StableResNet(1, classes=10).state_dict(), assign=True)
    return network


def _assign_file(network: StableResNet) -> nn.Module:
    file = io.BytesIO()
    torch.save(StableResNet(1, classes=10).state_dict(), file)
    file.seek(0)
    network.load_state_dict(torch.load(file, weights_only=True), assign=True)
    return copy.deepcopy(network)


@pytest.mark.parametrize("treat", [_deepcopy, _double, _meta, _load, _assign, _assign_file])
def test_the_weight_stays_tied(treat: Callable[[StableResNet], nn.Module]) -> None:
    network = treat(StableResNet(1, classes=10))
    blocks = [module for module in network.modules() if isinstance(module, StableBlock)]
    assert len(blocks) == 3
    for block in blocks:
        assert block.conv_transpose.weight is block.conv.weight
    assert count_parameters(network) == count_parameters(StableResNet(1, classes=10))


def test_a_training_step_moves_both_uses_of_the_weight_together() -> None:
    torch.manual_seed(0)
    network = StableResNet(1, classes=3, in_channels=1)
    block = next(module for module in network.modules() if isinstance(module, StableBlock))
    before = block.conv.weight.detach().clone()
    optimizer = torch.optim.SGD(network.parameters(), lr=0.1)
    nn.functional.cross_entropy(
        network(torch.randn(4, 1, 8, 8)), torch.tensor([0, 1, 2, 0])
    ).backward()
    optimizer.step()
    assert not torch.equal(block.conv.weight, before)
    assert torch.equal(block.conv_transpose.weight, block.conv.weight)
