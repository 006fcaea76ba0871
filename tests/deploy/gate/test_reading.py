"""edgeq-gate.toml: what is read, and how every fault is told."""

from __future__ import annotations

import datetime as dt
import json
import tomllib
from importlib import resources
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from edgeq.deploy.gate.judges import JUDGES
from edgeq.deploy.gate.reading import lines_of, read_config, read_rules, rules_changed
from edgeq.deploy.gate.rules import RULES
from edgeq.errors import ArtefactError

WHOLE = """\
artefacts = ["out/net.onnx"]
data = "digits"
samples = 100
targets = ["ort-cpu"]
preprocessing = { mean = [0.5], std = [0.5] }

[statistics]
alpha = 0.01

[rules]
lint = "clean"
accuracy = { max_drop = 1, stages = ["*.onnx @ *"] }
exactness = true

[[expect]]
rule = "accuracy.max_drop"
reason = "issue 12"
until = 2027-01-31
"""


def written(folder: Path, text: str) -> Path:
    path = folder / "edgeq-gate.toml"
    path.write_text(text)
    return path


def test_a_whole_file(tmp_path: Path) -> None:
    found = read_config(written(tmp_path, WHOLE))
    assert found.artefacts == (tmp_path / "out/net.onnx",)
    assert found.baseline == tmp_path / "edgeq-baseline.json"
    assert (found.samples, found.levels.alpha, found.levels.power) == (100, 0.01, 0.8)
    assert found.preprocessing.settings == {"mean": [0.5], "std": [0.5]}
    assert [(rule.name, rule.line) for rule in found.rules] == [
        ("accuracy", 12),
        ("exactness", 13),
        ("lint", 11),
    ]
    assert found.rules[0].number("max_drop") == 1
    assert found.rules[0].covers("net.onnx @ ort-cpu")
    assert not found.rules[0].covers("net.tflite @ tflite")
    assert found.rules[2].words("fail_on") == ("error", "warning")
    (known,) = found.expected
    assert (known.stage, known.until, known.line) == ("*", dt.date(2027, 1, 31), 15)


@pytest.mark.parametrize(
    ("old", "new", "what", "hint"),
    [
        ("samples", "sample", "line 3: no key is called 'sample'", "did you mean samples?"),
        ("max_drop = 1", "max_dorp = 1", "line 12: no setting of accuracy", "max_drop?"),
        ("exactness", "exactnes", "line 13: no rule is called 'exactnes'", "exactness?"),
        ("100", '"100"', "line 3: samples = '100' is not a whole number", "give a whole"),
        ("100", "0", "line 3: samples = 0 leaves nothing", "1 or more"),
        ("100", '"first:0"', "line 3: samples = 'first:0' leaves nothing", "1 or more"),
        ("100", '"last:9"', "line 3: samples = 'last:9' is not a whole number", '"first:200"'),
        ("100", "true", "line 3: samples = true is not a whole number", "give"),
        ("max_drop = 1", "max_drop = -1", "line 12: max_drop = -1 is not a number from 0", "give"),
        ("max_drop = 1", "max_drop = nan", "line 12: max_drop = nan is not a number", "give"),
        ("{ max_drop = 1, ", "{ ", "line 12: accuracy says nothing", "set max_drop"),
        ('"clean"', '"clear"', "line 11: lint = 'clear' is no rule", "write 'clean', or a table"),
        ("alpha = 0.01", "alpha = 0", "line 8: alpha = 0", "more than 0"),
        ("alpha", "aplha", "line 8: no key of [statistics] is called 'aplha'", "alpha?"),
        ("accuracy.max_drop", "acuracy", "line 16: no rule is called 'acuracy'", "accuracy?"),
        ("accuracy.max_drop", "accuracy.max_drp", "line 16: no setting of accuracy", "max_drop?"),
        ('lint = "clean"', "lint = []", "line 11: lint = [] holds no rule", "leave lint out"),
        (
            'lint = "clean"',
            'metric = { name = "size_bytes", max_drop = 1 }',
            "line 11: size_bytes is no mean over samples",
            "judge it by size = { max = ... }",
        ),
        ('lint = "clean"', "metric = { min = 1 }", "line 11: the rule metric names no", "F1"),
        ('lint = "clean"', 'metric = { name = "F1" }', "line 11: the rule metric has no", "min"),
        (
            'lint = "clean"',
            'metric = { task = "roc-auc", min = 1, task_options = ["b"] }',
            "the task option 'b' has no value",
            "KEY=VALUE",
        ),
        ("2027-01-31", '"soon"', "line 18: until = 'soon' is not a date", "2027-01-31"),
        ('reason = "issue 12"\n', "", "line 15: an expected failure has no reason", "add reason"),
        ("mean =", "men =", "line 5: no key of [preprocessing] is called 'men'", "mean?"),
        ('data = "digits"\n', "", "has no data", "edgeq gate init"),
        ("[rules]", "[rules", "is no TOML", "write lines"),
    ],
)
def test_faults_are_told_with_their_line_and_the_nearest_word(
    tmp_path: Path, old: str, new: str, what: str, hint: str
) -> None:
    assert old in WHOLE
    with pytest.raises(ArtefactError) as caught:
        read_config(written(tmp_path, WHOLE.replace(old, new, 1)))
    assert what in caught.value.what
    assert hint in caught.value.hint


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError) as caught:
        read_config(tmp_path / "edgeq-gate.toml")
    assert "edgeq gate init" in caught.value.hint


