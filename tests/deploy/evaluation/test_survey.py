"""Networks on every target: the rows, and what becomes of them when one target breaks."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.evaluation.survey import survey
from edgeq.errors import TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Fakes = dict[str, fake_targets.FakeTarget]


class BrokenTarget(fake_targets.FakeTarget):
    """Refuses every file."""

    def open(
        self, artefact: Path, *, threads: int = 1, intermediates: bool = False
    ) -> fake_targets.FakeSession:
        raise TargetError(f"no kernel for {artefact.name}", hint="another target may have one")


def test_each_network_has_a_row_for_each_target_that_opens_it_the_reference_first(
    fakes: Fakes, tmp_path: Path
) -> None:
    files = [
        fake_targets.artefact(tmp_path, "onnx", wrong=3),
        fake_targets.artefact(tmp_path, "checkpoint", wrong=5, name="other"),
    ]
    progress: list[tuple[int, int]] = []
    found = survey(
        files,
        fake_targets.source(),
        reference="ort-cpu-ref",
        seconds=None,
        progress=lambda done, total: progress.append((done, total)),
    )
    names = [(row.network, row.target) for row in found.rows]
    assert names == [
        ("net", "ort-cpu-ref"),
        ("net", "ort-cpu"),
        ("other", "torch"),
        ("other", "torch-fp32"),
    ]
    assert progress == [(done, 4) for done in range(1, 5)]
    assert [row.accuracy.correct for row in found.rows if row.accuracy] == [37, 37, 35, 35]
    assert [row.flipped for row in found.rows] == [None, 0, None, None]
    assert all(target.open_sessions == 0 for target in fakes.values())
    found.require_all()


def test_each_target_is_compared_with_what_the_reference_answers_for_the_same_file(
    fakes: Fakes, tmp_path: Path
) -> None:
    fakes["ort-cpu-ref"].capabilities = replace(
        fakes["ort-cpu-ref"].capabilities, formats=frozenset({"onnx", "checkpoint"})
    )
    path = fake_targets.artefact(tmp_path, "checkpoint", wrong=5)
    found = survey([path], fake_targets.source(), reference="ort-cpu-ref", seconds=None)
    assert [(row.target, row.flipped) for row in found.rows] == [
        ("ort-cpu-ref", None),
        ("torch", 0),
        ("torch-fp32", 0),
    ]


def test_targets_that_have_to_be_asked_for_are_surveyed_too(fakes: Fakes, tmp_path: Path) -> None:
    fakes["ort-cpu"].capabilities = replace(fakes["ort-cpu"].capabilities, on_request=True)
    found = survey(
        [fake_targets.artefact(tmp_path, "onnx")],
        fake_targets.source(),
        reference="ort-cpu-ref",
        seconds=None,
    )
    assert [row.target for row in found.rows] == ["ort-cpu-ref", "ort-cpu"]


def test_a_target_that_breaks_leaves_the_others_their_rows(
    fakes: Fakes, tmp_path: Path, answer: Callable[..., Any]
) -> None:
    fakes["ort-cpu"] = BrokenTarget("onnx")
    path = fake_targets.artefact(tmp_path, "onnx")
    document = answer(
        "survey", path, "--data", "fake", "--against", "ort-cpu-ref", "--seconds", 0.01, code=4
    )
    first, broken = document["survey"]["rows"]
    assert first["accuracy"]["correct"] == 40
    assert first["profile"]["latency"]["runs"] >= 10
    assert broken["failure"] == "no kernel for net.onnx; another target may have one"
    assert broken["profile"] is None


def test_a_reference_that_breaks_is_a_row_too(fakes: Fakes, tmp_path: Path) -> None:
    fakes["ort-cpu-ref"] = BrokenTarget("onnx")
    found = survey(
        [fake_targets.artefact(tmp_path, "onnx")],
        fake_targets.source(),
        reference="ort-cpu-ref",
        seconds=None,
    )
    assert [bool(row.failure) for row in found.rows] == [True, False]
    assert found.rows[1].flipped is None
    with pytest.raises(TargetError, match="1 of 2 did not run: net on ort-cpu-ref"):
        found.require_all()


def test_what_cannot_be_surveyed_is_refused(
    fakes: Fakes, tmp_path: Path, refusal: Callable[..., str]
) -> None:
    with pytest.raises(UsageError, match="nothing to survey"):
        survey([], fake_targets.source(), reference="ort-cpu-ref")
    assert "there is no" in refusal(
        "survey", tmp_path / "absent.onnx", "--data", "fake", "--against", "ort-cpu-ref"
    )
    path = fake_targets.artefact(tmp_path, "onnx")
    assert "no target is called 'ort-cup'" in refusal(
        "survey", path, "--data", "fake", "--against", "ort-cpu-ref", "-t", "ort-cup"
    )
