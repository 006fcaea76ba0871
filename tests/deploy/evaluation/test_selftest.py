"""The self-test passes on trusted runtimes, and a wrong target fails it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from tests.support.runtimes.worker_targets import WORKERS

from edgeq.deploy import listing
from edgeq.deploy.cli import run
from edgeq.deploy.evaluation import selftest
from edgeq.deploy.package_conflicts import package_conflicts
from edgeq.errors import TargetError
from edgeq.target import TARGETS
from edgeq.targets import ethos_u, ort
from edgeq.targets.emulator import EmulatorTarget
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.target import WorkerTarget

if TYPE_CHECKING:
    from collections.abc import Callable

ENGINE = Path(__file__).parents[2] / "targets" / "workers" / "engine_that_may_fail.py"


@pytest.fixture(autouse=True)
def in_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "TIMED_SECONDS", 0.05)


def test_the_network_is_sound_and_its_answers_reach_both_ends() -> None:
    onnx.checker.check_model(selftest.tiny_network(), full_check=True)
    answers = selftest.expected_centered(
        np.random.default_rng(0).integers(-128, 128, (50, 3, 8, 8))
    )
    assert (answers.min(), answers.max()) == (-128, 127)
    assert len(np.unique(answers)) > 100


@pytest.mark.parametrize(
    "name", ["ort-cpu", "ort-cpu-ref", "tflite", "tflite-builtin", "tflite-ref", "torch", *WORKERS]
)
def test_sound_targets_pass(name: str) -> None:
    (found,) = selftest.self_test(WORKERS[name] if name in WORKERS else TARGETS.load(name))
    assert found.passed, found.what
    assert found.p50_ms is not None
    assert found.p50_ms > 0
    assert found.seconds < selftest.SECONDS + 5  # what the machine adds while others work on it


def test_the_emulator_passes_on_every_machine_in_both_formats() -> None:
    emulator = TARGETS.load("emulator")
    assert isinstance(emulator, EmulatorTarget)
    for name in emulator.variants():
        for found in selftest.self_test(emulator.variant(name)):
            assert found.passed, f"{name}, {found.format}: {found.what}"


def faulty(fault: str) -> WorkerTarget:
    return WorkerTarget(
        "faulty", ort.cpu.capabilities, str(ENGINE), options={"fault": fault}, launcher=Here()
    )


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("", "of 768 answers are wrong"),
        ("load:segfault", "SIGSEGV"),
        ("third:raise", "in the runtime"),
    ],
)
def test_wrong_targets_fail(fault: str, words: str) -> None:
    (found,) = selftest.self_test(faulty(fault))
    assert not found.passed
    assert words in found.what


def test_one_wrong_integer_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    known = selftest.expected_centered

    def other(centered: Any) -> Any:
        answers = known(centered)
        answers[2, 3] += 1
        return answers

    monkeypatch.setattr(selftest, "expected_centered", other)
    (found,) = selftest.self_test(TARGETS.load("tflite-ref"))
    assert (found.passed, found.what) == (False, "1 of 40 answers are wrong")


def test_the_command_tries_a_target(
    answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    for words in (["targets", "tflite-ref"], ["targets", "show", "tflite-ref"]):
        found = answer(*words)
        assert [row["name"] for row in found["targets"]] == ["tflite-ref"]
        assert [(test["format"], test["passed"], test["what"]) for test in found["self_tests"]] == [
            ("tflite", True, "40 integers are right")
        ]
    assert run(["targets", "--json", "tflite-ref"]) == 0
    assert '"self_tests"' in capsys.readouterr().out
    assert run(["targets", "tflite-ref"]) == 0
    assert "passed: 40 integers are right; a run takes " in capsys.readouterr().out


def test_a_target_that_fails_its_test_ends_the_command_with_4(
    monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    monkeypatch.setattr(TARGETS, "load", lambda _name: faulty(""))
    assert "faulty failed its self-test: 768 of 768 answers are wrong" in refusal(
        "targets", "faulty", code=4
    )


def test_what_the_target_says_of_mending_is_told(
    monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    pytest.importorskip("ethosu")
    lost = replace(ethos_u.u55, options={**ethos_u.u55.options, "config": "/no-such/chip.ini"})
    monkeypatch.setattr(TARGETS, "load", lambda _name: lost)
    said = refusal("targets", "ethos-u55", code=4)
    assert "chip.ini cannot be read" in said
    assert "hint: check the option config" in said


def test_setup_is_asked_of_the_target(
    monkeypatch: pytest.MonkeyPatch,
    answer: Callable[..., Any],
    refusal: Callable[..., str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked: list[bool] = []

    class Preparable:
        def setup(self, *, force: bool = False, say: Callable[[str], None] = print) -> Path:
            asked.append(force)
            say("working")
            return Path("/e/bin/python")

    monkeypatch.setattr(TARGETS, "load", lambda _name: Preparable())
    assert answer("targets", "setup", "lent")["place"] == "/e/bin/python"
    assert run(["targets", "setup", "lent", "--force"]) == 0
    printed = capsys.readouterr()
    assert (printed.out.strip(), printed.err.strip()) == (
        "lent is ready\nnext: edgeq targets lent",
        "working",
    )
    assert asked == [False, True]
    monkeypatch.setattr(TARGETS, "load", lambda _name: object())
    assert "has no environment to set up" in refusal("targets", "setup", "torch")


def test_boards_are_listed_and_their_faults_told(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    answer: Callable[..., Any],
    capsys: pytest.CaptureFixture[str],
    refusal: Callable[..., str],
) -> None:
    (tmp_path / "edgeq-targets.toml").write_text(
        '[mine]\nlauncher = "here"\nengine = "ort"\n[far]\nlauncher = "ssh"\nhost = '
        '"h"\nengine = "ort"\n'
    )
    monkeypatch.setenv("EDGEQ_TARGETS", str(tmp_path / "edgeq-targets.toml"))
    monkeypatch.setenv("PATH", str(tmp_path))
    rows = {row["name"]: row for row in answer("targets")["targets"]}
    assert (rows["mine"]["usable"], rows["mine"]["on_request"], rows["far"]["usable"]) == (
        True,
        True,
        False,
    )
    assert "ssh is not installed" in rows["far"]["why_not"]
    monkeypatch.setattr(listing, "Faulty", WorkerTarget)
    monkeypatch.setattr(WorkerTarget, "faults", lambda _self: ["a known fault"], raising=False)
    assert run(["targets"]) == 0
    out = capsys.readouterr().out
    (clash,) = [line for line in out.splitlines() if line.endswith(": a known fault")]
    assert " mine," in clash
    assert "if named" in out
    (tmp_path / "edgeq-targets.toml").write_text("[mine")
    assert "is no TOML" in refusal("targets")


def test_packages_that_clash_are_named() -> None:
    assert package_conflicts({"onnxruntime": "1.31", "numpy": "2.1", "ai-edge-litert": "2.3"}) == ()
    (found,) = package_conflicts({"onnxruntime": "1.31", "onnxruntime-gpu": "1.31"})
    assert "which one runs is left to chance" in found
    (found,) = package_conflicts({"tflite-runtime": "2.14.0", "numpy": "2.1.0"})
    assert "tflite-runtime 2.14.0 was built for numpy 1" in found
    assert package_conflicts({"tflite-runtime": "2.14.0", "numpy": "1.26.4"}) == ()
    assert package_conflicts({"tflite-runtime": "2.14.0"}) == ()


def test_a_clash_here_is_told(
    monkeypatch: pytest.MonkeyPatch, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    from edgeq import machine

    real = machine.fingerprint()
    both = {**real.runtimes, "onnxruntime": "1", "onnxruntime-gpu": "1"}
    monkeypatch.setattr(machine, "fingerprint", lambda: replace(real, runtimes=both))
    assert len(answer("targets")["package_conflicts"]) == 1
    assert run(["targets"]) == 0
    out = capsys.readouterr().out
    assert "clash: onnxruntime and onnxruntime-gpu" in out
    assert real.isa[0] in out


def test_a_target_without_a_place_says_how_to_make_one() -> None:
    target = WorkerTarget("lone", ort.cpu.capabilities, "ort", ("no-such-runtime==1",))
    assert target.probe().hint == "edgeq targets setup lone"
    with pytest.raises(TargetError, match="edgeq targets setup lone"):
        target.place()
