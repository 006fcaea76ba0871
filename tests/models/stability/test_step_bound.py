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
from edgeq.models.stability.step_bound import StepNorm, compose, norm_bound, squared_norm
from edgeq.models.stability.symmetric import (
    StepMode,
    SymmetricBlock,
    certify,
    margins,
    step_margins,
)
from edgeq.models.stable_resnet import StableBlock, StableResNet
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme


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
        assert isinstance(block.bn1, StepNorm)
        block.bn1.share.fill_(9.0)
        for tensor in (block.bn1.gain, block.bn1.shift, block.bn1.running_mean):
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


def test_scales_that_are_not_made_of_the_weights_let_a_step_expand() -> None:
    block = blocks(0, "resnet", 1.0).eval()
    with torch.no_grad():
        block.bn1.weight.mul_(3)
    assert margins(block)[""] > 1
    certify(block)
    assert 0.9 < margins(block)[""] <= 1


def test_making_them_again_changes_nothing() -> None:
    block = blocks(0, "mobilenet", 1.0).eval()
    before = block.bn1.weight.detach().clone()
    block.train().eval()
    assert torch.equal(block.bn1.weight, before)


@settings(max_examples=30, deadline=None)
@given(
    st.integers(1, 5),
    st.integers(1, 5),
    st.sampled_from([1, 3]),
    st.booleans(),
    st.integers(0, 2**31),
)
def test_the_bound_that_is_trained_with_is_above_the_other_one(
    outputs: int, inputs: int, kernel: int, depthwise: bool, seed: int
) -> None:
    torch.manual_seed(seed)
    scales = torch.rand(outputs, dtype=torch.float64) + 0.1
    kernels = [torch.randn(outputs, inputs, kernel, kernel, dtype=torch.float64)]
    if depthwise:
        kernels = [
            torch.randn(outputs, inputs, 1, 1, dtype=torch.float64),
            torch.randn(outputs, 1, 3, 3, dtype=torch.float64),
        ]
    exact = norm_bound(compose(kernels) * scales[:, None, None, None]) ** 2
    found = float(squared_norm(kernels, scales))
    assert exact * (1 - 1e-8) <= found <= exact * (2.5 if depthwise and outputs > 1 else 1.2)


@pytest.mark.parametrize("quantised", [False, True])
def test_no_step_expands_at_any_step_of_training(quantised: bool) -> None:
    torch.manual_seed(0)
    network: nn.Module = StableResNet(1, classes=3, in_channels=1, mode="certified", widths=(4, 8))
    if quantised:
        network = quantize(network, Scheme(4, 4))
    optimizer = torch.optim.SGD(network.parameters(), 0.5, momentum=0.9)
    shares = []
    for _ in range(6):
        network.train()
        images, labels = torch.randn(8, 1, 8, 8), torch.randint(3, (8,))
        loss = F.cross_entropy(network(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        found = margins(network.eval())
        assert len(found) == 2
        assert max(found.values()) <= 1
        norms = [module for module in network.modules() if isinstance(module, StepNorm)]
        assert all(float(norm.weight.min()) > 0 for norm in norms)
        shares.append([norm.share.item() for norm in norms])
    assert shares[0] != shares[-1]


def test_growing_without_a_mean_expands_only_as_published() -> None:
    torch.manual_seed(0)
    x, noise = torch.randn(2, 1, 4, 6, 6, dtype=torch.float64)
    noise[:, 2:] = 0  # all of it in the channels that are appended
    modes: tuple[tuple[StepMode, bool], ...] = (("paper", True), ("certified", False))
    for mode, expands in modes:
        block = StableInvertedResidual(4, 6, 1, 2, 1e-6, mode).double()
        block(torch.randn(9, 4, 6, 6, dtype=torch.float64))
        y, other = block.eval()(x), block(x + noise)
        assert y.shape == (1, 6, 6, 6)
        assert ((other - y).norm() > 1.2 * noise.norm()) == expands
        assert expands or (other - y).norm() <= noise.norm() * (1 + 1e-9)


def test_the_published_mode_promises_nothing_and_still_tells_its_margin() -> None:
    torch.manual_seed(0)
    block = StableBlock(3, 3).eval()
    assert margins(block) == {}
    (found,) = step_margins(block)
    assert not found.certified
    assert found.margin == pytest.approx(0.05 * norm_bound(block.conv.weight) ** 2, rel=1e-4)
    assert isinstance(block.bn2, nn.BatchNorm2d)
    nn.init.constant_(block.bn2.weight, 4.0)
    assert step_margins(block)[0].margin == pytest.approx(4 * found.margin)
    nn.init.constant_(block.bn2.weight, -1.0)
    assert math.isinf(step_margins(block)[0].margin)


@pytest.mark.parametrize("mode", ["paper", "certified"])
def test_a_quantised_network_tells_the_margin_of_each_step(mode: StepMode) -> None:
    torch.manual_seed(0)
    network = StableResNet(1, classes=3, in_channels=1, mode=mode, widths=(4, 8)).eval()
    before = step_margins(network)
    after = step_margins(quantize(network, Scheme(8, 8, normalize_weights=False)).eval())
    assert [each.certified for each in after] == [mode == "certified"] * 2
    assert len(before) == len(after) == 2
    for one, other in zip(before, after, strict=True):
        assert other.margin == pytest.approx(one.margin, rel=0.1)


@pytest.mark.parametrize("blocks", [1, 3, 9])
def test_what_tells_images_apart_outlives_every_depth(blocks: int) -> None:
    torch.manual_seed(0)
    network = StableResNet(blocks, classes=3, in_channels=1, mode="certified", widths=(8, 16, 32))
    given = network.stem(F.interpolate(torch.rand(64, 1, 2, 2), size=8, mode="bilinear"))
    spreads = [maps.mean((2, 3)).std(0).mean() for maps in (given, network.stages(given))]
    assert spreads[1] > 0.3 * spreads[0]
