"""Every document of ours has a schema that comes with edgeq, written from the records' types."""

from __future__ import annotations

import json
import runpy
from importlib import resources
from typing import TYPE_CHECKING, Any

import jsonschema
import pytest
from tests.support.checks.schemas import check_document, schema_of, validator_of
from tests.support.runtimes import fake_targets

from edgeq.deploy.cli import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SCHEMAS = sorted(
    path.name.partition(".")[0]
    for path in resources.files("edgeq.deploy").joinpath("schemas").iterdir()
)


@pytest.fixture(scope="module")
def generator(request: pytest.FixtureRequest) -> dict[str, Any]:
    return runpy.run_path(str(request.config.rootpath / "docs" / "generate_schemas.py"))


def test_the_schemas_are_current(generator: dict[str, Any]) -> None:
    rendered = generator["render"]()
    made = {name.partition(".")[0] for name in rendered}
    assert sorted(made | {"edgeq-gate"}) == SCHEMAS  # that of a file of rules is tested beside it
    stale = [
        name for name, text in rendered.items() if json.loads(text) != schema_of(name.split(".")[0])
    ]
    assert stale == [], "make docs writes them again"


def test_a_type_that_json_cannot_hold_is_refused(generator: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="no schema"):
        generator["schema_of"](complex, {})


@pytest.mark.parametrize("name", SCHEMAS)
def test_a_schema_is_one_and_names_no_host(name: str) -> None:
    validator_of(name)
    assert schema_of(name)["$id"].startswith(f"urn:edgeq:{name}:")


def test_an_error_follows_its_schema(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["lint", "nothing.onnx", "--json"]) == 2
    document = json.loads(capsys.readouterr().out)
    check_document(document)
    with pytest.raises(jsonschema.ValidationError):
        check_document({**document, "further": 1})
    with pytest.raises(jsonschema.ValidationError):
        check_document({**document, "error": {"kind": "UsageError"}})


@pytest.mark.parametrize(
    "arguments", [("targets",), ("targets", "devices"), ("operators",), ("models",), ("data",)]
)
def test_listings_follow_theirs(answer: Callable[..., Any], arguments: tuple[str, ...]) -> None:
    answer(*arguments)


def test_a_data_set_follows_its_own(answer: Callable[..., Any]) -> None:
    answer("data", "digits")


def test_a_run_and_its_manifest_follow_theirs(
    fakes: object, answer: Callable[..., Any], tmp_path: Path
) -> None:
    file = fake_targets.artefact(tmp_path, "onnx")
    folder = tmp_path / "run"
    asked = ("--data", "fake", "--target", "ort-cpu", "--target", "tflite")
    document = answer("compare", file, *asked[:4], "--run", folder)
    assert json.loads((folder / "result.json").read_text()) == document
    check_document(json.loads((folder / "manifest.json").read_text()))
    answer("runs", "compare", folder, folder)
    answer("runs", "prune", folder, "--keep", 0)
    answer("profile", file, "--target", "ort-cpu", "--seconds", 0.01)
