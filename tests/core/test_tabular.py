"""Tables as text that other programs read."""

from __future__ import annotations

import csv
import io

from hypothesis import example, given
from hypothesis import strategies as st

from edgeq.tabular import csv_of


@given(st.text(), st.floats(allow_nan=False, allow_infinity=False))
@example("=cmd|' /C calc'!A0", -1.5)
@example("\t=1", 0.0)
def test_no_text_of_csv_is_computed_and_numbers_stay(name: str, number: float) -> None:
    name = name.replace("\r", "").replace("\n", "")
    (read,) = csv.reader(io.StringIO(csv_of([[name, number]])))
    assert read[0].removeprefix("'") == name.removeprefix("'")
    assert not read[0].startswith(("=", "+", "-", "@", "\t"))
    assert float(read[1]) == number
