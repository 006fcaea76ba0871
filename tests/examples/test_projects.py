"""The projects in examples/ run as they are, and what services read of us follows their schemas."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import stat
import subprocess
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import onnx
import pytest
import yaml
from onnx import numpy_helper

from edgeq.deploy.cli import run

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

ROOT = Path(__file__).parents[2]
PROJECTS = sorted(path for path in (ROOT / "examples").iterdir() if path.is_dir())
MODELS = ("digits.onnx", "digits.tflite", "edgeq-gate.toml", "edgeq-baseline.json")
pytest_plugins = ["pytester"]


def read(path: str) -> Any:
    return yaml.safe_load((ROOT / path).read_text())


def schema(name: str) -> Any:
    """A schema that the services publish."""
    folder = resources.files("check_jsonschema").joinpath("builtin_schemas/vendor")
    return json.loads(folder.joinpath(f"{name}.json").read_text("utf-8"))


def test_every_project_holds_the_same_networks() -> None:
    assert [path.name for path in PROJECTS] == ["github-actions", "gitlab", "pre-commit", "pytest"]
    for name in MODELS:
        assert len({(path / name).read_bytes() for path in PROJECTS}) == 1, name


def test_the_networks_pass_their_gate(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """What the GitLab job and the pre-commit hooks run; and edgeq's own gate in its own CI."""
    monkeypatch.chdir(ROOT / "examples" / "gitlab")
    for hook in read(".pre-commit-hooks.yaml"):
        command, *words = shlex.split(hook["entry"])
        assert command == "edgeq"
        if hook.get("pass_filenames") is False:
            assert words == ["gate", "run"]  # the command below, without its files
        else:
            assert run([*words, *MODELS[:2]]) == 0
    _, job = yaml.safe_load_all((ROOT / "templates" / "edgeq-gate.yml").read_text())
    script = job["edgeq-gate"]["script"][1].replace('"$EDGEQ_CONFIG"', "edgeq-gate.toml")
    command, *words = shlex.split(re.sub(r"\$\{[^}]*\}", "", script))
    files = [word for word in words if word.startswith("edgeq-") and word != "edgeq-gate.toml"]
    assert run([str(tmp_path / word) if word in files else word for word in words]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)
    reports = job["edgeq-gate"]["artifacts"]["reports"].values()
    assert {*reports, *job["edgeq-gate"]["artifacts"]["paths"]} == set(files)


