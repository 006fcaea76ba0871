"""Accumulators against sums one by one; pairs against the machine's own instruction."""

from __future__ import annotations

import ctypes
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeq.targets.emulator.arithmetic import accumulate as module
from edgeq.targets.emulator.arithmetic.accumulate import accumulate, exact, pairs_can_saturate, wrap
from edgeq.targets.emulator.hardware.machine import HardwareProfile
from edgeq.targets.emulator.program import OverflowStats

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.targets.emulator.hardware.machine import Overflow, Products

AVX2 = r"""
#include <immintrin.h>
#include <stdint.h>
/* x: (rows, taps) of u8, w: (channels, taps) of s8, taps a multiple of 32;
   how kernels for AVX2 without VNNI add. */
void dot(const uint8_t *x, const int8_t *w, const int32_t *start, int32_t *out,
         int rows, int channels, int taps) {
    const __m256i ones = _mm256_set1_epi16(1);
    for (int r = 0; r < rows; ++r)
        for (int c = 0; c < channels; ++c) {
            __m256i sum = _mm256_setzero_si256();
            for (int k = 0; k < taps; k += 32) {
                __m256i a = _mm256_loadu_si256((const __m256i *)(x + r * taps + k));
                __m256i b = _mm256_loadu_si256((const __m256i *)(w + c * taps + k));
                sum = _mm256_add_epi32(sum, _mm256_madd_epi16(_mm256_maddubs_epi16(a, b), ones));
            }
            int32_t lanes[8], total = start[c];
            _mm256_storeu_si256((__m256i *)lanes, sum);
            for (int i = 0; i < 8; ++i) total += lanes[i];
            out[r * channels + c] = total;
        }
}
"""


def machine(
    bits: int = 32, overflow: Overflow = "wrap", products: Products = "exact"
) -> HardwareProfile:
    return HardwareProfile(
        "test",
        "a machine for tests",
        "double",
        "double",
        accumulator_bits=bits,
        overflow=overflow,
        products=products,
    )


def written_out(
    rows: NDArray[np.int64],
    weights: NDArray[np.int64],
    start: NDArray[np.int64],
    profile: HardwareProfile,
) -> tuple[NDArray[np.int64], OverflowStats]:
    """The definition: every product by itself, in Python's own integers."""
    low, high = -(2 ** (profile.accumulator_bits - 1)), 2 ** (profile.accumulator_bits - 1) - 1
    sums = np.zeros((len(rows), len(weights)), np.int64)
    overflowed = wrong = 0
    for r, row in enumerate(rows.tolist()):
        for c, taps in enumerate(weights.tolist()):
            true = held = int(start[c])
            held = min(max(held, low), high)
            cut = held != true
            for x, w in zip(row, taps, strict=True):
                true += x * w
                free = held + x * w
                held = min(max(free, low), high)
                cut |= free != held
            if profile.overflow == "wrap":
                held = (true - low) % 2**profile.accumulator_bits + low
                cut = held != true
            sums[r, c] = held
            overflowed += cut
            wrong += held != true
    return sums, OverflowStats(sums.size, sums.size * rows.shape[1], overflowed, 0, wrong)


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    taps=st.integers(1, 90),
    bits=st.integers(6, 20),
    overflow=st.sampled_from(["wrap", "saturate"]),
    spread=st.sampled_from([3, 15, 127]),
)
def test_sums_are_those_of_additions_one_by_one(
    seed: int, taps: int, bits: int, overflow: Overflow, spread: int
) -> None:
    random = np.random.default_rng(seed)
    rows = random.integers(-2, spread, (5, taps), endpoint=True)
    weights = random.integers(-spread, spread, (4, taps), endpoint=True)
    start = random.integers(-(2 ** (bits - 1)), 2 ** (bits - 1), 4)
    profile = machine(bits, overflow)
    sums, stats = accumulate(
        torch.from_numpy(rows).float(),
        torch.from_numpy(weights).float(),
        torch.from_numpy(start).float(),
        profile,
    )
    expected, counted = written_out(rows, weights, start, profile)
    assert sums.dtype == torch.int64
    assert np.array_equal(sums.numpy(), expected)
    assert stats == counted


