"""The gate on figures other than top-1 accuracy."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx.parser
import pytest
from tests.support.runtimes import fake_targets

import edgeq
from edgeq.deploy.evaluation.chain import chain
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.deploy.gate.baseline import require_measured
from edgeq.deploy.gate.judges.fall import drop_between
from edgeq.errors import Inconclusive, UsageError
from edgeq.results import Score

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

gate = partial(edgeq.gate, task="roc-auc", task_options={"positive": "b"}, targets=["ort-cpu-ref"])


@pytest.mark.usefixtures("fakes")
def test_scores_are_judged_by_a_paired_bootstrap(tmp_path: Path) -> None:
    source, base = fake_targets.source(), tmp_path / "baseline.json"
    file = fake_targets.artefact(tmp_path, "onnx")
    assert gate([file], source, base, update=True).outcome == "updated"
    (same,) = gate([file], source, base).findings
    assert (same.outcome, same.baseline, same.measured) == ("pass", 100, 100)
    assert (same.interval, same.limit) == (None, 99.5)  # no sample shows a change
    fake_targets.artefact(tmp_path, "onnx", wrong=20)
    rules = {"accuracy": {"max_drop": 1, "equivalent_within": 5}}
    worse, apart = gate([file], source, base, rules=rules).findings
    assert (worse.outcome, apart.outcome) == ("fail", "fail")
    assert worse.interval is not None
    assert worse.interval[1] < 99
    assert "points of ROC-AUC (positive=b)" in worse.message
    (other,) = edgeq.gate([file], source, base, targets=["ort-cpu-ref"]).findings
    assert "the baseline holds ROC-AUC (positive=b), and this run measures" in other.message


@pytest.mark.parametrize(
    ("then", "now", "higher", "percent", "drop"),
    [
        (0.8, 0.7, True, True, 10),
        (0.2, 0.3, False, True, 10),
        (2.0, 3.0, False, False, 50),
        (2.0, 3.0, True, False, -50),
        (0.0, 0.0, False, False, 0),
    ],
)
def test_a_drop_is_in_points_or_per_cent_of_an_error(
    then: float, now: float, *, higher: bool, percent: bool, drop: float
) -> None:
    score = Score("made-up", now, 1, higher_is_better=higher, percent=percent)
    assert drop_between(then, now, score) == pytest.approx(drop)


@pytest.mark.parametrize("then", [-0.5, 0.0, 0.2])
@pytest.mark.parametrize("percent", [True, False])
@pytest.mark.parametrize("higher", [True, False])
@pytest.mark.parametrize("change", [-0.1, 0.1])
def test_what_is_worse_is_a_drop(
    then: float, change: float, *, percent: bool, higher: bool
) -> None:
    score = Score("made-up", then + change, 1, higher_is_better=higher, percent=percent)
    assert (drop_between(then, then + change, score) > 0) == ((change < 0) == higher)


@pytest.mark.usefixtures("fakes")
def test_a_score_that_is_no_number_is_no_baseline(tmp_path: Path) -> None:
    """ROC-AUC where no sample is of the class that is to be found."""
    source = fake_targets.source()
    alone = replace(source, test=source.test.take(np.array([0, 4, 8])))
    files = [fake_targets.artefact(tmp_path, "onnx")]
    task = AskedTask("roc-auc", {"positive": "b"})
    observed = compare(chain(files, ["ort-cpu-ref"]), alone, task=task)
    with pytest.raises(UsageError, match="has no ROC-AUC on these samples"):
        require_measured(observed)


def meters(folder: Path, monkeypatch: pytest.MonkeyPatch, body: str) -> str:
    """The name of a function that makes a meter."""
    name = f"meters_{folder.name.replace('-', '_')}"
    (folder / f"{name}.py").write_text(
        "class Mine:\n"
        "    higher_is_better = False\n"
        "    def __init__(self):\n        self.errors = []\n"
        "    def update(self, outputs, labels, columns):\n"
        "        answers = next(iter(outputs.values())).argmax(1)\n"
        "        self.errors += [1.0 + abs(int(a) - int(b)) for a, b in zip(answers, labels)]\n"
        f"{body}"
        "def make(data):\n    return Mine()\n"
        "shared = Mine()\ndef one(data):\n    return shared\n"
    )
    monkeypatch.syspath_prepend(folder)
    return name


MEAN = "    def result(self):\n        return sum(self.errors) / len(self.errors)\n"
FORTY = """\
    def result(self):
        if len(self.errors) != 40:
            raise ValueError("40 samples")
        return 1.0
