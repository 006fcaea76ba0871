"""Parts of two sequences that correspond."""

import time

import pytest

from edgeq.diffing.order import in_order


@pytest.mark.parametrize(
    ("before", "after", "pairs"),
    [
        ("", "abc", []),
        ("abc", "abc", [(0, 0), (1, 1), (2, 2)]),
        ("aa", "aaa", [(0, 0), (1, 1)]),
        ("abcd", "axd", [(0, 0), (3, 2)]),
        ("xabcx", "yabcy", [(1, 1), (2, 2), (3, 3)]),
    ],
)
def test_what_is_equal_is_paired(before: str, after: str, pairs: list[tuple[int, int]]) -> None:
    assert in_order(before, after) == pairs


def test_long_chains_take_no_longer_than_reading_them() -> None:
    before, after = "x" + "ab" * 50_000 + "y", "z" + "ba" * 50_000 + "w"
    began = time.process_time()
    found = in_order(before, after)
    assert time.process_time() - began < 5
    assert len(found) == 100_000
    assert all(before[i] == after[j] for i, j in found)
