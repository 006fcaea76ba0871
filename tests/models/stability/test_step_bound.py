"""The bound is never below the true norm, and certified steps never expand."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from edgeq.models.mobilenet_v2 import StableInvertedResidual
from edgeq.models.stability.step_bound import compose, norm_bound
from edgeq.models.stability.symmetric import SymmetricBlock, certify, margins
from edgeq.models.stable_resnet import StableBlock


def true_norm(weight: Tensor, size: tuple[int, int], padding: int) -> float:
    """From the whole matrix."""
    channels = weight.shape[1]
    basis = torch.eye(channels * math.prod(size), dtype=torch.float64).reshape(-1, channels, *size)
    return float(
        torch.linalg.matrix_norm(F.conv2d(basis, weight.double(), padding=padding).flatten(1), 2)
    )


@settings(max_examples=40)
@given(
    st.integers(1, 4),
    st.integers(1, 4),
    st.sampled_from([1, 3, 5]),
    st.integers(5, 8),
    st.integers(5, 8),
    st.integers(0, 2**31),
)
def test_the_bound_holds(
    outputs: int, inputs: int, kernel: int, height: int, width: int, seed: int
) -> None:
    torch.manual_seed(seed)
    weight = torch.randn(outputs, inputs, kernel, kernel)
    norm = true_norm(weight, (height, width), kernel // 2)
    assert norm <= norm_bound(weight, (height, width))
    assert norm <= norm_bound(weight)


def test_it_is_close_on_large_images() -> None:
    weight = torch.randn(2, 2, 3, 3, generator=torch.Generator().manual_seed(0))
    assert norm_bound(weight) <= 1.06 * true_norm(weight, (24, 24), 1)


def test_a_depthwise_convolution_behind_a_pointwise_one_is_one_kernel() -> None:
    torch.manual_seed(0)
    first, second, x = torch.randn(6, 2, 1, 1), torch.randn(6, 1, 3, 3), torch.randn(1, 2, 7, 7)
    expected = F.conv2d(F.conv2d(x, first), second, groups=6)
    torch.testing.assert_close(
        F.conv2d(x, compose([first, second])), expected, atol=1e-4, rtol=1e-4
    )


def wild(block: SymmetricBlock, seed: int) -> SymmetricBlock:
    """Weights, scales and statistics as no training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for kernel in block.kernels():
            kernel.copy_(torch.randn(kernel.shape, generator=generator) * 3)
        for tensor in (block.bn1.weight, block.bn1.bias, block.bn1.running_mean):
            assert tensor is not None
            tensor.copy_(torch.randn(tensor.shape, generator=generator) * 2)
        assert block.bn1.running_var is not None
        block.bn1.running_var.copy_(
            torch.rand(block.bn1.running_var.shape, generator=generator) + 0.01
        )
    return block.double()


def blocks(seed: int, kind: str, step: float) -> SymmetricBlock:
    if kind == "resnet":
        return wild(StableBlock(3, 3, step, "certified"), seed)
    return wild(StableInvertedResidual(2, 2, 1, 3, step, "certified"), seed)


@settings(max_examples=40)
@given(
    st.sampled_from(["resnet", "mobilenet"]),
    st.floats(0.01, 2),
    st.floats(1e-3, 10),
    st.integers(0, 2**31),
)
def test_a_certified_step_does_not_expand(kind: str, step: float, apart: float, seed: int) -> None:
    block = blocks(seed, kind, step).eval()
    assert block.margin() <= 1
    channels = 3 if kind == "resnet" else 2
    x, noise = torch.randn(2, 1, channels, 6, 6, dtype=torch.float64)
    other = x + apart * noise
    assert (block(x) - block(other)).norm() <= (x - other).norm() * (1 + 1e-12)


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(0.01, 1), st.floats(0.01, 0.5), st.floats(0.01, 0.5)),
        min_size=1,
        max_size=6,
    ),
    st.integers(0, 2**31),
)
def test_rounding_errors_never_leave_their_bound(
    steps: list[tuple[float, float, float]], seed: int
) -> None:
    """``|eta| <= sum_j sqrt(n) s1_j / 2 + h_j |K_j| sqrt(m) s2_j / 2``.

    Compared with the same network that only clips.
    """
    torch.manual_seed(seed)
    rounded = exact = torch.randn(1, 3, 5, 5, dtype=torch.float64)
    bound = 0.0
    for index, (h, s1, s2) in enumerate(steps):
        block = blocks(seed % 1000 + index, "resnet", h).eval()
        rounded, exact = (
            _step(block, x, s1, s2, rounding=rounding)
            for x, rounding in ((rounded, True), (exact, False))
        )
        bound += (
            math.sqrt(75) * s1 / 2
            + h * norm_bound(block.kernels()[0], (5, 5)) * math.sqrt(75) * s2 / 2
        )
        assert (rounded - exact).norm() <= bound


def _step(block: SymmetricBlock, x: Tensor, s1: float, s2: float, *, rounding: bool) -> Tensor:
    def quantize(y: Tensor, step: float, low: int) -> Tensor:
        clipped = (y / step).clamp(low, 15)
        return (clipped.round() if rounding else clipped) * step

    (kernel,) = block.kernels()
    x = quantize(x, s1, -15)
    inner = quantize(torch.relu(block.bn1(F.conv2d(x, kernel, padding=1))), s2, 0)
    return torch.relu(x - block.step_size * F.conv_transpose2d(inner, kernel, padding=1))


def test_without_the_projection_a_wild_step_expands() -> None:
    block = blocks(0, "resnet", 1.0)
    nn.Module.train(block, False)
    assert block.margin() > 1
    certify(block)
    assert margins(block)[""] == pytest.approx(1, abs=1e-3)


def test_enforcing_it_again_changes_nothing() -> None:
    block = blocks(0, "mobilenet", 1.0).eval()
    before = block.bn1.weight.detach().clone()
    block.train().eval()
    assert torch.equal(block.bn1.weight, before)


def test_the_published_mode_promises_nothing() -> None:
    assert margins(StableBlock(3, 3)) == {}
