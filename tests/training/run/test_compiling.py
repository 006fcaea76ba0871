"""A compiled training step.

The same numbers, one graph, and no compilation for each width of annealing.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.testing import CompileCounterWithBackend

from edgeq.training.qat_transform import quantize, set_bits
from edgeq.training.quantizers.tracked_range import TrackedRange
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.compiling import compiled

if TYPE_CHECKING:
    from collections.abc import Iterator

# The compiler itself uses what torch has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning"),
]

WIDTHS = (16, 15, 14, 12, 10, 9, 8, 7, 6, 5, None)


class Block(nn.Module):
    """What a residual network is made of."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(3)
        self.conv2 = nn.Conv2d(3, 3, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(3)
        self.relu = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out: Tensor = self.relu(x + y)
        return out


@pytest.fixture
def network() -> nn.Module:
    torch.manual_seed(0)
    return quantize(
        nn.Sequential(Block(), nn.Flatten(), nn.Linear(192, 4)),
        Scheme(4, 6, normalize_weights=True),
    ).train()


@pytest.fixture(autouse=True)
def _fresh_compiler() -> Iterator[None]:
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def batch() -> Tensor:
    """Channels last, as the training loop has them.

    On some operators the compiler gives up in this layout alone.
    """
    return torch.randn(4, 3, 8, 8, generator=torch.Generator().manual_seed(1)).to(
        memory_format=torch.channels_last
    )


def step(
    network: nn.Module, run: Any, *, precision: torch.dtype = torch.float32
) -> tuple[Tensor, list[Tensor]]:
    network.zero_grad()
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == torch.bfloat16):
        out: Tensor = run(batch())
    (out.float() ** 2).sum().backward()
    return out.detach(), [p.grad.clone() for p in network.parameters() if p.grad is not None]


@pytest.mark.slow
def test_annealing_compiles_twice_and_breaks_no_graph(network: nn.Module) -> None:
    counter = CompileCounterWithBackend("aot_eager")
    run = compiled(network, backend=counter)
    graphs = []
    for bits in WIDTHS:
        set_bits(network, bits)
        step(network, run)
        graphs.append(counter.frame_count)
    assert graphs == [1] + [2] * (len(WIDTHS) - 1)


@pytest.mark.slow
def test_a_zero_anywhere_in_the_range_breaks_no_graph_either() -> None:
    """Its zero point moves with every batch."""
    network = quantize(
        nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten(), nn.Linear(72, 4)), Scheme(4, 6, affine=True)
    ).train()
    assert any(isinstance(module, TrackedRange) for module in network.modules())
    counter = CompileCounterWithBackend("aot_eager")
    run = compiled(network, backend=counter)
    for bits in (16, 15, 9, None):
        set_bits(network, bits)
        step(network, run)
    assert counter.frame_count == 2


def test_it_computes_what_the_network_does(network: nn.Module) -> None:
    twin = copy.deepcopy(network)
    run = compiled(network, backend="aot_eager")
    for bits in (9, None):
        set_bits(network, bits)
        set_bits(twin, bits)
        torch.testing.assert_close(step(network, run), step(twin, twin))


@pytest.mark.parametrize("backend", ["eager_only", "aot_eager"])
def test_bfloat16_keeps_scales_and_gradients_in_float32(network: nn.Module, backend: str) -> None:
    run = network if backend == "eager_only" else compiled(network, backend=backend)
    out, gradients = step(network, run, precision=torch.bfloat16)
    assert out.dtype == torch.bfloat16
    assert {gradient.dtype for gradient in gradients} == {torch.float32}
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert {buffer.dtype for name, buffer in network.named_buffers() if "quantizers" in name} == {
        torch.float32
    }


@pytest.mark.slow
def test_the_native_code_computes_what_the_network_does(network: nn.Module) -> None:
    """Within what sums in another order may differ by."""
    twin = copy.deepcopy(network)
    run = compiled(network)
    for bits in (16, None):
        set_bits(network, bits)
        set_bits(twin, bits)
        network.load_state_dict(twin.state_dict())
        found, expected = step(network, run), step(twin, twin)
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-3)
