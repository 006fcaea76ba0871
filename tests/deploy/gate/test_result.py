"""What findings come to, and what a result says of itself."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from edgeq.deploy.commands.gate import in_short
from edgeq.deploy.gate.result import Delta, Finding, FindingOutcome, GateResult, outcome_of
from edgeq.errors import GateFailed, Inconclusive, TargetError


def finding(
    outcome: FindingOutcome,
    message: str = "m",
    *,
    target_missing: bool = False,
    interval: tuple[float, float] | None = None,
    measured: float | None = None,
) -> Finding:
    return Finding(
        "accuracy",
        "net.onnx @ ort-cpu",
        "accuracy",
        outcome,
        message,
        measured,
        interval=interval,
        target_missing=target_missing,
    )


def result(*findings: Finding) -> GateResult:
    return GateResult(outcome_of(findings), findings)


def test_a_failure_outweighs_what_is_undecided() -> None:
    found = result(finding("pass"), finding("inconclusive"), finding("fail", "lost 3"))
    assert found.outcome == "failed"
    assert [each.outcome for each in found.complaints] == ["fail", "inconclusive"]
    with pytest.raises(GateFailed, match="lost 3"):
        found.require_passed()
    assert found.regressed_metrics == ("accuracy",)


def test_what_was_not_run_never_passes() -> None:
    with pytest.raises(Inconclusive):
        result(finding("pass"), finding("not-run")).require_passed()
    with pytest.raises(TargetError):
        result(finding("not-run", target_missing=True)).require_passed()


def test_an_expected_failure_passes_and_nothing_at_all_does_not() -> None:
    result(finding("expected-failure")).require_passed()
    with pytest.raises(Inconclusive, match="judged nothing"):
        result().require_passed()


def test_a_result_is_json_and_counts_itself() -> None:
    found = result(finding("pass", interval=(0.5, 1.0)), finding("fail", measured=float("nan")))
    plain = json.loads(json.dumps(found.to_dict(), allow_nan=False))
    assert plain["findings"][0]["interval"] == [0.5, 1.0]
    assert plain["findings"][1]["measured"] is None
    assert found.summary == "failed: 1 passed, 1 failed"
    assert "net.onnx @ ort-cpu" in repr(found)


def test_a_delta_of_what_is_gone_has_no_change() -> None:
    assert Delta("a @ b", "accuracy", 0.5, 0.25).change == -0.25
    assert Delta("a @ b", "accuracy", 0.5, None).change is None


def test_a_long_table_shows_what_did_not_pass_and_a_line_for_each_rule_that_did() -> None:
    stages = [f"{name}.onnx @ ort-cpu" for name in "abc"]
    findings = [Finding("accuracy.max_drop", each, "accuracy", "pass", "kept") for each in stages]
    findings += [Finding("exactness.same", "a.onnx", "exactness", "pass", "kept")]
    findings += [Finding("size.max", stages[1], "size", "fail", "grown", 2e3, 1e3, unit="bytes")]
    rows = [row[:-1] for row in GateResult("failed", tuple(findings)).table().rows]
    assert in_short(findings, rows) == [
        ("size.max", stages[1], "fail", "", "2.0 kB", "1.0 kB"),
        ("accuracy.max_drop", "3 stages", "pass", "", "", ""),
        ("exactness.same", "a.onnx", "pass", "", "", ""),
    ]


def test_what_a_division_left_over_is_no_figure() -> None:
    one = Finding("gap.max_growth", "a", "gap", "pass", "kept", limit=-4.4e-16, unit="points")
    assert GateResult("passed", (one,)).table().rows[0][5] == "0 points"


@pytest.mark.parametrize(
    ("metric", "called"),
    [
        ("f1 (my_tasks:f1)", "metric.min of my_tasks:f1"),
        ("ROC-AUC (roc-auc, positive=b)", "metric.min of ROC-AUC (positive=b)"),
        ("top5 (top5)", "metric.min of top5"),
        ("best F1 (roc-auc, positive=b)", "metric.min of best F1 (roc-auc, positive=b)"),
        ("mIoU", "metric.min of mIoU"),
        ("metric", "metric.min"),
    ],
)
def test_no_row_names_a_figure_twice(metric: str, called: str) -> None:
    assert replace(finding("pass"), rule="metric.min", metric=metric).called == called
