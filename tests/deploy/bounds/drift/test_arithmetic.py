"""Functions of tensors: whatever lies within the errors of operands gives what is in the bound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.deploy.bounds.drift.arithmetic import (
    FUNCTIONS,
    Pointwise,
    Product,
    Softmax,
    Sum,
    leaky_relu,
)
from edgeq.deploy.bounds.drift.signal import Signal, l2

if TYPE_CHECKING:
    from edgeq.deploy.bounds.drift.graph import Effect

SAMPLES, SHAPE, TRIALS = 3, (1, 5), 40
EFFECTS: dict[str, Effect] = {
    **FUNCTIONS,
    "LeakyRelu": leaky_relu(0.1),
    "falling LeakyRelu": leaky_relu(-2.0),
    "Softmax": Softmax(1),
    "Softmax, beta 3": Softmax(1, 3.0),
    "LogSoftmax": Softmax(1, logarithm=True),
    "Add": Sum(),
    "Sub": Sum(-1.0),
    "Mul": Product((50.0, 50.0)),
}


def signal(random: torch.Generator, *, known: bool = True, wide: bool = True) -> Signal:
    """Random numbers with random errors; one number a sample where it is not wide."""
    shape = (SAMPLES, *SHAPE) if wide else (SAMPLES, 1, 1)
    real = 4 * torch.randn(shape, generator=random, dtype=torch.float64)
    size = 10 ** (4 * torch.rand((), generator=random, dtype=torch.float64) - 3)
    error = size * torch.rand(shape, generator=random, dtype=torch.float64)
    none = torch.zeros(SAMPLES, dtype=torch.float64)
    return Signal(real if known else None, real, error, l2(error), none, none)


@pytest.mark.parametrize("name", EFFECTS)
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**31), st.booleans())
def test_no_number_within_the_errors_leaves_the_bound(name: str, seed: int, known: bool) -> None:
    effect, random = EFFECTS[name], torch.Generator().manual_seed(seed)
    sources = [signal(random, known=known)]
    if isinstance(effect, Sum | Product):
        sources.append(signal(random, known=known, wide=False))
    reals = [each.rounded for each in sources]
    exact, real = effect.exact(sources), effect.values([x for x in reals if x is not None])
    for trial in range(TRIALS):
        moved = []
        for source in sources:
            assert source.rounded is not None
            where = 2 * torch.rand(source.error.shape, generator=random, dtype=torch.float64) - 1
            where = where.sign() if trial % 2 else where  # the corners too
            moved.append(source.rounded + where * source.error)
        apart = (effect.values(moved) - real).abs()
        assert (apart <= exact.error * (1 + 1e-9) + 1e-12).all()
        assert (l2(apart) <= exact.norm * (1 + 1e-9) + 1e-12).all()


@pytest.mark.parametrize("effect", [Softmax(1), FUNCTIONS["Sigmoid"]])
def test_the_bound_is_attained(effect: Softmax | Pointwise) -> None:
    random = torch.Generator().manual_seed(0)
    source = signal(random)
    assert source.reference is not None
    exact, real = effect.exact([source]), effect.values([source.reference])
    ends = []
    for place in range(SHAPE[1]):
        others = 1.0 if isinstance(effect, Pointwise) else -1.0
        sign = torch.full(SHAPE, others, dtype=torch.float64)
        sign[0, place] = 1.0
        for way in (sign, -sign):
            apart = effect.values([source.reference + way * source.error]) - real
            ends.append(apart.abs()[:, 0, place])
    most = torch.stack(ends).reshape(SHAPE[1], 2, SAMPLES).amax(1).T
    # real numbers, not integers: what float64 adds to them
    assert torch.allclose(most, exact.error[:, 0], rtol=1e-9, atol=1e-12)
