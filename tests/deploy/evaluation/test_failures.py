"""A target that fails loses its own stages.

The others' results stay, the failure is told everywhere, and the command ends with 4.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from tests.support.models import onnx_models
from tests.support.runtimes import fake_targets

from edgeq.deploy.cli import run
from edgeq.deploy.evaluation.chain import Pair, chain
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.evaluation.failures import Left, StagesFailed
from edgeq.deploy.evaluation.profile import profile, profile_each
from edgeq.deploy.listing import list_targets
from edgeq.errors import ArtefactError, MissingDependency, TargetError, UsageError
from edgeq.target import TARGETS, Availability
from edgeq.targets import ort
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

Fakes = dict[str, fake_targets.FakeTarget]
ENGINE = Path(__file__).parents[2] / "targets" / "workers" / "engine_that_may_fail.py"
GONE = TargetError("the worker was killed by SIGSEGV", hint="run it elsewhere")


@pytest.fixture
def pairs(fakes: Fakes, tmp_path: Path) -> list[Pair]:
    onnx, tflite = (
        fake_targets.artefact(tmp_path, "onnx", wrong=1),
        fake_targets.artefact(tmp_path, "tflite", wrong=2),
    )
    return [
        Pair(onnx, "ort-cpu-ref"),
        Pair(onnx, "ort-cpu"),
        Pair(tflite, "tflite-ref"),
        Pair(tflite, "a-board"),
    ]


@pytest.fixture
def break_on(fakes: Fakes, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a fake target fail when a method of its session is called for the nth time."""

    def arrange(name: str, method: str = "run", call: int = 2, error: Exception = GONE) -> None:
        real, calls = getattr(fake_targets.FakeSession, method), [0]

        def either(self: fake_targets.FakeSession, *arguments: Any) -> Any:
            if self.target is fakes[name]:
                calls[0] += 1
                if calls[0] == call:
                    raise error
            return real(self, *arguments)

        monkeypatch.setattr(fake_targets.FakeSession, method, either)

    return arrange


def test_the_others_are_compared_as_if_it_had_not_been_there(
    pairs: list[Pair], break_on: Callable[..., None], fakes: Fakes
) -> None:
    source = fake_targets.source()
    without = compare([pairs[0], *pairs[2:]], source).comparison
    break_on("ort-cpu")
    found = compare(pairs, source).comparison
    assert [(failure.name, failure.what, failure.hint) for failure in found.failures] == [
        ("net.onnx @ ort-cpu", GONE.what, GONE.hint)
    ]
    assert (found.stages, found.hops, found.from_reference) == (
        without.stages,
        without.hops,
        without.from_reference,
    )
    assert {target.open_sessions for target in fakes.values()} == {0}


def test_a_reference_that_was_not_named_is_replaced_by_the_next(
    pairs: list[Pair], break_on: Callable[..., None]
) -> None:
    break_on("ort-cpu-ref")
    found = compare(pairs, fake_targets.source()).comparison
    assert found.reference == "net.onnx @ ort-cpu"
    assert [failure.target for failure in found.failures] == ["ort-cpu-ref"]


def test_a_reference_that_was_named_is_not(
    pairs: list[Pair], break_on: Callable[..., None]
) -> None:
    break_on("ort-cpu")
    with pytest.raises(TargetError, match="SIGSEGV"):
        compare(pairs, fake_targets.source(), reference=pairs[1])


def test_where_all_fail_the_last_error_is_raised(
    pairs: list[Pair], break_on: Callable[..., None]
) -> None:
    break_on("a-board")
    with pytest.raises(TargetError, match="SIGSEGV"):
        compare(pairs[3:], fake_targets.source())


@pytest.mark.parametrize(
    "error",
    [
        ArtefactError("broken", hint="none"),
        UsageError("no such mode", hint="none"),
        ZeroDivisionError("oh"),
    ],
)
def test_whatever_one_target_raises_is_its_own_failure(
    pairs: list[Pair], break_on: Callable[..., None], error: Exception
) -> None:
    break_on("a-board", error=error)
    found = compare(pairs, fake_targets.source()).comparison
    assert [stage.target for stage in found.stages] == ["ort-cpu-ref", "ort-cpu", "tflite-ref"]
    (failure,) = found.failures
    assert (failure.target, str(error).split("\n")[0] in failure.what) == ("a-board", True)


