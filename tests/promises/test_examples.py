"""The examples of the documentation run, and the README shows what its commands print."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
API = ROOT / "docs" / "reference" / "api"
PYTHON = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)
TOML = re.compile(r"^```toml\n(.*?)^```", re.MULTILINE | re.DOTALL)
CONSOLE = re.compile(r"^\$ (edgeq .+)\n((?:(?!\$ |```).*\n)+)", re.MULTILINE)
PAGES = sorted(path.name for path in API.glob("*.md") if path.name != "index.md")


def run(path: Path, given: dict[str, Any] | None = None) -> dict[str, Any]:
    """Run the Python blocks of a page one after the other; returns the names that they define."""
    names = dict(given or {})
    blocks = PYTHON.findall(path.read_text(encoding="utf-8"))
    assert blocks, f"{path.name} has no example"
    for block in blocks:
        exec(compile(block, str(path), "exec"), names)  # noqa: S102  # examples are our own
    return names


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Examples write where they are."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_readme_shows_what_it_prints(folder: Path) -> None:
    readme = ROOT / "README.md"
    found = run(readme)["found"]
    assert all(stage.accuracy.fraction > 0.9 for stage in found.stages)
    shown = CONSOLE.findall(readme.read_text(encoding="utf-8"))
    assert len(shown) == 3
    for command, expected in shown:
        program = [sys.executable, "-m", *command.split()]
        environment = os.environ | {"COLUMNS": "100", "NO_COLOR": "1"}
        ended = subprocess.run(
            program, cwd=folder, env=environment, capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr
        printed = iter(stable(ended.stdout))
        assert [line for line in stable(expected) if line not in printed] == []


def stable(output: str) -> list[list[str]]:
    """The words of each line; numbers depend on the processor, and ``…`` stands for lines."""
    plain = re.sub(r"(?<![\w.])[\d.,]+(e[-+]\d+)?", "", output)
    lines = (re.findall(r"[A-Za-z_/@][\w/.@-]*", line) for line in plain.splitlines())
    return [words for words in lines if words]


@pytest.mark.parametrize("page", PAGES)
def test_an_example_of_the_python_api_runs(page: str) -> None:
    run(API / page)


@pytest.mark.parametrize("page", ["train-my-network.md", "quantize-a-trained-network.md"])
def test_an_example_of_the_guide_runs(page: str) -> None:
    import torch

    network = torch.nn.Sequential(
        torch.nn.Conv2d(1, 4, 3), torch.nn.ReLU(), torch.nn.Flatten(), torch.nn.Linear(144, 10)
    )
    images, labels = torch.randn(16, 1, 8, 8), torch.randint(10, (16,))
    given = {"my_network": network, "network": network, "trained_weights": network.state_dict()}
    assert "model" in run(
        ROOT / "docs" / "guide" / page, given | {"images": images, "batches": [(images, labels)]}
    )


@pytest.mark.parametrize("page", ["train-from-the-zoo.md", "choose-a-scheme.md"])
def test_a_recipe_of_the_guide_is_read(page: str, folder: Path) -> None:
    from edgeq.training.recipes.recipe import Recipe

    assert Recipe.from_toml(written(ROOT / "docs" / "guide" / page, folder / "recipe.toml")).model


def test_a_hardware_profile_of_the_guide_is_read(folder: Path) -> None:
    from edgeq.targets.emulator.hardware.profiles import profile_of

    page = ROOT / "docs" / "guide" / "emulate-hardware.md"
    assert profile_of(str(written(page, folder / "mine.toml"))).accumulator_bits == 24


@pytest.mark.parametrize(
    "page",
    ["guide/run-on-a-board.md", "guide/microcontrollers-and-npus.md", "reference/targets.md"],
)
def test_the_boards_of_a_page_are_targets(
    page: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeq.targets.workers.boards import VARIABLE, Boards

    monkeypatch.setenv(VARIABLE, str(written(ROOT / "docs" / page, folder / "boards.toml")))
    assert [Boards().load(name).capabilities.summary for name in Boards().names()]


def written(page: Path, path: Path) -> Path:
    """The first TOML block of a page as a file."""
    path.write_text(TOML.findall(page.read_text(encoding="utf-8"))[0], encoding="utf-8")
    return path


def test_every_public_name_has_a_page() -> None:
    stub = ast.parse((ROOT / "src" / "edgeq" / "__init__.pyi").read_text(encoding="utf-8"))
    public = {
        alias.asname or alias.name
        for node in ast.walk(stub)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert "quantize" in public
    assert {f"{name}.md" for name in public} - set(PAGES) == set()


def test_an_example_is_short() -> None:
    long = [
        page
        for page in PAGES
        for block in PYTHON.findall((API / page).read_text(encoding="utf-8"))
        if block.count("\n") > 14
    ]
    assert long == []