def test_the_order_of_additions_is_that_of_the_taps() -> None:
    rows = torch.tensor([[100.0, 100.0, -100.0]])
    there, back = torch.tensor([[1.0, 1.0, 1.0]]), torch.tensor([[-1.0, -1.0, -1.0]])
    eight = machine(8, "saturate")
    assert accumulate(rows, there, None, eight)[0].item() == 27  # 100, 127, 27
    assert accumulate(rows.flip(1), there, None, eight)[0].item() == 100  # -100, 0, 100
    assert accumulate(rows, back, None, eight)[0].item() == -28


def test_a_bias_beyond_the_accumulator_is_cut_to_it() -> None:
    sums, stats = accumulate(
        torch.tensor([[1.0]]),
        torch.tensor([[-1.0]]),
        torch.tensor([1000.0]),
        machine(8, "saturate"),
    )
    assert sums.item() == 126
    assert (stats.wrong, stats.overflowed) == (1, 1)


def test_a_sum_that_comes_back_into_range_was_cut_all_the_same() -> None:
    rows, weights = torch.tensor([[120.0, 20.0, -20.0]]), torch.ones(1, 3)
    sums, stats = accumulate(rows, weights, None, machine(8, "saturate"))
    assert (sums.item(), stats.overflowed, stats.wrong) == (107, 1, 1)
    wrapped, stats = accumulate(rows, weights, None, machine(8, "wrap"))
    assert (wrapped.item(), stats.overflowed, stats.wrong) == (120, 0, 0)


def test_slices_and_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    random = np.random.default_rng(3)
    rows = torch.from_numpy(random.integers(-15, 16, (200, 150))).float()
    weights = torch.from_numpy(random.integers(-8, 8, (7, 150))).float()
    whole = accumulate(rows, weights, None, machine(9, "saturate"))
    monkeypatch.setattr(module, "_SUMS", 50)
    monkeypatch.setattr(module, "_BLOCK", 1)
    monkeypatch.setattr(module, "_WALKED", 64)
    apart = accumulate(rows, weights, None, machine(9, "saturate"))
    assert torch.equal(whole[0], apart[0])
    assert whole[1] == apart[1]
    assert whole[1].overflowed > 0


def test_great_sums_are_exact() -> None:
    rows, weights = torch.full((1, 600), 32767.0), torch.full((1, 600), 32767.0)
    rows[0, 0] = 1.0
    assert exact(rows, weights, torch.tensor([5.0])).item() == 599 * 32767**2 + 32767 + 5


def test_wrapping_keeps_the_low_bits() -> None:
    sums, stats = wrap(torch.tensor([2**31, 2**31 - 1, -(2**31) - 1, 5]), machine(32))
    assert sums.tolist() == [-(2**31), 2**31 - 1, 2**31 - 1, 5]
    assert stats == OverflowStats(sums=4, overflowed=2, wrong=2)


def test_empty_batches_are_batches() -> None:
    for profile in (machine(8, "saturate"), machine(8, "wrap"), machine(products="pairs-int16")):
        sums, stats = accumulate(torch.zeros(0, 4), torch.ones(3, 4), None, profile)
        assert sums.shape == (0, 3)
        assert stats == OverflowStats()


# ---- pairs ---------------------------------------------------------------------------------------


