"""Profiles: what is timed, with which input, and how the record is filled."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import Pair, chain
from edgeq.deploy.evaluation.profile import profile, profile_each
from edgeq.deploy.evaluation.profiling.result import Details
from edgeq.errors import UsageError
from edgeq.quant import QuantParams
from edgeq.target import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Fakes = dict[str, fake_targets.FakeTarget]


def test_every_pair_is_timed(fakes: Fakes, tmp_path: Path) -> None:
    pairs = chain(
        [fake_targets.artefact(tmp_path, "onnx"), fake_targets.artefact(tmp_path, "tflite")],
        ["ort-cpu", "tflite"],
    )
    found = profile(pairs, threads=2, seconds=0.01)
    assert [(row.artefact, row.target, row.threads, row.batch, row.kind) for row in found] == [
        ("net.onnx", "ort-cpu", 2, 1, "measured"),
        ("net.tflite", "tflite", 2, 1, "measured"),
    ]
    assert all(
        row.latency.runs >= 10 and row.size_bytes == pair.artefact.stat().st_size
        for row, pair in zip(found, pairs, strict=True)
    )
    assert {fakes[name].open_sessions for name in ("ort-cpu", "tflite")} == {0}


@pytest.mark.parametrize("params", [None, QuantParams.of(0.5, -128, "int8")])
def test_the_random_input_is_always_the_same_and_within_the_grid(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: QuantParams | None
) -> None:
    given: list[Any] = []
    make = fake_targets.FakeTarget.open

    def opened(*arguments: Any, **named: Any) -> fake_targets.FakeSession:
        session = make(*arguments, **named)
        session.inputs = (
            TensorSpec("x", (1, 1, 2), "float32" if params is None else "int8", params),
        )
        return session

    monkeypatch.setattr(fake_targets.FakeTarget, "open", opened)
    monkeypatch.setattr(
        fake_targets.FakeSession, "prepare", lambda _self, batch: given.append(batch)
    )
    pair = Pair(fake_targets.artefact(tmp_path, "onnx"), "ort-cpu")
    profile([pair], seconds=0.001)
    profile([pair], seconds=0.001)
    np.testing.assert_array_equal(given[0], given[1])
    assert (given[0].shape, given[0].dtype) == ((1, 1, 1, 2), np.float32)
    if params is not None:
        np.testing.assert_array_equal(params.dequantize(params.quantize(given[0])), given[0])


@pytest.mark.usefixtures("fakes")
def test_the_input_can_come_from_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[Any] = []
    monkeypatch.setattr(
        fake_targets.FakeSession, "prepare", lambda _self, batch: given.append(batch.tolist())
    )
    profile(
        [Pair(fake_targets.artefact(tmp_path, "onnx"), "ort-cpu")],
        source=fake_targets.source(),
        seconds=0.001,
    )
    assert given == [[[[[0.0, 0.0]]]]]


@pytest.mark.usefixtures("fakes")
def test_bad_requests(tmp_path: Path) -> None:
    pair = Pair(fake_targets.artefact(tmp_path, "onnx"), "ort-cpu")
    with pytest.raises(UsageError, match="nothing to profile"):
        profile([])
    with pytest.raises(UsageError, match="0 threads"):
        profile([pair], threads=0)
    for seconds in (0, -1, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="seconds"):
            profile([pair], seconds=seconds)


@pytest.mark.usefixtures("fakes")
def test_the_command(tmp_path: Path, answer: Callable[..., Any]) -> None:
    found = answer(
        "profile", fake_targets.artefact(tmp_path, "onnx"), "--seconds", 0.01, "--target", "ort-cpu"
    )
    assert found["profiles"][0]["latency"]["p50_ms"] >= 0
    assert found["machine"]["cores"] >= 1


class Estimated(fake_targets.FakeSession):
    """Computes here, and knows what that would take elsewhere."""

    estimated_ms = 12.5
    estimate_note = "a formula"


@pytest.fixture
def estimating(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> list[Estimated]:
    """The sessions of ``a-board``, which estimates."""
    board, opened = fakes["a-board"], list[Estimated]()
    board.capabilities = replace(board.capabilities, latency="estimated")

    def start(artefact: Path, *, threads: int = 1, intermediates: bool = False) -> Estimated:
        board.open_sessions += 1
        opened.append(Estimated(artefact.read_bytes()[-1], board, readable=intermediates))
        return opened[-1]

    monkeypatch.setattr(board, "open", start)
    return opened


def test_an_estimate_is_told_and_not_timed(estimating: list[Estimated], tmp_path: Path) -> None:
    path = fake_targets.artefact(tmp_path, "tflite")
    board, other = profile([Pair(path, "a-board"), Pair(path, "tflite")], seconds=0.01)
    assert (board.kind, board.latency.p50_ms, board.latency.runs, board.latency.why) == (
        "estimated",
        12.5,
        0,
        "estimated: a formula",
    )
    assert not board.latency.trustworthy
    assert board.facts == {"kernels": "fake"}
    assert (other.kind, other.latency.runs >= 10) == ("measured", True)
    assert [session.invocations for session in estimating] == [0]


@pytest.mark.usefixtures("estimating")
def test_the_table_shows_an_estimate_once_and_what_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(["profile", str(fake_targets.artefact(tmp_path, "tflite")), "--target", "a-board"]) == 0
    )
    told = capsys.readouterr().out
    assert told.count("12.5") == 1
    assert "estimated: a formula" in told
    assert "what the estimated latency is of" in told


@pytest.mark.usefixtures("fakes")
def test_a_measurement_needs_no_table_of_what_it_is_of(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            [
                "profile",
                str(fake_targets.artefact(tmp_path, "tflite")),
                "--target",
                "tflite",
                "--seconds",
                "0.01",
            ]
        )
        == 0
    )
    assert "latency is of" not in capsys.readouterr().out


@pytest.mark.usefixtures("fakes")
def test_instructions_are_counted_where_they_can_be_and_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        fake_targets.FakeTarget,
        "instructions",
        lambda _self, artefact: artefact.stat().st_size + 1000000,
        raising=False,
    )
    pair = Pair(fake_targets.artefact(tmp_path, "onnx"), "ort-cpu")
    (counted,) = profile_each([pair], seconds=0.001, details=Details(instructions=True)).profiles
    (timed,) = profile_each([pair], seconds=0.001).profiles
    assert (
        counted.facts["instructions"]
        == f"{1000000 + pair.artefact.stat().st_size:,} for one sample"
    )
    assert "instructions" not in timed.facts


@pytest.mark.usefixtures("fakes")
def test_two_files_are_held_against_each_other_and_written_as_files(
    tmp_path: Path,
    answer: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeq.timing.measuring.BLOCK_SECONDS", 0)  # a round for each run
    paths = [fake_targets.artefact(tmp_path, "onnx", name=name) for name in ("one", "two")]
    files = ["--csv", tmp_path / "p.csv", "--benchmark-json", tmp_path / "b.json"]
    found = answer("profile", *paths, "--seconds", 1e-4, "--target", "ort-cpu", *files)
    assert [one["artefact"] for one in found["speed_ups"]] == ["two.onnx"]
    assert set(found["profiles"][0]["latency"]["trust"]) == {
        "clock", "processor_time", "ratios", "why", "advice",
    }  # fmt: skip
    assert (tmp_path / "p.csv").read_text().count("\n") == 3
    assert (tmp_path / "b.json").exists()
    assert run(["profile", str(paths[0]), "-t", "ort-cpu", "--require-speedup", "1"]) == 2
    assert "no two files run on one target" in capsys.readouterr().err


@pytest.mark.usefixtures("fakes")
def test_the_tables_fit_80_columns_and_say_what_was_not_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr("edgeq.timing.measuring.BLOCK_SECONDS", 0)
    paths = [str(fake_targets.artefact(tmp_path, "onnx", name=name)) for name in ("one", "two")]
    asked = ["--batches", "1,4", "--operators", "--seconds", "1e-4", "-t", "ort-cpu"]
    assert run(["profile", *paths, *asked]) == 0
    told = capsys.readouterr().out
    rules = [line for line in told.splitlines() if "─" in line]
    assert rules
    assert max(map(len, rules)) <= 80
    assert "Times as fast" in told
    assert "runs in edgeq's own process only" in told
    assert "why not: ort-cpu runs one sample at a time" in told


@pytest.mark.parametrize("wrong", [["--batches", "0"], ["--thread-counts", "x"]])
def test_counts_are_whole_numbers(tmp_path: Path, wrong: list[str]) -> None:
    assert run(["profile", str(fake_targets.artefact(tmp_path, "onnx")), *wrong]) == 2