def test_lines_of_tables_lists_and_quoted_keys() -> None:
    text = 'a = [\n  "b",\n]\n[c.d]\n"e f" = 1\ng.h = 2\n[[i]]\nj = 1\n[[i]]\nj = 2\n'
    assert lines_of(text) == {
        ("a",): 1,
        ("c", "d"): 4,
        ("c", "d", "e f"): 5,
        ("c", "d", "g", "h"): 6,
        ("i", "0"): 7,
        ("i", "0", "j"): 8,
        ("i", "1"): 9,
        ("i", "1", "j"): 10,
    }


def test_the_file_of_the_guide_is_one(tmp_path: Path) -> None:
    root = Path(__file__).parents[3]
    guide = (root / "docs" / "guide" / "gate-in-ci.md").read_text()
    text = guide.partition("```toml\n")[2].partition("```")[0]
    assert len(read_config(written(tmp_path, text)).rules) == 14


def test_the_schema_for_editors_takes_what_the_gate_takes() -> None:
    text = (resources.files("edgeq.deploy") / "schemas" / "edgeq-gate.schema.json").read_text()
    check = jsonschema.Draft202012Validator(json.loads(text)).is_valid

    def read(content: str) -> Any:
        return json.loads(json.dumps(tomllib.loads(content), default=str))

    assert check(read(WHOLE))
    assert check(read(WHOLE.replace("exactness = true", "metric = [{ name = 'MAE', min = 1 }]")))
    for old, new in (("max_drop = 1", "max_dorp = 1"), ("samples", "sample"), ("100", '"100"')):
        assert not check(read(WHOLE.replace(old, new)))


def test_every_rule_has_a_judge() -> None:
    assert list(JUDGES) == list(RULES)


def test_rules_from_python_are_checked_alike() -> None:
    (rule,) = read_rules({"saturation": "none"})
    assert rule.settings == {"none": True}
    with pytest.raises(ArtefactError, match="rules: no rule is called 'size_'"):
        read_rules({"size_": {"max": 1}})


def test_a_rule_may_stand_several_times() -> None:
    ranked = {"task": "roc-auc", "task_options": ["positive=b"], "min": 0.9}
    one, other = read_rules({"metric": [{"name": "MAE", "max_drop": 2}, ranked]})
    assert (one.text("name"), one.task.name, one.task.label) == ("MAE", "", "")
    assert (other.task.label, other.number("min")) == ("roc-auc, positive=b", 0.9)


def test_several_rules_of_one_name_have_lines_of_their_own(tmp_path: Path) -> None:
    tables = '[[rules.metric]]\nname = "MAE"\nmin = 1\n[[rules.metric]]\nname = "F1"\nmin = 1\n'
    found = read_config(written(tmp_path, WHOLE.replace("[[expect]]", f"{tables}[[expect]]")))
    assert [rule.line for rule in found.rules if rule.name == "metric"] == [15, 18]


def test_changed_rules_are_told(tmp_path: Path) -> None:
    config = read_config(written(tmp_path, WHOLE))
    earlier = WHOLE.replace("max_drop = 1,", "max_drop = 0.5, min = 0.9,")
    assert list(rules_changed(config, earlier.encode())) == [
        "the rule accuracy.max_drop was 0.5, and is 1",
        "the rule accuracy.min was 0.9, and is absent",
    ]
    assert list(rules_changed(config, WHOLE.replace(', stages = ["*.onnx @ *"]', "").encode())) == [
        "the rule accuracy.stages was absent, and is ['*.onnx @ *']"
    ]
    assert "cannot be read" in next(rules_changed(config, b"["))
