"""Scales grow until no pair of products leaves 16 bits, and no further."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from edgeq.exporters.torch.lower import lower
from edgeq.qdq.ort_x86.saturation import Order, in_kernel_order, neighbours, pair_sums
from edgeq.qdq.reader import read_qdq
from edgeq.training.qat_transform import quantize, set_bits
from edgeq.training.quantizers.lsq import Lsq
from edgeq.training.quantizers.max_abs import MaxAbs
from edgeq.training.quantizers.parts.pair_safe import raised
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGES = torch.rand(16, 3, 8, 8, generator=torch.Generator().manual_seed(0)) * 3 - 1


def greatest(integers: NDArray[Any], order: Order = "either") -> NDArray[Any]:
    """The largest magnitude of a pair of one sign, of each row."""
    rows = in_kernel_order(integers, order)
    sums = [np.add(*neighbours(np.maximum(sign * rows, 0))) for sign in (1, -1)]
    found: NDArray[Any] = np.maximum(*[each.max(1) for each in sums])
    return found


@pytest.mark.parametrize("shape", [(6, 4, 3, 3), (6, 3, 3, 3), (6, 5, 1, 1), (6, 9), (6, 1, 5, 5)])
@pytest.mark.parametrize("axis", [0, None])
@pytest.mark.parametrize("power", [1, 3])
def test_no_pair_exceeds_the_limit_and_safe_rows_keep_their_step(
    shape: tuple[int, ...], axis: int | None, power: int
) -> None:
    weight = torch.randn(shape, generator=torch.Generator().manual_seed(len(shape))) ** power
    weight[0].zero_()
    quantizer = MaxAbs(8, axis=axis)
    step = quantizer.scale_of(weight)
    before = greatest(quantizer.encode(weight).integers.numpy())
    quantizer.pair_limit = 128
    encoded = quantizer.encode(weight)
    assert greatest(encoded.integers.numpy()).max() <= 128
    assert (encoded.scale >= step).all()
    assert (encoded.scale <= 2 * step).all(), "less than a bit is lost"
    if axis == 0:
        safe = torch.from_numpy(before <= 128)
        assert torch.equal(encoded.scale[safe], step[safe])


def test_it_is_the_least_step_of_a_fine_search() -> None:
    weight = torch.randn(32, 8, 3, 3, generator=torch.Generator().manual_seed(2))
    step = MaxAbs(8, axis=0).scale_of(weight)
    found = raised(step, weight, 127, 128)
    for row, start, end in zip(weight, step, found, strict=True):
        finer = torch.linspace(float(start), float(end), 400)[:-1]
        fits = [
            float(each)
            for each in finer
            if greatest((row / each).clamp(-127, 127).round().numpy()[None]).max() <= 128
        ]
        assert not fits or min(fits) > 0.99 * float(end)


def test_a_step_that_is_learned_clips_what_is_larger_and_keeps_its_gradient() -> None:
    weight = torch.randn(4, 4, 3, 3, generator=torch.Generator().manual_seed(3))
    plain, limited = (
        Lsq(8, signed=True, narrow_range=True, start=torch.full((4,), 0.01), axis=0)
        for _ in range(2)
    )
    limited.pair_limit = 2 * 127
    torch.testing.assert_close(limited(weight), plain(weight))
    for quantizer in (plain, limited):
        quantizer(weight).square().sum().backward()
    torch.testing.assert_close(limited.target_scale.grad, plain.target_scale.grad)
    limited.pair_limit = 128
    assert greatest(limited.encode(weight).integers.detach().numpy()).max() <= 128


def network() -> nn.Module:
    torch.manual_seed(4)
    return nn.Sequential(
        *(nn.Conv2d(3, 9, 3, padding=1), nn.BatchNorm2d(9), nn.ReLU()),
        *(nn.Conv2d(9, 9, 3, padding=1, groups=9), nn.ReLU(), nn.Conv2d(9, 12, 1), nn.Hardswish()),
        *(nn.Conv2d(12, 12, 3, groups=4), nn.ReLU(), nn.Flatten(), nn.Linear(432, 5)),
    )


@pytest.mark.parametrize("weights", ["auto", "lsq", "learned-clip"])
@pytest.mark.parametrize("per_channel", [None, False])
def test_no_layer_of_the_file_can_saturate(weights: str, per_channel: bool | None) -> None:
    found = {}
    for pair_safe in (True, False):
        scheme = Scheme(8, 8, weights=weights, per_channel=per_channel, pair_safe=pair_safe)
        model: Any = quantize(network(), scheme, IMAGES[:1]).train()
        optimizer = torch.optim.SGD(model.parameters(), 0.05)
        for _ in range(3):
            optimizer.zero_grad()
            model(IMAGES).square().mean().backward()
            optimizer.step()
        sums = pair_sums(read_qdq(lower(model.eval(), (3, 8, 8))))
        assert len(sums) == 4
        found[pair_safe] = sum(each.can_saturate for each in sums)
    assert found[True] == 0
    assert found[False] > 0 or weights == "lsq", "whose steps start coarse"


def test_few_bits_are_as_they_were() -> None:
    """Their greatest pairs fit, and so they do while the width is annealed."""
    models: list[Any] = [
        quantize(network(), Scheme(4, 8, pair_safe=on), IMAGES[:1]) for on in (True, False)
    ]
    for bits in (16, None):
        for model in models:
            set_bits(model, bits)
        for path in ("3", "5", "7"):
            safe, plain = (
                model.get_submodule(path).quantizer.encode(model.get_submodule(path).layer.weight)
                for model in models
            )
            assert torch.equal(safe.integers, plain.integers)
    assert models[0].get_submodule("5").quantizer.clip.pair_limit is None
