"""Tables fit any terminal: no line is too long, no word broken, no cell left out."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.checks.tables import check_table, laid_out

if TYPE_CHECKING:
    from collections.abc import Sequence

WORD = st.text("abcdefghijklmnop", min_size=1, max_size=12)
SENTENCE = st.lists(WORD, min_size=1, max_size=12).map(" ".join)
NUMBER = st.integers(0, 10**9).map(str)


def rendered(
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    numbers: Sequence[str] = (),
    width: int = 80,
) -> str:
    return laid_out(columns, rows, numbers, width)


@settings(max_examples=40)
@given(
    rows=st.lists(st.tuples(WORD, NUMBER, SENTENCE, NUMBER, SENTENCE), min_size=1, max_size=4),
    width=st.integers(40, 200),
)
def test_every_word_is_whole_and_no_line_is_too_long(
    rows: list[tuple[str, ...]], width: int
) -> None:
    columns = ("name", "kB", "why it is", "p50 ms", "hint")
    check_table(columns, rows, ("kB", "p50 ms"), width)


def test_what_has_no_room_goes_below_its_row() -> None:
    columns = ("stage", "accuracy %", "95 % interval", "agrees %", "flipped", "kB", "why")
    row = ("net.onnx @ ort-cpu", "87.50", "71.93 – 95.03", "100.00", "0", "172.9", "a b c " * 9)
    lines = [line.rstrip() for line in rendered(columns, [row], columns[1:6]).splitlines()]
    assert "    why: a b c a b c a b c a b c a b c a b c a b c a b c a b c" in lines
    assert "why" not in lines[1]
    assert all(heading in lines[1] for heading in columns[:6])


def test_figures_that_have_no_room_go_on_below_with_the_names_again() -> None:
    columns = ("model", *(f"accuracy % target-{n}" for n in range(9)))
    rows = [(name, *(f"9{n}.0{n}" for n in range(9))) for name in ("plain-4W4A", "stable-4W4A")]
    text = rendered(columns, rows, columns[1:])
    check_table(columns, rows, columns[1:])
    assert text.count("stable-4W4A") == 2
    assert "…" not in text


def test_a_single_column_that_is_left_goes_below_its_row() -> None:
    columns = ("a file", *(f"figure-{n}" for n in range(5)), "transposes")
    rows = [("exported/net.tflite", *("1,234" for _ in range(5)), "3 of 14, 1.2 kB")]
    lines = [line.rstrip() for line in rendered(columns, rows, columns[1:]).splitlines()]
    assert "    transposes: 3 of 14, 1.2 kB" in lines


@pytest.mark.parametrize("width", [20, 40])
def test_a_terminal_narrower_than_any_row_still_shows_all(width: int) -> None:
    text = rendered(("name", "kB", "LSB"), [("conv1", "1,234.5", "17")], ("kB", "LSB"), width)
    assert {"conv1", "1,234.5", "17"} <= set(text.split())


def test_a_long_name_keeps_its_end() -> None:
    name = f"{'model/' * 30}conv2d_17"
    text = rendered(("tensor", "LSB"), [(name, "3")], ("LSB",), 60)
    assert re.search(r"^ …\S{40,}conv2d_17 +3$", text, re.MULTILINE)
    assert name in rendered(("tensor", "LSB"), [(name, "3")], ("LSB",), 10_000)


def test_wide_characters_are_two_columns() -> None:
    text = rendered(("名前", "kB"), [("量子化", "1"), ("net", "2")], ("kB",))
    assert " 量子化    1" in text
    assert " net       2" in text


def test_cells_have_the_room_before_headings_do() -> None:
    columns = ("network", *(f"% right on {name}" for name in ("one", "two", "three")))
    rows = [("stable-resnet8 4W/8A", "98.89", "98.61", "99.72")]
    text = rendered(columns, rows, columns[1:], 60)
    assert re.search(r"^ stable-resnet8 4W/8A +98\.89 +98\.61 +99\.72$", text, re.MULTILINE)