def test_the_pytest_project_passes(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    shutil.copytree(ROOT / "examples" / "pytest", pytester.path, dirs_exist_ok=True)
    plugin = "edgeq.deploy.gate.ci.pytest_plugin"
    done = pytester.runpytest_inprocess("-p", plugin, "-p", "no:cacheprovider", "--strict-markers")
    done.assert_outcomes(passed=3)


def test_the_steps_of_the_action_say_that_a_network_has_another_bias(
    tmp_path: Path, action: Callable[..., Mapping[str, str]]
) -> None:
    project = tmp_path / "project"
    shutil.copytree(ROOT / "examples" / "github-actions", project)
    change_a_bias(project / "digits.onnx")
    outputs = action(project, name="on x86", install="false")
    assert (outputs["passed"], outputs["outcome"], outputs["verdict"]) == ("false", "failed", "1")
    assert json.loads(outputs["regressed-metrics"])
    report = Path(outputs["report-path"])
    assert "❌ fail: exactness" in report.read_text()
    assert {path.name for path in report.parent.iterdir()} >= {"junit.xml", "gate.sarif", "run"}
    assert outputs["summary"].startswith("<!-- edgeq-gate -->")
    posted, updated = outputs["comments"].split("---\n")
    assert posted.startswith(
        "--method POST repos/o/r/issues/7/comments\n<!-- edgeq-gate on-x86 -->"
    )
    assert updated.startswith("--method PATCH repos/o/r/issues/comments/42\n")


def change_a_bias(file: Path) -> None:
    model = onnx.load(file)
    kept = next(
        each for each in model.graph.initializer if each.data_type == onnx.TensorProto.INT32
    )
    values = numpy_helper.to_array(kept).copy()
    values[0] += 40
    kept.CopyFrom(numpy_helper.from_array(values, kept.name))
    onnx.save(model, file)


def test_the_action_says_what_cannot_be_judged_and_goes_without_a_comment(
    tmp_path: Path, action: Callable[..., Mapping[str, str]]
) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho 'edgeq: there is no file edgeq-gate.toml' >&2\nexit 2\n")
    python.chmod(0o755)
    outputs = action(tmp_path, install="false", fork="true", python=str(python))
    assert (outputs["passed"], outputs["outcome"], outputs["verdict"]) == ("false", "error", "2")
    assert "nothing could be judged" in outputs["summary"]
    assert "edgeq-gate.toml" in outputs["summary"]
    assert outputs["comments"] == ""
    assert "no comment could be written here" in outputs["log"]


@pytest.mark.slow
def test_the_action_brings_edgeq_into_a_fresh_environment(
    tmp_path: Path, action: Callable[..., Mapping[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PYTHONPATH", raising=False)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "fresh"], check=True)
    python = tmp_path / "fresh" / "bin" / "python"
    outputs = action(ROOT / "examples" / "github-actions", install="true", python=str(python))
    assert (outputs["passed"], outputs["verdict"]) == ("true", "0")
    for words in (["-m", "pip", "install", "pytest"], ["-m", "pytest", "-q"]):
        subprocess.run([python, *words], check=True, cwd=ROOT / "examples" / "pytest")


GH = """#!/usr/bin/env bash
# stands for GitHub's command line: knows one comment after the first was posted
[ -n "$FORK" ] && exit 1
case "$2" in
  --paginate) [ -s "$COMMENTS" ] && echo 42; exit 0 ;;
esac
for word in "$@"; do case "$word" in body=@*) file="${word#body=@}" ;; esac; done
{ [ -s "$COMMENTS" ] && echo ---; echo "${*:2:3}"; cat "$file"; } >> "$COMMENTS"
"""


@pytest.fixture
def action(tmp_path: Path) -> Callable[..., Mapping[str, str]]:
    """Runs the steps of action.yml as scripts, the comment twice, and gives what came of them."""
    place = tmp_path / "runner"
    (place / "bin").mkdir(parents=True)
    (place / "temp").mkdir()
    gh = place / "bin" / "gh"
    gh.write_text(GH)
    gh.chmod(gh.stat().st_mode | stat.S_IXUSR)

    def perform(folder: Path, fork: str = "", **given: str) -> Mapping[str, str]:
        asked = read("action.yml")
        inputs = {name: str(each["default"]) for name, each in asked["inputs"].items()}
        inputs |= {"python": sys.executable, **given}
        files = {name: place / name for name in ("outputs", "summary", "comments")}
        for path in files.values():
            path.write_text("")
        values: dict[str, str] = {}
        log = ""
        steps = asked["runs"]["steps"]
        for step in [*steps[:-1], steps[-2], steps[-1]]:
            if step["name"] == "Install edgeq" and inputs["install"] != "true":
                continue
            environment = {
                **os.environ,
                "PATH": f"{place / 'bin'}:{os.environ['PATH']}",
                "RUNNER_TEMP": str(place / "temp"),
                "GITHUB_OUTPUT": str(files["outputs"]),
                "GITHUB_STEP_SUMMARY": str(files["summary"]),
                "GITHUB_REPOSITORY": "o/r",
                "COMMENTS": str(files["comments"]),
                "FORK": fork,
            }
            for name, text in step.get("env", {}).items():
                environment[name] = filled(text, inputs, values)
            done = subprocess.run(
                ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]],
                cwd=folder,
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
            log += done.stdout + done.stderr
            assert step["name"] == "Verdict" or done.returncode == 0, log
            values |= read_outputs(files["outputs"].read_text())
            values["verdict"] = str(done.returncode)
        told = {name: path.read_text() for name, path in files.items()}
        return {**values, **told, "log": log}

    return perform


def filled(text: str, inputs: Mapping[str, str], outputs: Mapping[str, str]) -> str:
    """An expression of a workflow, as the runner puts it in."""
    known = {
        **{f"inputs.{name}": value for name, value in inputs.items()},
        **{f"steps.gate.outputs.{name}": value for name, value in outputs.items()},
        "github.action_path": str(ROOT),
        "github.event.pull_request.number": "7",
    }
    return re.sub(r"\$\{\{ (.*?) \}\}", lambda found: known[found.group(1)], text)


def read_outputs(text: str) -> dict[str, str]:
    """GITHUB_OUTPUT as the runner reads it; the last value of a name counts."""
    values, lines = {}, iter(text.splitlines())
    for line in lines:
        name, heredoc, end = line.partition("<<")
        if not heredoc:
            name, _, values[name] = line.partition("=")
            continue
        content: list[str] = []
        while (told := next(lines)) != end:
            content.append(told)
        values[name] = "\n".join(content)
    return values


def test_the_action_follows_its_schema_and_puts_no_expression_into_a_script() -> None:
    asked = read("action.yml")
    jsonschema.validate(asked, schema("github-actions"))
    assert list(asked["outputs"]) == [
        *("passed", "outcome", "report-path", "deltas", "regressed-metrics"),
    ]
    for step in asked["runs"]["steps"]:
        assert "${{" not in step["run"]


@pytest.mark.parametrize("name", ["gate", "arm64"])
def test_the_workflows_follow_theirs_and_give_what_the_action_takes(name: str) -> None:
    workflow = read(f"examples/github-actions/.github/workflows/{name}.yml")
    workflow["on"] = workflow.pop(True)  # YAML 1.1 reads the word so
    jsonschema.validate(workflow, schema("github-workflows"))
    inputs = read("action.yml")["inputs"]
    used = [step for step in workflow["jobs"]["gate"]["steps"] if "/edgeq@" in step.get("uses", "")]
    assert len(used) == 1
    assert set(used[0]["with"]) <= set(inputs)


def test_the_component_of_gitlab_follows_its_schema() -> None:
    header, job = yaml.safe_load_all((ROOT / "templates" / "edgeq-gate.yml").read_text())
    asked = {**header["spec"]["inputs"]}
    text = json.dumps(job)
    assert set(re.findall(r"\$\[\[ inputs\.(\w+) \]\]", text)) == set(asked)
    told = re.sub(
        r"\$\[\[ inputs\.(\w+) \]\]", lambda found: str(asked[found.group(1)]["default"]), text
    )
    jsonschema.validate(json.loads(told), schema("gitlab-ci"))
    included = read("examples/gitlab/.gitlab-ci.yml")
    jsonschema.validate(included, schema("gitlab-ci"))
    assert set(included["include"][0]["inputs"]) <= set(asked)


def test_the_hooks_are_those_that_the_example_uses() -> None:
    hooks = {hook["id"]: hook for hook in read(".pre-commit-hooks.yaml")}
    (repository,) = read("examples/pre-commit/.pre-commit-config.yaml")["repos"]
    assert [hook["id"] for hook in repository["hooks"]] == list(hooks)
    for hook in hooks.values():
        assert {"id", "name", "entry", "language", "files"} <= set(hook)
        assert any(re.search(hook["files"], name) for name in MODELS)