def pairs_written_out(
    stored: NDArray[np.int64], weights: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
    products = stored[:, None, :] * weights[None]
    if products.shape[2] % 2:
        products = np.pad(products, ((0, 0), (0, 0), (0, 1)))
    pairs = products[..., ::2] + products[..., 1::2]
    cut = np.clip(pairs, -(2**15), 2**15 - 1)
    return cut.sum(2), int((pairs != cut).sum())


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    taps=st.integers(1, 40),
    zero_point=st.sampled_from([0, 3, 128, 255]),
)
def test_pairs_saturate_at_16_bits(seed: int, taps: int, zero_point: int) -> None:
    random = np.random.default_rng(seed)
    stored, weights = random.integers(0, 256, (6, taps)), random.integers(-128, 128, (5, taps))
    start = random.integers(-1000, 1000, 5)
    rows = torch.from_numpy(stored - zero_point).float()
    found, stats = accumulate(
        rows,
        torch.from_numpy(weights).float(),
        torch.from_numpy(start),
        machine(products="pairs-int16"),
        zero_point,
    )
    expected, pairs = pairs_written_out(stored, weights)
    corrected = expected + start - zero_point * weights.sum(1)
    assert np.array_equal(found.numpy(), corrected)
    assert stats.pairs == pairs
    assert stats.wrong == int((corrected != (stored - zero_point) @ weights.T + start).sum())
    assert stats.steps == 6 * 5 * ((taps + 1) // 2)


def test_pairs_are_made_of_weights_as_they_are_stored() -> None:
    """Zero points of both sides change no pair, and come off the sums afterwards.

    A zero point for each channel too.
    """
    random = np.random.default_rng(4)
    stored, weights = random.integers(0, 256, (6, 9)), random.integers(-128, 128, (3, 9))
    zeros = np.array([-3, 0, 100])
    found, stats = accumulate(
        torch.from_numpy(stored - 17).float(),
        torch.from_numpy(weights - zeros[:, None]).float(),
        None,
        machine(products="pairs-int16"),
        17,
        tuple(zeros.tolist()),
    )
    cut, pairs = pairs_written_out(stored, weights)
    lost = cut - stored @ weights.T
    assert np.array_equal(found.numpy(), (stored - 17) @ (weights - zeros[:, None]).T + lost)
    assert stats.pairs == pairs > 0


@pytest.mark.skipif(
    platform.machine() != "x86_64" or "avx2" not in Path("/proc/cpuinfo").read_text(),
    reason="needs AVX2 itself",
)
def test_pairs_are_those_of_the_instruction(tmp_path: Path) -> None:
    (tmp_path / "dot.c").write_text(AVX2)
    subprocess.run(
        [
            "gcc",
            "-O2",
            "-mavx2",
            "-shared",
            "-fPIC",
            "-o",
            str(tmp_path / "dot.so"),
            str(tmp_path / "dot.c"),
        ],
        check=True,
    )
    library = ctypes.CDLL(str(tmp_path / "dot.so"))
    random = np.random.default_rng(7)
    for taps, greatest in ((32, 255), (576, 255), (96, 200)):
        x = random.integers(0, greatest, (40, taps), endpoint=True).astype(np.uint8)
        w = random.integers(-128, 128, (24, taps)).astype(np.int8)
        start, out = (
            random.integers(-(2**20), 2**20, 24).astype(np.int32),
            np.empty((40, 24), np.int32),
        )
        pointers = [ctypes.c_void_p(array.ctypes.data) for array in (x, w, start, out)]
        library.dot(*pointers, *x.shape[:1], w.shape[0], taps)
        operands = (
            torch.from_numpy(x).float(),
            torch.from_numpy(w).float(),
            torch.from_numpy(start),
        )
        found, stats = accumulate(*operands, machine(products="pairs-int16"))
        assert np.array_equal(found.numpy(), out)
        assert stats.pairs > 0
        assert stats.wrong == int((out != x.astype(np.int64) @ w.astype(np.int64).T + start).sum())


@pytest.mark.parametrize(
    ("first", "second", "largest", "can"),
    [(64, 64, 255, False), (64, 65, 255, True), (-64, -64, 255, False)],
)
def test_which_weights_are_immune(first: int, second: int, largest: int, can: bool) -> None:
    weights = torch.tensor([[float(first), float(second)]])
    assert pairs_can_saturate(weights, largest) is can
    worst = accumulate(
        torch.full((1, 2), float(largest)), weights, None, machine(products="pairs-int16")
    )[1]
    assert (worst.pairs > 0) is can


def test_weights_of_4_bits_and_of_7_bits_never_saturate_a_pair() -> None:
    assert not pairs_can_saturate(torch.full((1, 2), -8.0))
    assert not pairs_can_saturate(torch.full((1, 2), 64.0))
    assert pairs_can_saturate(torch.full((1, 2), -65.0))