"""
judge = partial(edgeq.gate, targets=["ort-cpu-ref"])


@pytest.mark.usefixtures("fakes")
def test_every_figure_of_any_task_is_worse_equivalent_or_undecided(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Beside accuracy: a further figure of a task, and one of a meter of the user's own."""
    source, base = fake_targets.source(), tmp_path / "baseline.json"
    mine = f"{meters(tmp_path, monkeypatch, MEAN)}:make"
    limits = {"max_drop": 10, "equivalent_within": 10}
    roc = {"task": "roc-auc", "task_options": ["positive=b"], **limits}
    metric = [{"task": mine, **limits}, roc, {**roc, "name": "best F1"}]
    file = fake_targets.artefact(tmp_path, "onnx")
    gate = partial(judge, [file], source, base, rules={"metric": metric})
    gate(update=True)
    found: dict[int, list[tuple[str, str]]] = {}
    for wrong in (0, 3, 20):
        fake_targets.artefact(tmp_path, "onnx", wrong=wrong)
        result = gate()
        found[wrong] = [(each.metric, each.outcome) for each in result.findings]
    names = [
        "make " + f"({mine})",
        "ROC-AUC (roc-auc, positive=b)",
        "best F1 (roc-auc, positive=b)",
    ]
    called = [name for name in names for _ in range(2)]
    assert [name for name, _ in found[20]] == called
    assert {outcome for _, outcome in found[20]} == {"fail"}
    assert {outcome for _, outcome in found[0]} == {"pass"}
    assert "inconclusive" in {outcome for _, outcome in found[3]}
    worse = result.findings[0]
    assert [row[0] for row in result.table().rows[::2]] == [
        f"metric.max_drop of {n}" for n in (mine, "ROC-AUC (positive=b)", names[2])
    ]
    assert worse.interval is not None
    assert worse.limit == pytest.approx(1.1)
    assert worse.interval[0] > 1.1
    assert f"is worse by 75.00 % of make ({mine}): 1 in the baseline, 1.75 now" in worse.message
    changed = {each.metric: each.share for each in result.deltas if each.stage.endswith("-ref")}
    assert changed[names[1]]
    assert not changed[names[0]]
    with pytest.raises(Inconclusive, match=r"baseline's 100\.00 % of ROC-AUC"):
        gate(update=True)


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(("value", "told"), [("nan", "NaN"), ("inf", "infinite")])
def test_a_judged_figure_that_is_no_number_is_neither_judged_nor_accepted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, told: str
) -> None:
    source, base = fake_targets.source(), tmp_path / "baseline.json"
    body = "    def result(self):\n        import os\n        return float(os.environ['VALUE'])\n"
    mine = f"{meters(tmp_path, monkeypatch, body)}:make"
    file = fake_targets.artefact(tmp_path, "onnx")
    rules = {"metric": {"task": mine, "max_drop": 1, "min": 0}}
    gate = partial(judge, [file], source, base, rules=rules)
    match = rf"make \({mine}\) is {told} on these samples"
    monkeypatch.setenv("VALUE", value)
    with pytest.raises(Inconclusive, match=match):
        gate(update=True)
    assert not base.exists()
    monkeypatch.setenv("VALUE", "1")
    gate(update=True)
    held = base.read_bytes()
    monkeypatch.setenv("VALUE", value)
    assert {each.outcome for each in gate().findings} == {"not-run"}
    assert f"is {told} on these samples" in gate().findings[0].message
    with pytest.raises(Inconclusive, match=match):
        gate(update=True)
    assert base.read_bytes() == held


@pytest.mark.usefixtures("fakes")
def test_a_baseline_without_its_resamples_never_passes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, base = fake_targets.source(), tmp_path / "baseline.json"
    mine = f"{meters(tmp_path, monkeypatch, MEAN)}:make"
    gate = partial(judge, [fake_targets.artefact(tmp_path, "onnx")], source, base)
    gate(update=True)
    rules = {"metric": {"task": mine, "max_drop": 1, "min": 2}}
    first, least = gate(rules=rules).findings
    assert (first.outcome, least.outcome) == ("not-run", "pass")
    assert f"the baseline holds no make ({mine})" in first.message
    gate(update=True, rules=rules)
    content = json.loads(base.read_text())
    (stage,) = content["stages"].values()
    del stage["further_drawn"]
    base.write_text(json.dumps(content))
    first, _ = gate(rules=rules).findings
    assert first.outcome == "not-run"
    assert "on 0 resamples, and this run has it on 200" in first.message
    assert "edgeq gate --update" in first.next_command or "--update" in first.next_command
    assert "figures on 200 resamples, and 0 before" in gate(update=True, rules=rules).remarks[-1]


@pytest.mark.usefixtures("fakes")
@pytest.mark.parametrize(
    ("body", "function", "what"),
    [
        (MEAN, "one", "returns the same meter each time"),
        (
            FORTY,
            "make",
            "on samples that are drawn again, .*fails with ValueError: 40 samples",
        ),
    ],
)
def test_what_cannot_be_drawn_again_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, function: str, what: str
) -> None:
    name = f"{meters(tmp_path, monkeypatch, body)}:{function}"
    file = fake_targets.artefact(tmp_path, "onnx")
    with pytest.raises(UsageError, match=what) as caught:
        judge([file], fake_targets.source(), tmp_path / "b.json", task=name, update=True)
    assert name in caught.value.what
    assert caught.value.hint


