"""A run is kept as a folder with a manifest, and listed, compared and pruned."""

from __future__ import annotations

import hashlib
import json
import shlex
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.runtimes import fake_targets

from edgeq.deploy import console
from edgeq.deploy.cli import run
from edgeq.deploy.runs.figures import compare_runs
from edgeq.deploy.runs.folder import Run, find_runs
from edgeq.deploy.runs.manifest import Manifest, inputs_of, read_manifest
from edgeq.errors import ArtefactError, TargetError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def kept(fakes: object, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A run of compare on fake targets."""
    file = fake_targets.artefact(tmp_path, "onnx")
    folder = tmp_path / "runs" / "first"
    arguments = ["compare", str(file), "--data", "fake", "--target", "ort-cpu", "--run"]
    assert run([*arguments, str(folder)]) == 0
    assert f"kept in {folder}" in capsys.readouterr().err
    return folder


def write_run(folder: Path, started: str, document: dict[str, Any], command: str = "x") -> Path:
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(document))
    manifest = {
        "schema": "edgeq.run/1",
        "command": command,
        "arguments": ["x"],
        "started": started,
        "seconds": 1.5,
        "exit_code": 1,
        "error": "",
        "revision": "",
        "edgeq_version": "0",
        "machine": {"cpu": "one"},
        "inputs": [],
        "files": [{"name": "result.json", "sha256": "", "size_bytes": 1}],
    }
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return folder


def test_a_folder_holds_what_was_run_and_what_came_of_it(kept: Path) -> None:
    manifest = read_manifest(kept)
    assert (manifest.command, manifest.exit_code, manifest.outcome) == ("compare", 0, "ok")
    assert manifest.arguments[0] == "compare"
    (given,) = manifest.inputs
    content = (kept.parent.parent / given.name.rpartition("/")[2]).read_bytes()
    assert given.sha256 == hashlib.sha256(content).hexdigest()
    result, _ = manifest.files
    written = (kept / "result.json").read_bytes()
    assert (result.name, result.sha256) == ("result.json", hashlib.sha256(written).hexdigest())
    document = json.loads(written)
    assert document["schema"] == "edgeq.compare/2"
    assert document["error"] is None
    assert document["comparison"]["stages"][0]["target"] == "ort-cpu"


def test_a_folder_that_is_there_is_refused_before_any_work(
    kept: Path, refusal: Callable[..., str]
) -> None:
    before = (kept / "result.json").read_bytes()
    told = refusal("compare", "nothing.onnx", "--data", "digits", "--run", kept)
    assert "a folder of its own" in told
    assert (kept / "result.json").read_bytes() == before


def test_what_was_refused_leaves_no_folder(refusal: Callable[..., str], tmp_path: Path) -> None:
    refusal("lint", tmp_path / "nothing.onnx", "--run", tmp_path / "run")
    assert list(tmp_path.iterdir()) == []


def test_a_failed_command_is_kept_with_its_error(
    fakes: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_failures: object) -> None:
        console.attach("extra.txt", b"beside it")
        raise TargetError("it crashed", hint="try another")

    monkeypatch.setattr("edgeq.results.require_all", fail)
    file = fake_targets.artefact(tmp_path, "onnx")
    folder = tmp_path / "run"
    arguments = ["compare", file, "--data", "fake", "--target", "ort-cpu", "--run", folder]
    assert run([*map(str, arguments)]) == 4
    manifest = read_manifest(folder)
    assert (manifest.outcome, manifest.error) == ("not run", "it crashed")
    assert [each.name for each in manifest.files] == ["result.json", "drawings.json", "extra.txt"]
    assert (folder / "extra.txt").read_bytes() == b"beside it"
    assert Run.read(folder).document()["error"] == {
        "kind": "TargetError",
        "message": "it crashed",
        "hint": "try another",
        "exit_code": 4,
    }


def test_runs_are_listed_oldest_first(
    tmp_path: Path, answer: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    write_run(tmp_path / "b", "2026-01-02T00:00:00+00:00", {})
    write_run(tmp_path / "deep" / "a", "2026-01-01T00:00:00+00:00", {})
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "manifest.json").write_text("{}")
    found = answer("runs", tmp_path)["runs"]
    assert [each["folder"][-1] for each in found] == ["a", "b"]
    assert run(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "failed" in out
    assert out.splitlines()[-1].startswith("next: edgeq runs compare ")
    write_run(tmp_path / "c", "2026-01-03T00:00:00+00:00", {}, command="profile")
    assert run(["runs", str(tmp_path)]) == 0
    told = shlex.split(capsys.readouterr().out.splitlines()[-1])[3:]
    assert told == ["compare", str(tmp_path / "deep" / "a"), str(tmp_path / "b")]
    assert run(["runs", str(tmp_path / "c")]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("next: edgeq report ")


def test_figures_are_compared_by_name_and_not_by_place(
    tmp_path: Path, answer: Callable[..., Any]
) -> None:
    stages = [{"artefact": "a", "target": "t", "size": 3}, {"artefact": "b", "target": "t"}]
    first = write_run(tmp_path / "a", "2026-01-01", {"stages": stages, "seconds": 1, "same": 1})
    swapped = [{"artefact": "b", "target": "t"}, {"artefact": "a", "target": "t", "size": 4.5}]
    second = write_run(tmp_path / "b", "2026-01-02", {"stages": swapped, "seconds": 2, "same": 1})
    found = compare_runs([Run.read(first), Run.read(second)])
    assert [(each.name, each.values) for each in found.different] == [
        ("stages/a @ t/size", (3, 4.5))
    ]
    assert found.table().title == "1 of 2 figures differs"
    document = answer("runs", "compare", first, second)
    assert document["comparison"]["same_machine"]
    other = write_run(tmp_path / "c", "2026-01-03", {"stages": []}, "profile")
    with pytest.raises(UsageError, match="different commands: x, profile"):
        compare_runs([Run.read(first), Run.read(other)])


def test_runs_are_pruned_only_when_told(
    tmp_path: Path, refusal: Callable[..., str], capsys: pytest.CaptureFixture[str]
) -> None:
    for day in (1, 2, 3):
        write_run(tmp_path / f"r{day}", f"2026-01-0{day}T00:00:00+00:00", {})
    write_run(tmp_path / "other", "2020-01-01", {}, command="y")
    assert "which runs may go" in refusal("runs", "prune", tmp_path)
    assert run(["runs", "prune", str(tmp_path), "--keep", "1"]) == 0
    out = capsys.readouterr().out
    assert [name in out for name in ("r1", "r2", "r3", "other")] == [True, True, False, False]
    assert out.splitlines()[-1] == f"next: edgeq runs prune {tmp_path} --keep 1 --delete"
    assert len(find_runs([tmp_path])) == 4
    (tmp_path / "r2" / "notes.txt").write_text("mine")
    told = refusal("runs", "prune", tmp_path, "--keep", 1, "--delete")
    assert "'notes.txt', which the run did not write" in told
    assert sorted(path.name for path in tmp_path.iterdir()) == ["other", "r2", "r3"]
    assert run(["runs", "prune", str(tmp_path), "--older-than", "1"]) == 0
    assert "other" in capsys.readouterr().out


@pytest.mark.parametrize(
    "content", ["[]", "{", "{}", '{"schema": "edgeq.run/1"}', '{"schema": "other"}']
)
def test_a_broken_manifest_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(ArtefactError, match="no manifest of a run"):
        find_runs([tmp_path])


def test_a_field_of_another_type_is_refused(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", "2026-01-01", {})
    document = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps({**document, "seconds": "long"}))
    with pytest.raises(ArtefactError, match="no manifest"):
        Run.read(folder)


def test_inputs_are_the_files_that_are_named(tmp_path: Path) -> None:
    file = tmp_path / "a.onnx"
    file.write_bytes(b"x")
    arguments = ["lint", str(file), f"--sarif={file}", "--flag", str(tmp_path), "n" * 5000]
    assert [each.name for each in inputs_of(arguments)] == [str(file)]


def test_an_unknown_exit_code_is_a_word_too() -> None:
    told = Manifest("x", (), "", 0.0, 70, "", "", "", {}, (), ())
    assert told.outcome == "broken"
