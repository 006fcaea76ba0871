"""Comparison of stages whose answers, flips and steps are known."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy.commands.compare import MAX_HOPS, farthest
from edgeq.deploy.evaluation.chain import Pair, chain
from edgeq.deploy.evaluation.compare import compare, shorten
from edgeq.deploy.evaluation.stage_runner import BATCH
from edgeq.errors import ArtefactError, UnknownName, UsageError

Fakes = dict[str, fake_targets.FakeTarget]


@pytest.fixture
def pairs(fakes: Fakes, tmp_path: Path) -> tuple[Pair, ...]:
    files = [
        fake_targets.artefact(tmp_path, "checkpoint"),
        fake_targets.artefact(tmp_path, "onnx", wrong=3),
    ]
    return chain(
        [*files, fake_targets.artefact(tmp_path, "tflite", wrong=5)],
        [name for name in fakes if name != "a-board"],
    )


def test_accuracy_agreement_and_flips(pairs: tuple[Pair, ...]) -> None:
    found = compare(pairs, fake_targets.source()).comparison
    assert (found.data, found.samples, found.reference) == (
        "fake",
        40,
        "net.safetensors @ torch-fp32",
    )
    right = [stage.accuracy.correct for stage in found.stages if stage.accuracy is not None]
    assert right == [40, 40, 37, 37, 35, 35]
    assert found.stages[2].agreement == pytest.approx(37 / 40)
    assert found.stages[2].flipped == (100, 101, 102)
    assert found.stages[0].facts == {"kernels": "fake"}
    assert found.stages[0].size_bytes == pairs[0].artefact.stat().st_size


def test_most_answers_that_change_are_told_where_no_label_says_who_errs(
    fakes: Fakes, tmp_path: Path
) -> None:
    files = [
        fake_targets.artefact(tmp_path, "checkpoint"),
        fake_targets.artefact(tmp_path, "onnx", wrong=30),
    ]
    stages = chain(files, [name for name in fakes if name.startswith(("torch", "ort"))])
    source = fake_targets.source()
    bare = replace(source, test=replace(source.test, labels=None))
    told = [each for each in compare(stages, bare).comparison.remarks if "otherwise" in each]
    assert told
    assert "answers 75.00 % of the samples otherwise than net.safetensors @ torch-fp32" in told[0]
    assert not [each for each in compare(stages, source).comparison.remarks if "otherwise" in each]


def test_hops_name_their_ends_and_causes(pairs: tuple[Pair, ...]) -> None:
    found = compare(pairs, fake_targets.source()).comparison
    names = [stage.name for stage in found.stages]
    assert [(hop.source, hop.stage) for hop in found.hops] == list(pairwise(names))
    assert [hop.cause for hop in found.hops][:3] == [
        "quantisation",
        "lowering",
        "graph optimisation",
    ]
    assert [(hop.source, hop.stage) for hop in found.from_reference] == [
        (names[0], name) for name in names[1:]
    ]
    assert found.hops[0].output.rmse == pytest.approx(0.1, rel=1e-5)
    assert found.hops[0].output.tensor == "output"


def test_a_hop_without_a_difference_has_no_cause(pairs: tuple[Pair, ...]) -> None:
    found = compare(pairs, fake_targets.source()).comparison
    hops = [*found.hops, *found.from_reference]
    assert hops
    for hop in hops:
        apart = any(each.mse for each in (hop.output, *hop.tensors, *hop.outputs))
        assert (hop.cause == "nothing") is not apart, hop
    assert {hop.cause == "nothing" for hop in hops} == {False, True}


def test_tensors_are_matched_by_name_and_counted_in_steps(pairs: tuple[Pair, ...]) -> None:
    found = compare(pairs, fake_targets.source()).comparison
    assert [(drift.tensor, drift.depth) for drift in found.hops[0].tensors] == [
        ("inner", 0),
        ("float", 1),
    ]
    assert found.hops[0].tensors[0].lsb == {1: 80}
    assert found.hops[0].tensors[0].rmse == pytest.approx(fake_targets.STEP)
    assert found.hops[1].tensors[0].lsb == {0: 80}
    assert found.hops[1].tensors[1].sqnr_db == float("inf")
    assert found.from_reference[-2].tensors[0].lsb == {2: 80}
    assert found.hops[0].output.depth == 2
    assert found.hops[-1].tensors == ()


def test_without_tensors_nobody_opens_them(pairs: tuple[Pair, ...], fakes: Fakes) -> None:
    found = compare(pairs, fake_targets.source(), tensors=False).comparison
    assert all(hop.tensors == () for hop in found.hops)
    assert not any(target.sessions[0].readable for target in fakes.values() if target.sessions)


def test_memory_is_bounded_and_every_session_closed(pairs: tuple[Pair, ...], fakes: Fakes) -> None:
    steps: list[tuple[int, int]] = []
    compare(
        pairs,
        fake_targets.source(),
        limit=11,
        progress=lambda done, total: steps.append((done, total)),
    )
    assert steps == [(8, 11), (11, 11)]
    assert {target.sessions[0].largest_batch for target in fakes.values() if target.sessions} == {
        BATCH
    }
    assert {target.open_sessions for target in fakes.values()} == {0}


def test_sessions_are_closed_when_one_fails(
    pairs: tuple[Pair, ...], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ArtefactError("broken", hint="none")

    monkeypatch.setattr(fake_targets.FakeSession, "run", fail)
    with pytest.raises(ArtefactError, match="broken"):
        compare(pairs, fake_targets.source())
    assert {target.open_sessions for target in fakes.values()} == {0}


def test_another_reference_comes_first(pairs: tuple[Pair, ...]) -> None:
    found = compare(pairs, fake_targets.source(), reference=pairs[2]).comparison
    assert found.reference == found.stages[0].name == "net.onnx @ ort-cpu-ref"
    assert len(found.stages) == len(pairs)


@pytest.mark.usefixtures("fakes")
def test_one_stage_alone_has_accuracy_and_no_hops(tmp_path: Path) -> None:
    found = compare(
        [Pair(fake_targets.artefact(tmp_path, "onnx", wrong=1), "ort-cpu")], fake_targets.source()
    ).comparison
    assert (found.hops, found.from_reference) == ((), ())
    assert found.stages[0].agreement == 1.0


def test_bad_requests(pairs: tuple[Pair, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    source = fake_targets.source()
    with pytest.raises(UsageError, match="nothing to compare"):
        compare([], source)
    with pytest.raises(UsageError, match="limit of 0"):
        compare(pairs, source, limit=0)
    with pytest.raises(UnknownName, match="did you mean 'test'"):
        compare(pairs, source, split="tset")
    run = fake_targets.FakeSession.run

    def shorter(self: fake_targets.FakeSession, batch: Any) -> object:
        return run(self, batch)[:, :2] if self.wrong else run(self, batch)

    monkeypatch.setattr(fake_targets.FakeSession, "run", shorter)
    with pytest.raises(ArtefactError, match="answers with 2 values a sample"):
        compare(pairs, source)


def test_names_grow_until_they_differ() -> None:
    a, b, c = Path("/x/a/best.safetensors"), Path("/x/b/best.safetensors"), Path("/x/net.onnx")
    assert shorten([a, b, c]) == {a: "a/best.safetensors", b: "b/best.safetensors", c: "net.onnx"}
    assert shorten([c, c]) == {c: "net.onnx"}


def test_of_many_hops_the_farthest_apart_are_shown_in_their_order() -> None:
    noise = [40.0, 10.0, 30.0, 50.0, 20.0, 60.0]
    hops: list[Any] = [SimpleNamespace(output=SimpleNamespace(sqnr_db=each)) for each in noise]
    assert [each.output.sqnr_db for each in farthest(hops)] == [40.0, 10.0, 30.0, 20.0]
    assert len(farthest(hops)) == MAX_HOPS
    assert list(farthest(hops[:2])) == hops[:2]