@pytest.mark.parametrize("error", [ArtefactError("broken", hint="none"), ZeroDivisionError("oh")])
def test_what_happens_to_all_is_raised_as_it_is(
    pairs: list[Pair], fakes: Fakes, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(fake_targets.FakeSession, "run", fail)
    with pytest.raises(type(error), match=str(error).split("\n")[0]):
        compare(pairs, fake_targets.source())
    assert sum(len(target.sessions) for target in fakes.values()) == len(pairs)
    assert {target.open_sessions for target in fakes.values()} == {0}


def test_what_happens_to_each_is_told_of_each(
    pairs: list[Pair], fakes: Fakes, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: fake_targets.FakeSession, _batch: object) -> None:
        raise TargetError(f"no kernel in {self.target.noise}", hint="look")

    monkeypatch.setattr(fake_targets.FakeSession, "run", fail)
    with pytest.raises(
        TargetError,
        match=r"net\.onnx @ ort-cpu-ref: no kernel in 0\.1; net\.onnx @ ort-cpu: no kernel in "
        r"0\.2; ",
    ):
        compare(pairs, fake_targets.source())


@pytest.mark.parametrize("command", ["compare", "profile", "survey"])
def test_a_target_that_is_asked_for_and_not_usable_leaves_the_others_theirs(
    pairs: list[Pair],
    fakes: Fakes,
    answer: Callable[..., Any],
    refusal: Callable[..., str],
    command: str,
) -> None:
    rest: dict[str, list[object]] = {
        "compare": ["--data", "fake"],
        "profile": ["--seconds", 0.01],
        "survey": ["--data", "fake", "--seconds", 0, "--against", "ort-cpu-ref"],
    }
    fakes["ort-cpu"].usable = False
    arguments = [command, pairs[0].artefact, *rest[command], "-t", "ort-cpu-ref", "-t", "ort-cpu"]
    found = answer(*arguments, code=4)
    if command == "survey":
        assert [(row["target"], bool(row["failure"])) for row in found["survey"]["rows"]] == [
            ("ort-cpu-ref", False),
            ("ort-cpu", True),
        ]
        assert (
            "'ort-cpu' is not usable here: no runtime; install one"
            in found["survey"]["rows"][1]["failure"]
        )
    else:
        done = found.get("comparison", found)
        assert [stage["target"] for stage in done.get("stages", done.get("profiles"))] == [
            "ort-cpu-ref"
        ]
        (failure,) = done["failures"]
        assert failure["what"] == "the target 'ort-cpu' is not usable here: no runtime"
        assert failure["hint"] == "install one"
    assert "ort-cpu" in refusal(*arguments, code=4)


def test_a_target_that_cannot_be_loaded_leaves_the_others_theirs(
    pairs: list[Pair], answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TARGETS.load

    def absent(name: str) -> Any:
        if name == "ort-cpu":
            raise MissingDependency("target", name, "onnxruntime")
        return load(name)

    monkeypatch.setattr(TARGETS, "load", absent)
    found = answer(
        "compare", pairs[0].artefact, "--data", "fake", "-t", "ort-cpu-ref", "-t", "ort-cpu", code=4
    )["comparison"]
    assert [stage["target"] for stage in found["stages"]] == ["ort-cpu-ref"]
    assert "pip install onnxruntime" in found["failures"][0]["hint"]


def test_a_probe_that_fails_is_a_target_that_does_not_work(
    fakes: Fakes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def probe(self: fake_targets.FakeTarget) -> Availability:
        if self is fakes["ort-cpu"]:
            raise RuntimeError("no bus")
        return Availability(usable=True)

    monkeypatch.setattr(fake_targets.FakeTarget, "probe", probe)
    path = fake_targets.artefact(tmp_path, "onnx")
    assert [pair.target for pair in chain([path])] == ["ort-cpu-ref"]
    assert {row.name: row.why_not for row in list_targets()}[
        "ort-cpu"
    ] == "its probe fails: RuntimeError: no bus"


@pytest.mark.usefixtures("fakes")
def test_a_plug_in_that_cannot_be_imported_is_a_target_that_does_not_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    load = TARGETS.load

    def broken(name: str) -> Any:
        if name == "ort-cpu":
            raise SyntaxError("of a package of somebody's")
        return load(name)

    monkeypatch.setattr(TARGETS, "load", broken)
    path = fake_targets.artefact(tmp_path, "onnx")
    assert [pair.target for pair in chain([path])] == ["ort-cpu-ref"]
    assert (
        "cannot be loaded: SyntaxError"
        in {row.name: row.why_not for row in list_targets()}["ort-cpu"]
    )
    with pytest.raises(TargetError, match="'ort-cpu' cannot be loaded: SyntaxError"):
        chain([path], ["ort-cpu"])


def test_a_broken_file_beside_a_whole_one(
    pairs: list[Pair], answer: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = fake_targets.FakeTarget.open

    def open_whole(
        self: fake_targets.FakeTarget, artefact: Path, **named: Any
    ) -> fake_targets.FakeSession:
        if artefact.suffix == ".tflite":
            raise ArtefactError(f"{artefact.name} is damaged", hint="write it again")
        return opened(self, artefact, **named)

    monkeypatch.setattr(fake_targets.FakeTarget, "open", open_whole)
    found = answer("compare", pairs[0].artefact, pairs[2].artefact, "--data", "fake", code=4)[
        "comparison"
    ]
    assert [stage["target"] for stage in found["stages"]] == ["ort-cpu-ref", "ort-cpu"]
    assert {failure["what"] for failure in found["failures"]} == {"net.tflite is damaged"}


@pytest.mark.parametrize("method", ["prepare", "invoke"])
def test_the_others_are_timed(
    pairs: list[Pair], break_on: Callable[..., None], method: str
) -> None:
    break_on("tflite-ref", method, 1)
    found = profile_each(pairs, seconds=0.01)
    assert [row.target for row in found.profiles] == ["ort-cpu-ref", "ort-cpu", "a-board"]
    assert [failure.name for failure in found.failures] == ["net.tflite @ tflite-ref"]
    break_on("tflite-ref", method, 1)
    with pytest.raises(TargetError, match=r"net\.tflite @ tflite-ref: the worker was killed"):
        profile(pairs, seconds=0.01)


def test_compare_and_profile_tell_it_and_end_with_4(
    pairs: list[Pair],
    break_on: Callable[..., None],
    answer: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
) -> None:
    files = [str(path) for path in dict.fromkeys(pair.artefact for pair in pairs)]
    break_on("a-board")
    found = answer("compare", *files, "--data", "fake", code=4)["comparison"]
    assert found["failures"] == [
        {
            "artefact": "net.tflite",
            "target": "a-board",
            "what": GONE.what,
            "hint": GONE.hint,
            "expected": "",
        }
    ]
    assert "net.tflite @ a-board: the worker was killed by SIGSEGV" not in json.dumps(
        found["stages"]
    )
    break_on("a-board")
    assert run(["compare", *files, "--data", "fake"]) == 4
    printed = capsys.readouterr()
    assert "Did not run" in printed.out
    assert "net.onnx @ ort-cpu " in printed.out
    assert "gate init" not in printed.out, "it would judge what does not run"
    assert "net.tflite @ a-board: the worker was killed by SIGSEGV" in printed.err
    assert "hint: run it elsewhere" in printed.err
    break_on("a-board", "invoke", 1)
    found = answer("profile", *files, "--seconds", 0.01, code=4)
    assert "a-board" not in {row["target"] for row in found["profiles"]}
    assert [failure["target"] for failure in found["failures"]] == ["a-board"]


def test_the_gate_judges_the_others(
    pairs: list[Pair],
    break_on: Callable[..., None],
    answer: Callable[..., Any],
    refusal: Callable[..., str],
    tmp_path: Path,
) -> None:
    files = [str(path) for path in dict.fromkeys(pair.artefact for pair in pairs)]
    baseline = tmp_path / "baseline.json"
    arguments = ["gate", *files, "--data", "fake", "--baseline", str(baseline)]
    break_on("a-board", call=1)
    assert "a-board" in refusal(*arguments, "--update", code=4)
    assert not baseline.exists()
    assert answer(*arguments, "--update")["outcome"] == "updated"
    break_on("a-board", call=1)
    found = answer(*arguments, code=4)
    states = {each["stage"]: each["outcome"] for each in found["findings"]}
    assert states.pop("net.tflite @ a-board") == "not-run"
    assert set(states.values()) == {"pass"}
    assert "cannot run here: the worker was killed by SIGSEGV" in found["findings"][0]["message"]


def test_a_real_worker_that_is_killed_in_mid_batch(fakes: Fakes, tmp_path: Path) -> None:
    source = fake_targets.source(12)
    model = onnx_models.save(onnx_models.float_model(), tmp_path / "net.onnx")
    options = {"fault": "third:killed", "shape": [1, 1, 2]}
    launcher = Here()
    worker: Any = WorkerTarget(
        "ort-cpu", ort.cpu.capabilities, str(ENGINE), options=options, launcher=launcher
    )
    fakes["ort-cpu"] = worker
    reference = Pair(fake_targets.artefact(tmp_path, "tflite"), "tflite")
    observed = compare([reference, Pair(model, "ort-cpu")], source, tensors=False)
    answers: NDArray[np.int64] = observed.answers["net.tflite @ tflite"]
    assert observed.labels is not None
    assert np.array_equal(answers, observed.labels)
    (failure,) = observed.comparison.failures
    assert "was killed by SIGKILL" in failure.what


@pytest.mark.parametrize(("integers_only", "floats"), [(True, True), (True, False), (False, True)])
def test_a_file_in_float_is_expected_to_fail_where_only_integers_are_computed(
    fakes: Fakes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    integers_only: bool,
    floats: bool,
) -> None:
    target = fakes["a-board"]
    monkeypatch.setattr(
        target, "capabilities", replace(target.capabilities, integers_only=integers_only)
    )
    monkeypatch.setattr("edgeq.deploy.evaluation.failures.in_float", lambda _path: floats)
    pairs = [Pair(tmp_path / "net.tflite", name) for name in ("a-board", "tflite")]
    left = Left(pairs, {tmp_path / "net.tflite": "net.tflite"})
    left.drop(StagesFailed({pairs[0]: GONE}))
    assert [bool(failure.expected) for failure in left.failures] == [integers_only and floats]
