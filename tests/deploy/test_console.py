"""Output: plain text stays plain, JSON stays valid, bars vanish, closed pipes change nothing."""

from __future__ import annotations

import io
import json
import math
from dataclasses import dataclass

import pytest

import edgeq
from edgeq.deploy import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@dataclass(frozen=True)
class Record:
    name: str
    value: float


def test_json_has_a_schema_and_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    console.write_json(
        "x", {"records": [Record("[b]", math.inf), Record("é", math.nan)], "steps": {-1: 2}}
    )
    text = capsys.readouterr().out
    assert json.loads(text) == {
        "schema": "edgeq.x/2",
        "edgeq_version": edgeq.__version__,
        "records": [{"name": "[b]", "value": None}, {"name": "é", "value": None}],
        "steps": {"-1": 2},
    }


def test_nothing_in_a_table_is_markup_or_cut(capsys: pytest.CaptureFixture[str]) -> None:
    long = "x" * 300
    console.write_table("[bold]title", ("[a]", "b", "empty"), [("[red]1[/red]", long, "")])
    out = capsys.readouterr().out
    for text in ("[bold]title", "[a]", "[red]1[/red]", long):
        assert text in out
    assert "empty" not in out
    assert "\x1b" not in out


def test_a_piped_table_is_as_wide_as_columns_asks_for(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    console.write_table("title", ("a",), [("word " * 30,)])
    assert max(map(len, capsys.readouterr().out.splitlines())) <= 40


def test_a_table_without_rows_keeps_its_head(capsys: pytest.CaptureFixture[str]) -> None:
    console.write_table("none", ("a", "b"), [])
    assert "a   b" in capsys.readouterr().out


@pytest.mark.parametrize("variable", ["CI", "NO_COLOR"])
def test_bars_vanish(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.delenv("CI", raising=False)
    monkeypatch.delenv("NO_COLOR", raising=False)
    assert console.animated(Terminal())
    assert not console.animated(io.StringIO())
    monkeypatch.setenv(variable, "1")
    assert not console.animated(Terminal())


def test_a_bar_is_drawn_on_a_terminal_and_leaves_standard_output_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("CI", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm")
    terminal = Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    with console.progress("work [b]") as advance:
        advance(1, 2)
        advance.stage("one, a\x1b[b]")
        advance(1, 2)
    assert "work [b]" in terminal.getvalue()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("variable", ["", "NO_COLOR"])
def test_a_verdict_has_a_colour_where_a_person_looks(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str
) -> None:
    rows = [("fail", "fail"), ("sound", "pass")]
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")
    if variable:
        monkeypatch.setenv(variable, "1")
    terminal = Terminal()
    with monkeypatch.context() as patched:
        patched.setattr("sys.stdout", terminal)
        console.write_table("Gate", ("stage", "verdict"), rows)
    written = terminal.getvalue()
    assert ("\x1b[1;31mfail" in written, "\x1b[32mpass" in written) == (not variable, not variable)
    assert written.count("\x1b[1;31m") <= 1  # the name of a stage is no verdict
    console.write_table("Gate", ("stage", "verdict"), rows)
    assert "\x1b" not in capsys.readouterr().out


def test_no_bar_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with console.progress("work") as advance:
        advance(1, 2)
    assert capsys.readouterr() == ("", "")


def test_sentences_are_broken_between_words_and_commands_not_at_all(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal = Terminal()
    monkeypatch.setattr("sys.stdout", terminal)
    monkeypatch.setenv("COLUMNS", "24")
    command = "hint: edgeq gate --config somewhere/edgeq-gate.toml"
    console.write(f"  a sentence of more words than fit\n{command}\n{'x' * 30} y")
    assert terminal.getvalue().splitlines() == [
        "  a sentence of more",
        "    words than fit",
        command,
        "x" * 30,
        "  y",
    ]


def test_what_a_file_names_cannot_act_on_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    hostile = "\x1b]0;FAKE: passed\x07\x1b[32mgreen\x9b31m\u202etxet\u200b\u2028\u061c\U000e0041"
    console.write_table(hostile, ("name", hostile), [(hostile, "1")])
    console.write_rendered(hostile)
    console.write(hostile)
    console.note(hostile)
    console.write_json("x", {"name": hostile})
    out, err = capsys.readouterr()
    assert json.loads(out[out.index("{") :])["name"] == hostile
    for text in (out, err):
        assert "\\u001b]0;FAKE" in text
        assert not set(text) & set("\x1b\x07\x9b\u202e\u200b\u2028\u061c\U000e0041")


def test_no_line_is_a_command_to_a_service_but_those_that_are_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    hostile = "::error::a\n \u3000::stop-commands::b ##[error]c"
    console.write_table("title", ("name", "what"), [(hostile, "d")])
    console.write(hostile)
    console.note(hostile)
    console.write_json("x", {"name": hostile})
    out, err = capsys.readouterr()
    assert json.loads(out[out.index("{") :])["name"] == hostile
    for text in (out, err):
        assert not any(line.lstrip().startswith("::") for line in text.splitlines())
        assert "##[" not in text
    console.command("::error::a")
    assert capsys.readouterr().err == "::error::a\n"


def test_a_remark_is_no_longer_than_a_screen(capsys: pytest.CaptureFixture[str]) -> None:
    console.note(f"first{'x' * 1_000_000}last")
    told = capsys.readouterr().err
    assert len(told) < console.LONGEST_NOTE + 100
    assert told.startswith("first")
    assert told.endswith("last\n")
    assert "996,009 characters are left out" in told


def test_stages_and_their_parts_are_told_and_timed_alone(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = iter((0.0, 5.0, 16.0, 20.0, 30.0))
    monkeypatch.setattr("edgeq.deploy.console.time.monotonic", lambda: next(moments))
    monkeypatch.setenv("CI", "true")
    with console.progress("calibrating") as advance:
        advance.stage("measuring ranges")
        advance(5, 20)  # with all that is done once, in which no pace is seen
        advance(10, 20)
        advance.stage("adaround, stem")
        advance(1, 4)
        advance.stage("adaround, head")
        advance(2, 4)
    assert capsys.readouterr().err.splitlines() == [
        "calibrating: measuring ranges: 50 %, 10 of 20, about 22 s left",
        "calibrating: adaround, head: 50 %, 2 of 4, about 20 s left",
    ]


def test_the_time_left_is_told_once_it_can_be_and_does_not_rise(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = iter((0.0, 20.0, 40.0, 60.0, 200.0, 9000.0))
    monkeypatch.setattr("edgeq.deploy.console.time.monotonic", lambda: next(moments))
    monkeypatch.setenv("CI", "true")
    with console.progress("training") as advance:
        for done in (1, 200, 200, 200, 500):
            advance(done, 1000)
    assert capsys.readouterr().err.splitlines() == [
        "training: 0 %, 1 of 1,000",
        "training: 20 %, 200 of 1,000, about 80 s left",
        "training: 20 %, 200 of 1,000, about 60 s left",
        "training: 20 %, 200 of 1,000",
        "training: 50 %, 500 of 1,000, about 2 h left",
    ]


def test_a_log_gets_a_line_at_times_instead_of_a_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    moments = iter((0.0, 1.0, 11.0, 12.0, 20.0, 40.0))
    monkeypatch.setattr("edgeq.deploy.console.time.monotonic", lambda: next(moments))
    monkeypatch.setenv("CI", "true")
    with console.progress("calibrating") as advance:
        for done in (10, 20, 30, 1, 3):
            advance(done, 100)
    told = capsys.readouterr().err.splitlines()
    assert told == [
        "calibrating: 20 %, 20 of 100, about 80 s left",
        "calibrating: 3 %, 3 of 100, about 16 min left",
    ]
