"""Counted bits against products of whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.targets.emulator.arithmetic import binary
from edgeq.targets.emulator.arithmetic.binary import binary_sums, is_binary, pack, popcount


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    samples=st.integers(0, 9),
    taps=st.integers(1, 200),
    channels=st.integers(1, 9),
    values=st.sampled_from([(-1, 1), (0, 1), (-1, 0, 1)]),
)
def test_counted_bits_are_the_product(
    seed: int, samples: int, taps: int, channels: int, values: tuple[int, ...]
) -> None:
    random = np.random.default_rng(seed)
    rows = torch.from_numpy(random.choice(values, (samples, taps)))
    weights = torch.from_numpy(random.choice([-1, 1], (channels, taps)))
    sums = binary_sums(rows.float(), weights.float())
    assert sums.dtype == torch.int64
    assert torch.equal(sums, rows @ weights.T)


@given(st.lists(st.integers(0, 2**32 - 1), min_size=1))
def test_bits_are_counted(words: list[int]) -> None:
    assert popcount(torch.tensor(words)).tolist() == [word.bit_count() for word in words]


def test_words_are_filled_from_the_low_end() -> None:
    bits = torch.zeros((2, 33), dtype=torch.bool)
    bits[0, 0] = bits[0, 31] = bits[1, 32] = True
    assert pack(bits).tolist() == [[2**31 + 1, 0], [0, 1]]


def test_slices_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rows, weights = torch.randint(0, 2, (50, 70)) * 2 - 1, torch.randint(0, 2, (11, 70)) * 2 - 1
    whole = binary_sums(rows, weights)
    monkeypatch.setattr(binary, "_COMPARED", 40)
    assert torch.equal(binary_sums(rows, weights), whole)


@pytest.mark.parametrize(
    ("weights", "low", "high", "expected"),
    [
        ([1, -1], -1, 1, True),
        ([1, -1], 0, 1, True),
        ([1, 0], -1, 1, False),
        ([1, -2], 0, 1, False),
        ([1, 1], 0, 2, False),
        ([1], -2, 1, False),
    ],
)
def test_what_can_be_counted(weights: list[int], low: int, high: int, expected: bool) -> None:
    assert is_binary(torch.tensor(weights).float(), low, high) is expected
