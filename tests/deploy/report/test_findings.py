"""The verdict says what the documents say, in the order of urgency."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.report.documents import accuracy, comparison, every_kind, finding, made, profile

from edgeq.deploy.report.findings import judge
from edgeq.deploy.report.values import GUESSING

if TYPE_CHECKING:
    from edgeq.deploy.report.documents import Document


def compared(**content: Any) -> Document:
    return made("compare", "x", {"comparison": {**comparison(), **content}})


def test_equal_answers_are_good() -> None:
    found = judge([made("compare", "x", {"comparison": comparison(changed=(0,) * 7)})])
    assert found.state == "good"
    assert (
        found.headline
        == "All 6 stages answer as net.onnx @ torch does, on 2,000 samples of cifar10"
    )
    assert not found.steps


def test_changed_answers_are_worth_a_look_and_ask_for_the_cause() -> None:
    found = judge([compared()])
    assert found.state == "look"
    assert "3 of 6 stages answer otherwise" in found.headline
    assert "most on net.tflite @ tflite: 9 of 2,000 answers changed" in found.headline
    assert (
        "edgeq why net.onnx net.tflite --data cifar10 --target torch,tflite"
        in found.steps[0].command
    )


def test_a_loss_beyond_chance_is_wrong() -> None:
    found = judge([made("compare", "x", {"comparison": comparison(lost=200)})])
    assert found.state == "bad"
    assert found.worst("net.tflite @ tflite") == "bad"
    assert found.headline.startswith("1 of 6 stages lost on 2,000 samples of cifar10")


def test_failures_that_are_expected_are_one_line() -> None:
    failures = [
        {
            "artefact": "f.tflite",
            "target": f"npu-{n}",
            "what": "no",
            "hint": "h",
            "expected": "Float",
        }
        for n in range(3)
    ]
    other = {"artefact": "f.tflite", "target": "tflm", "what": "crashed", "hint": "try again"}
    found = judge([compared(failures=[*failures, other])])
    assert found.expected == ["Float: f.tflite @ npu-0, f.tflite @ npu-1, f.tflite @ npu-2"]
    assert found.worst("f.tflite @ tflm") == "bad"
    assert "f.tflite @ npu-0" not in found.lights
    assert found.steps[0].what == "f.tflite @ tflm: try again"


@pytest.mark.parametrize(
    ("outcome", "state", "headline"),
    [
        ("failed", "bad", "The gate failed on 2 of 3 checks: a weight differs"),
        ("passed", "good", "The gate passed: 3 checks, none failed"),
        ("inconclusive", "look", "The gate cannot decide 2 of 3 checks: a weight differs"),
    ],
)
def test_the_gate_speaks_first(outcome: str, state: str, headline: str) -> None:
    findings = [
        finding("accuracy", "inconclusive", "too few"),
        finding("exactness", "fail", "a weight differs", next_command="edgeq diff a b"),
        finding("size", "pass", "kept"),
    ]
    gate = made("gate", "g", {"outcome": outcome, "findings": findings})
    found = judge([compared(), gate])
    assert found.headline == headline
    assert found.steps[0].command == "edgeq diff a b"
    assert state == "bad" or found.state in (state, "look")


def test_times_that_cannot_be_trusted_say_so_and_how_to_help_it() -> None:
    profiles = [
        profile("a.onnx", "ort-cpu", 1.0, trusted=False),
        profile("a.tflite", "tflite", 2.0, trusted=True),
    ]
    found = judge([made("profile", "p", {"profiles": profiles})])
    assert found.headline == "Fastest of 1 trustworthy time: a.tflite @ tflite, 2.00 ms"
    assert "1 of 2 measured times cannot be trusted and are not drawn" in found.sentences
    assert found.lights["a.onnx @ ort-cpu"][0].words == "time not to be trusted"
    assert "use a machine of its own" in found.steps[0].what


def test_the_worst_of_all_documents_is_the_light_of_the_page() -> None:
    found = judge(every_kind())
    assert found.state == "bad"
    assert found.headline.startswith("The gate failed on 2 of 4 checks: 1 weight differs")
    assert any(sentence.startswith("The cause is padding") for sentence in found.sentences)
    assert found.expected == ["0.8 times (no VNNI)"]


def test_an_answer_without_classes_is_judged_by_its_drift() -> None:
    stages = [
        {"artefact": "a", "target": name, "accuracy": None, "changed": None} for name in "xyz"
    ]
    hops = [
        {"source": "a @ x", "stage": f"a @ {name}", "output": {"mse": 1, "sqnr_db": sqnr}}
        for name, sqnr in (("y", 15.0), ("z", None))
    ]
    found = judge([compared(stages=stages, reference="a @ x", from_reference=hops)])
    assert found.lights["a @ y"][0].words == "15.0 dB from the reference"
    assert [found.worst(f"a @ {name}") for name in "xyz"] == ["good", "look", "good"]


def test_nothing_is_no_verdict() -> None:
    assert judge([made("audit", "a", {})]).state == "none"


def test_files_are_equal_or_not() -> None:
    found = judge([made("diff", "d", {"equal": False, "diff": {"differences": [{}, {}]}})])
    assert (found.state, found.headline) == (
        "look",
        "The files hold other numbers: 2 differences",
    )
    assert judge([made("diff", "d", {"equal": True, "diff": {"file": "a"}})]).state == "good"


def test_an_emulation_is_good_where_no_sum_is_wrong() -> None:
    for wrong, state in ((0, "good"), (3, "bad")):
        emulation = {
            "artefact": "a.onnx",
            "hardware": "avx2",
            "counts": {"sums": 9, "wrong": wrong},
        }
        found = judge([made("emulate", "e", {"emulation": emulation})])
        assert (found.state, found.headline) == (
            state,
            f"a.onnx @ avx2: {wrong} of 9 sums are wrong",
        )


def test_a_comparison_names_three_things_to_do_as_they_can_be_typed() -> None:
    command = "edgeq compare out/net.onnx out/net.tflite --data cifar10 --limit 9"
    doc = made("compare", "x", {"comparison": comparison()}, command=command)
    assert [step.command.split()[1] for step in judge([doc]).steps[:2]] == ["why", "profile"]
    whole = made("compare", "x", {"comparison": comparison()}, command=command[:-10])
    steps = [step.command for step in judge([whole]).steps]
    assert steps[1:] == [
        "edgeq gate init out/net.onnx out/net.tflite --data cifar10",
        "edgeq profile out/net.onnx out/net.tflite",
    ]


def test_what_the_command_said_is_next_is_a_step_once() -> None:
    told = {"comparison": comparison(), "next": "edgeq why net.onnx net.tflite --data cifar10"}
    steps = judge([made("compare", "x", told)]).steps
    assert [step.command.split()[1] for step in steps] == ["why"]
    bounds = {"accumulator_bits": 19, "next": "edgeq compare net.onnx --data digits"}
    assert [step.command for step in judge([made("bounds", "b", bounds)]).steps] == [
        "edgeq compare net.onnx --data digits"
    ]


def test_a_command_at_the_end_of_a_sentence_can_be_copied() -> None:
    found = judge([])
    found.do("quantise it again: edgeq calibrate net.onnx", 1)
    found.do("train it: edgeq train x; then export it", 2)
    assert [(step.what, step.command) for step in found.steps] == [
        ("quantise it again", "edgeq calibrate net.onnx"),
        ("train it: edgeq train x; then export it", ""),
    ]


def test_where_no_time_can_be_trusted_the_ratios_that_hold_speak() -> None:
    profiles = [profile(name, "ort-cpu", 1.0, trusted=False) for name in ("a.onnx", "b.onnx")]
    for each in profiles:
        each["latency"]["trust"]["ratios"] = True
    ratio = {
        "artefact": "b.onnx",
        "target": "ort-cpu",
        "base": "a.onnx",
        "base_target": "ort-cpu",
        "times": {"value": 2.5, "low": 2.4, "high": 2.6},
    }
    found = judge([made("profile", "p", {"profiles": profiles, "speed_ups": [ratio]})])
    said = "2.50 times as fast as a.onnx @ ort-cpu"
    assert found.headline == f"b.onnx @ ort-cpu is {said}, with 95 % 2.40 to 2.60"
    assert found.lights["b.onnx @ ort-cpu"][0].words == f"{said}; time not to be trusted"


def test_why_names_the_reference_and_the_cause() -> None:
    stages = [
        {"artefact": "a", "target": "x", "state": "reference", "verdict": ""},
        {"artefact": "b", "target": "x", "state": "WRONG", "verdict": "WRONG: grid"},
        {"artefact": "b", "target": "y", "state": "exact", "verdict": "exact"},
    ]
    found = judge([made("why", "w", {"why": {"stages": stages, "causes": []}})])
    words = [found.lights[name][0].words for name in ("a @ x", "b @ x", "b @ y")]
    assert words == ["the reference", "cause: grid", "exact"]


@pytest.mark.parametrize(
    ("before", "right", "total", "changed", "state"),
    [
        (64, 62, 64, 2, "look"),  # the interval of 62 of 64 ends below 1
        (64, 57, 64, 7, "bad"),
        (356, 340, 360, 16, "bad"),
        (356, 340, 360, 300, "look"),
        (355, 356, 360, 1, "look"),
    ],
)
def test_a_loss_is_wrong_where_chance_does_not_explain_it(
    before: int, right: int, total: int, changed: int, state: str
) -> None:
    stages = [
        {"artefact": "a", "target": "x", "accuracy": accuracy(before, total), "changed": 0},
        {"artefact": "a", "target": "y", "accuracy": accuracy(right, total), "changed": changed},
    ]
    found = judge([compared(stages=stages, reference="a @ x", samples=total, from_reference=[])])
    assert found.worst("a @ y") == state


def test_what_guessing_reaches_too_is_not_held_by_a_gate() -> None:
    offers = []
    for remarks in ([], [f"1.00 % is no better than{GUESSING}10 classes"]):
        document = compared(remarks=remarks)
        command = f"edgeq compare {' '.join(document.files)} --data digits"
        steps = judge([replace(document, command=command)]).steps
        offers.append(any("gate init" in step.command for step in steps))
    assert offers == [True, False]
