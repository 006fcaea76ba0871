"""Files of ``--json``, run folders and folders of runs are read; anything else is refused."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.report.documents import MACHINE, PICTURE, comparison

from edgeq.deploy.cli import run
from edgeq.deploy.report.documents import figure, parts, read, read_all
from edgeq.deploy.report.findings import judge
from edgeq.deploy.report.sections.history import subjects_of
from edgeq.errors import ArtefactError

if TYPE_CHECKING:
    from pathlib import Path


def write(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))
    return path


def write_run(folder: Path) -> Path:
    manifest: dict[str, Any] = {"schema": "edgeq.run/1", "started": "2026-03-01T10:00:00+00:00"}
    manifest |= {"arguments": ["compare", "a b.onnx"], "machine": MACHINE}
    write(folder / "manifest.json", manifest)
    write(folder / "result.json", {"schema": "edgeq.compare/2", "comparison": comparison()})
    drawings = {"schema": "edgeq.drawings/1", "pictures": {"7": PICTURE}, "titles": {"7": "cat"}}
    write(folder / "drawings.json", drawings)
    return folder


def test_a_file_is_one_document(tmp_path: Path) -> None:
    file = write(tmp_path / "x.json", {"schema": "edgeq.lint/2", "files": []})
    (document,) = read(file)
    assert (document.kind, document.label) == ("lint", "x")
    assert document.created


def test_a_run_knows_its_command_machine_and_pictures(tmp_path: Path) -> None:
    (document,) = read(write_run(tmp_path / "one"))
    assert document.command == "edgeq compare 'a b.onnx'"
    assert document.created == "2026-03-01T10:00:00+00:00"
    assert document.content["machine"] == MACHINE
    assert document.pictures == {7: PICTURE}
    assert document.titles == {7: "cat"}


def test_a_folder_stands_for_the_runs_in_it(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_run(tmp_path / name)
    assert [document.label for document in read(tmp_path)] == ["a", "b"]


def test_results_of_one_name_are_told_apart_by_their_folders(tmp_path: Path) -> None:
    runs = [write_run(tmp_path / name / "run") for name in ("a", "b")]
    assert [each.label for each in read_all(runs)] == ["a/run", "b/run"]
    assert [each.label for each in read_all(runs[:1])] == ["run"]


def test_files_of_one_name_are_two_subjects_and_two_lights(tmp_path: Path) -> None:
    for name in ("a", "b"):
        folder = write_run(tmp_path / name)
        manifest = json.loads((folder / "manifest.json").read_text())
        files = [f"{name}/{stage['artefact']}" for stage in comparison()["stages"]]
        write(folder / "manifest.json", {**manifest, "arguments": ["compare", *files]})
    documents = read(tmp_path)
    assert len(subjects_of(documents)) == 2
    names = [each.partition(" @ ")[0] for each in judge(documents).lights]
    assert {name.partition("/")[0] for name in names} == {"a", "b"}
    alone = judge(documents[:1]).lights
    assert not any("/" in name.partition(" @ ")[0] for name in alone)


@pytest.mark.parametrize("content", ["[1]", "{}", '{"schema": "edgeq.error/2"}', "not JSON", "["])
def test_what_is_no_result_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "x.json").write_text(content)
    with pytest.raises(ArtefactError, match=r"no result|no JSON") as caught:
        read(tmp_path / "x.json")
    assert "--json" in caught.value.hint


def test_a_folder_without_runs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtefactError, match="holds no run"):
        read(tmp_path)


def test_a_demo_is_its_comparisons_and_profiles_too(tmp_path: Path) -> None:
    report = {"comparisons": [["one", comparison()]], "profiles": [{}], "verdict": []}
    file = write(tmp_path / "x.json", {"schema": "edgeq.demo/2", "report": report})
    found = [part for document in read(file) for part in parts(document)]
    assert [(part.kind, part.label, part.inside) for part in found] == [
        ("demo", "x", False),
        ("compare", "one", True),
        ("profile", "x", True),
    ]


def test_figures_are_shares_in_per_cent_or_what_the_task_says() -> None:
    assert figure({"accuracy": {"correct": 1, "total": 4, "low": 0.1, "high": 0.5}}) == (25, 10, 50)
    assert figure({"accuracy": {"correct": 0, "total": 0}}) is None
    assert figure({"score": {"value": 0.5, "percent": True, "interval": [0.4, 0.6]}}) == (
        50,
        40,
        60,
    )
    assert figure({"score": {"value": 3.0, "percent": False, "interval": None}}) == (3, 3, 3)
    assert figure({"score": {"value": None}}) is None


@pytest.mark.parametrize(
    "comparison", ["null", *(f'{{"samples": {n}}}' for n in ("NaN", "1e999", f"1{'0' * 400}"))]
)
@pytest.mark.parametrize("ending", ["html", "md", "csv"])
def test_a_comparison_of_no_known_samples_is_shown(
    tmp_path: Path, comparison: str, ending: str
) -> None:
    result = tmp_path / "x.json"
    result.write_text(f'{{"schema": "edgeq.compare/2", "comparison": {comparison}}}')
    assert run(["report", str(result), "-o", str(tmp_path / f"page.{ending}")]) == 0