@pytest.mark.usefixtures("fakes")
def test_a_gap_of_scores_grows_with_an_interval(tmp_path: Path) -> None:
    source, base = fake_targets.source(), tmp_path / "baseline.json"
    files = [fake_targets.artefact(tmp_path, kind) for kind in ("checkpoint", "onnx")]
    asked = partial(
        edgeq.gate, files, source, base, targets=["torch", "ort-cpu-ref"], task="roc-auc"
    )
    rules = {"gap": {"max_growth": 1}}
    asked(update=True)
    outcomes = []
    for wrong in (0, 4, 40):
        fake_targets.artefact(tmp_path, "onnx", wrong=wrong)
        (found,) = asked(rules=rules).findings
        outcomes.append(found.outcome)
    assert outcomes == ["pass", "inconclusive", "fail"]
    assert found.interval is not None


def test_further_figures_keep_their_own_direction_and_unit() -> None:
    score = Score(
        "ROC-AUC",
        0.9,
        10,
        further={"best F1": 0.8, "false accepts per hour": 3.0},
        plain=("false accepts per hour",),
        opposite=("false accepts per hour",),
    )
    found = score.figures()
    assert found["ROC-AUC"] is score
    assert (found["best F1"].higher_is_better, found["best F1"].percent) == (True, True)
    alarms = found["false accepts per hour"]
    assert (alarms.higher_is_better, alarms.percent, alarms.value) == (False, False, 3.0)
    assert drop_between(2.0, 3.0, alarms) == pytest.approx(50)


@pytest.mark.usefixtures("fakes")
def test_the_worst_slice_and_class_of_any_figure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of sums over samples, of a meter of the user's own, and of what one class alone has not."""
    source, base = fake_targets.source(120), tmp_path / "baseline.json"
    light = np.array(["day", "night"])[np.arange(120) // 60]
    source = replace(source, test=replace(source.test, columns={"light": light}))
    mine = f"{meters(tmp_path, monkeypatch, MEAN)}:make"
    worst = {"worst_class_max_drop": 10, "worst_slice_max_drop": 10}
    metric = [
        {"task": mine, **worst},
        {"task": "roc-auc", "task_options": ["positive=b"], **worst},
        {"task": "top5", **worst},
    ]
    file = fake_targets.artefact(tmp_path, "onnx")
    gate = partial(judge, [file], source, base, rules={"metric": metric})
    gate(update=True)
    told = {}
    for wrong in (0, 1, 50):
        fake_targets.artefact(tmp_path, "onnx", wrong=wrong)
        told[wrong] = gate().findings
    outcomes = {wrong: [each.outcome for each in found] for wrong, found in told.items()}
    assert outcomes[0] == outcomes[1] == ["pass", "pass", "not-run", "pass", "pass", "pass"]
    assert outcomes[50] == ["fail", "fail", "not-run", "fail", "pass", "pass"]
    by_class, by_slice, alone, roc = told[50][:4]
    assert by_slice.metric == f"make ({mine}) of slice light day"
    assert "the worst slice, light day, is worse by 123.33 % on 60 samples" in by_slice.message
    assert by_class.metric.startswith(f"make ({mine}) of class ")
    assert "no class of these samples can be judged" in alone.message
    assert roc.metric == "ROC-AUC (roc-auc, positive=b) of slice light day"
    content = json.loads(base.read_text())
    (stage,) = content["stages"].values()
    assert stage["parts"].pop("ROC-AUC (roc-auc, positive=b) of slice light day") == 1.0
    base.write_text(json.dumps(content))
    lacking = gate().findings[3]
    assert lacking.outcome == "not-run"
    assert "the baseline holds no ROC-AUC" in lacking.message
    assert lacking.next_command.startswith("write the baseline again with ")


def test_a_rule_with_a_task_of_its_own_needs_no_accuracy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, refusal: Callable[..., str]
) -> None:
    """A network of one output has none; a rule without a task is refused with the way out."""
    monkeypatch.chdir(tmp_path)
    text = '<ir_version: 8, opset_import: ["": 11]> one (float[n, 4] x) => (float[n, 1] y) '
    model = onnx.parser.parse_model(text + "{ y = ReduceSum <axes = [1]> (x) }")
    onnx.save(model, "net.onnx")
    values = np.random.default_rng(0).normal(size=(60, 4)).astype(np.float32)
    labels = (values.sum(1) > 0.2).astype(np.int64)
    np.savez("data.npz", x=values, y=labels)
    head = 'artefacts = ["net.onnx"]\ndata = "data.npz"\ntargets = ["ort-cpu"]\n'
    head += 'baseline = "b.json"\n'
    rule = '[rules]\nmetric = { task = "roc-auc", max_drop = 1 }\n'
    rules = tmp_path / "edgeq-gate.toml"
    rules.write_text(head + rule + "accuracy = { max_drop = 1 }\n")
    assert 'task that judges it with task = "NAME"' in refusal("gate", "--update")
    rules.write_text(head + rule)
    assert edgeq.gate(update=True).outcome == "updated"
    (found,) = edgeq.gate().findings
    assert (found.outcome, found.measured) == ("pass", 100)
    onnx.save(onnx.parser.parse_model(text + "{ y = ReduceMin <axes = [1]> (x) }"), "net.onnx")
    (found,) = edgeq.gate().findings
    assert found.outcome == "fail"
