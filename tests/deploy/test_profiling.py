"""Profiles: what is timed, with which input, and how the record is filled."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests import fake_targets

from edgeq.deploy.chain import Pair, chain
from edgeq.deploy.profiling import profile
from edgeq.errors import UsageError
from edgeq.quant import QuantParams
from edgeq.target import TensorSpec

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Fakes = dict[str, fake_targets.FakeTarget]


def test_every_pair_is_timed(fakes: Fakes, tmp_path: Path) -> None:
    pairs = chain([fake_targets.artefact(tmp_path, "onnx"), fake_targets.artefact(tmp_path, "tflite")], ["ort-cpu", "tflite"])
    found = profile(pairs, threads=2, seconds=0.01)
    assert [(row.artefact, row.target, row.threads, row.batch, row.kind) for row in found] == [
        ("net.onnx", "ort-cpu", 2, 1, "measured"),
        ("net.tflite", "tflite", 2, 1, "measured"),
    ]
    assert all(row.latency.runs >= 10 and row.size_bytes == pair.artefact.stat().st_size for row, pair in zip(found, pairs, strict=True))
    assert {fakes[name].open_sessions for name in ("ort-cpu", "tflite")} == {0}


@pytest.mark.parametrize("params", [None, QuantParams.of(0.5, -128, "int8")])
def test_the_random_input_is_always_the_same_and_within_the_grid(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, params: QuantParams | None
) -> None:
    given: list[Any] = []
    make = fake_targets.FakeTarget.open

    def opened(*arguments: Any, **named: Any) -> fake_targets.FakeSession:
        session = make(*arguments, **named)
        session.input = TensorSpec("x", (1, 1, 2), "float32" if params is None else "int8", params)
        return session

    monkeypatch.setattr(fake_targets.FakeTarget, "open", opened)
    monkeypatch.setattr(fake_targets.FakeSession, "prepare", lambda _self, batch: given.append(batch))
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
    monkeypatch.setattr(fake_targets.FakeSession, "prepare", lambda _self, batch: given.append(batch.tolist()))
    profile([Pair(fake_targets.artefact(tmp_path, "onnx"), "ort-cpu")], source=fake_targets.source(), seconds=0.001)
    assert given == [[[[[0.0, 0.0]]]]]


@pytest.mark.usefixtures("fakes")
def test_bad_requests(tmp_path: Path) -> None:
    pair = Pair(fake_targets.artefact(tmp_path, "onnx"), "ort-cpu")
    with pytest.raises(UsageError, match="nothing to profile"):
        profile([])
    with pytest.raises(UsageError, match="0 threads"):
        profile([pair], threads=0)
    with pytest.raises(UsageError):
        profile([pair], seconds=0)


@pytest.mark.usefixtures("fakes")
def test_the_command(tmp_path: Path, answer: Callable[..., Any]) -> None:
    found = answer("profile", fake_targets.artefact(tmp_path, "onnx"), "--seconds", 0.01, "--target", "ort-cpu")
    assert found["profiles"][0]["latency"]["p50_ms"] >= 0
    assert found["machine"]["cores"] >= 1
