"""The demo's last lines say what was found, good or bad."""

from __future__ import annotations

from pathlib import Path

from edgeq.deploy.demo.contrasts import Planted
from edgeq.deploy.demo.verdict import Contrast, Trained, told, verdict
from edgeq.deploy.gate.result import Finding, FindingOutcome, GateResult
from edgeq.exporter import ParityReport
from edgeq.metrics.accuracy import share_right
from edgeq.results import Comparison, Stage
from edgeq.training.activation_error import ActivationError
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme


def net(
    model: str,
    widths: tuple[int, int] | None,
    right: int,
    *,
    mse: float = 0.0,
    changed: int = 0,
    different: int = 0,
) -> Trained:
    targets = ("torch-fp32", "torch", "ort-cpu-ref", "ort-cpu")
    stages = tuple(
        Stage("net.onnx", name, 1, share_right(right, 1000), 1.0, (), {}) for name in targets
    )
    error = None if widths is None else ActivationError(mse, mse**0.5, (), 1.0, 1000)
    return Trained(
        Recipe(model, "digits", widths and Scheme(*widths)),
        1,
        {"checkpoint": Path("net")},
        (ParityReport(1000, 10, 20, 5, tuple(f"scale {i}" for i in range(different))),),
        error,
        Comparison("digits", 1000, stages[0].name, stages, (), ()),
        {"ort-cpu-ref": 0, "ort-cpu": changed},
    )


def test_all_is_well() -> None:
    nets = [
        net("stable-x", None, 990),
        net("stable-x", (4, 8), 985, mse=0.1),
        net("x", None, 980),
        net("x", (4, 8), 975, mse=0.25),
    ]
    assert verdict(nets, 10) == (
        (
            "Files: 2,070 integers, scales and zero points of 2 quantised networks were "
            "read back from 2 files, "
            "and none differs from what was trained."
        ),
        (
            "Runtimes: ort-cpu, ort-cpu-ref answer 4,000 test images as the networks did in "
            "training, every one of them."
        ),
        (
            "FP32 against integers: right on ort-cpu, stable-x 99.0 % in FP32, 98.5 % in 4W/8A; "
            "x 98.0 % in FP32, 97.5 % in 4W/8A."
        ),
        (
            "Stable against plain: rounding activations to the fewest bits moves the stable "
            "network by an error 2.5 times smaller than the plain one's."
        ),
    )


def test_all_is_not() -> None:
    files, runtimes, _, stability = verdict(
        [
            net("stable-x", (4, 4), 500, mse=0.5, changed=40, different=1),
            net("x", (4, 4), 600, mse=0.25, changed=2),
        ],
        10,
    )
    assert files.endswith("and 1 differs from what was trained.")
    assert runtimes.endswith(
        "answer 4,000 test images, 42 of them otherwise than the networks did in "
        "training, most on ort-cpu (42)."
    )
    assert stability.endswith("by an error 2.0 times greater than the plain one's.")


def test_one_kind_alone_is_compared_with_nothing() -> None:
    lines = verdict([net("x", (4, 4), 600, mse=0.25)], 10)
    assert lines[2:] == ("FP32 against integers: right on ort-cpu, x 60.0 % in 4W/4A.",)


def test_guessing_is_called_so() -> None:
    line = verdict([net("x", None, 104), net("x", (4, 4), 600, mse=0.25)], 10)[2]
    assert "1 of 2 are hardly better than guessing: more --epochs train for longer." in line


def planted(outcome: FindingOutcome) -> Planted:
    findings = (
        Finding("exactness.same", "net.onnx", "integers", outcome, "1 weight differs"),
        Finding("accuracy.max_drop", "net.onnx @ ort-cpu", "accuracy", "pass", "kept"),
    )
    return Planted("conv.weight", GateResult("failed" if outcome == "fail" else "passed", findings))


def test_the_contrasts_have_a_line_and_a_light_each() -> None:
    nets = [net("stable-x", None, 990), net("stable-x", (4, 4), 985, mse=0.1)]
    contrast = Contrast(nets[1], share_right(900, 1000), planted("fail"))
    lines = list(told(nets, 10, contrast))
    assert [state for _, state in lines] == ["good"] * 6
    assert lines[0][0] == (
        "In short: The files hold what was trained, bit for bit; every runtime answers as the "
        "networks did in training; the gate finds a planted fault."
    )
    assert lines[4][0] == (
        "Exact against converted: stable-x 4W/4A, trained in its widths and exported as it is, is "
        "98.5 % right on ort-cpu-ref; its FP32 twin, rounded to them after training, 90.0 %."
    )
    assert lines[5][0] == (
        "A planted fault: one integer of conv.weight was moved by one step, and the gate fails as "
        "it should, by exactness.same; accuracy alone would have let it pass."
    )


def test_a_gate_that_sees_nothing_and_files_that_differ_are_wrong() -> None:
    nets = [net("x", None, 990), net("x", (4, 4), 985, mse=0.1, different=1)]
    lines = list(told(nets, 10, Contrast(nets[1], None, planted("pass"))))
    assert [state for _, state in lines] == ["bad", "bad", "good", "good", "bad"]
    assert lines[0][0].startswith("In short: Some files do not hold what was trained; every")
    assert lines[0][0].endswith("the gate does not find a planted fault.")
    assert lines[-1][0].endswith("was moved by one step, and the gate did not see it.")
    assert len(list(told(nets, 10, None))) == 4


def test_changed_answers_are_worth_a_look_and_a_near_conversion_says_so() -> None:
    nets = [net("x", None, 990), net("x", (4, 4), 985, mse=0.1, changed=3)]
    lines = list(told(nets, 10, Contrast(nets[1], share_right(983, 1000), planted("fail"))))
    assert [state for _, state in lines] == ["look", "good", "look", "good", "good", "good"]
    assert "; 3 of 2,000 answers of runtimes differ; " in lines[0][0]
    assert lines[4][0].endswith("98.3 %; their 95 % intervals overlap.")
