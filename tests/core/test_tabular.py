"""Tables as text that other programs read."""

from __future__ import annotations

import csv
import io

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeq.errors import printable
from edgeq.tabular import counted, csv_of


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
@example("=cmd|' /C calc'!A0", -1.5)
@example("\t=1", 0.0)
def test_no_text_of_csv_is_computed_and_numbers_stay(name: str, number: float) -> None:
    name = name.replace("\r", "").replace("\n", "")
    (read,) = csv.reader(io.StringIO(csv_of([[name, number]])))
    assert read[0].removeprefix("'") == printable(name).removeprefix("'")
    assert not read[0].startswith(("=", "+", "-", "@", "\t"))
    assert float(read[1]) == number


@pytest.mark.parametrize(
    ("count", "of", "verb", "told"),
    [
        (1, None, "", "1 batch"),
        (1_000, None, "have", "1,000 batches have"),
        (1, 5, "do", "1 of 5 batches does"),
        (1, 1, "differ", "1 of 1 batch differs"),
        (0, 5, "are", "0 of 5 batches are"),
    ],
)
def test_words_agree_in_number(count: int, of: int | None, verb: str, told: str) -> None:
    assert counted(count, "batch", verb, of=of) == told
