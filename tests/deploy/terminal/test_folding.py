"""Long lines are folded between words, and what one would paste stays whole."""

from __future__ import annotations

import pytest

from edgeq.deploy import console
from edgeq.deploy.terminal.folding import folded

COMMAND = "edgeq calibrate 'my net.onnx' --data images/ -o net.int8.onnx"


def test_what_fits_stays_as_it_is() -> None:
    text = "edgeq: two  blanks, and\n  hint: an indent"
    assert folded(text, 30) == text


def test_lines_end_between_words_and_go_on_further_in() -> None:
    told = folded("edgeq: a word and-another\n  hint: see the page of it", 16)
    assert told.split("\n") == [
        *("edgeq: a word", "  and-another"),
        *("  hint: see the", "    page of it"),
    ]


@pytest.mark.parametrize("around", ["hint: {}", "hint: run {}, and then look", "({}); or not"])
@pytest.mark.parametrize(
    "whole", [COMMAND, "'a folder/with blanks.onnx'", "pip install 'edgeq[tflite]' torch"]
)
def test_commands_and_names_in_quotes_stay_whole(around: str, whole: str) -> None:
    told = folded(around.format(whole), 20)
    assert whole in told
    assert told.replace("\n  ", " ") == around.format(whole)


def test_apostrophes_open_no_quotes() -> None:
    told = folded("the baseline's samples have the model's labels, and others' too", 20)
    assert max(map(len, told.split("\n"))) <= 20


def test_letters_that_take_two_columns_count_twice() -> None:
    assert folded("日本語 日本語", 12) == "日本語\n  日本語"


def test_notes_are_folded_and_documents_are_not(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "30")
    console.note("word " * 20)
    console.command("::error file=x::" + "word " * 20)
    console.write_document({"text": "word " * 20})
    out, err = capsys.readouterr()
    *notes, annotation = err.splitlines()
    assert max(map(len, notes)) <= 30
    assert annotation.count("word") == 20
    assert "word " * 20 in out
