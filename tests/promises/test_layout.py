"""The checkout's shape.

A root folder is a sub-package of edgeq under one name only, and a file is one idea.
"""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

MAX_LINES = 500
MAX_MODULES = 15
"""The most in one folder, beside its ``__init__.py``."""
NO_ROOM = {"benchmarks", "contract", "promises", "support"}
"""Folders of tests that are about no one folder of the product."""
HOLDS_PYTHON = {
    "src",
    "tests",
    "benchmarks",
    "docs",
    "examples",
    "release",
    "requirements",
}  # beside the rooms


def test_each_room_is_a_link_to_its_root_folder(root: Path, rooms: tuple[str, ...]) -> None:
    for room in rooms:
        link = root / "src" / "edgeq" / room
        hint = (
            "this checkout lost its symbolic links. Hint: git config core.symlinks true && "
            "git checkout -- src/edgeq"
        )
        assert link.is_symlink(), f"{link}: {hint}"
        assert link.readlink().as_posix() == f"../../{room}"
        assert import_module(f"edgeq.{room}").__name__ == f"edgeq.{room}"


def test_bare_room_names_cannot_be_imported(rooms: tuple[str, ...]) -> None:
    code = f"import importlib.util as u; print([n for n in {rooms!r} if u.find_spec(n)])"
    out = subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert out.stdout.strip() == "[]"


def test_nothing_but_the_designed_folders_holds_python(
    root: Path, rooms: tuple[str, ...], tracked: tuple[Path, ...]
) -> None:
    python = {path.relative_to(root) for path in tracked if path.suffix == ".py"}
    assert {path.parts[0] for path in python} <= HOLDS_PYTHON | set(rooms)


def test_every_room_is_packaged_and_checked(
    rooms: tuple[str, ...], project: dict[str, Any]
) -> None:
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    linked = {f"src/edgeq/{room}" for room in rooms}
    assert set(wheel["only-include"]) == {"src/edgeq", *rooms}
    assert (
        set(wheel["exclude"])
        == linked
        == set(project["tool"]["hatch"]["build"]["targets"]["sdist"]["exclude"])
    )
    assert wheel["sources"] == {"src/edgeq": "edgeq"} | {room: f"edgeq/{room}" for room in rooms}
    assert set(rooms) <= set(project["tool"]["pyright"]["include"])
    assert set(project["tool"]["ruff"]["lint"]["flake8-tidy-imports"]["banned-api"]) == set(rooms)


@pytest.fixture(scope="module")
def tests(root: Path, tracked: tuple[Path, ...]) -> tuple[Path, ...]:
    """Every module of the tests."""
    return tuple(
        path for path in tracked if path.is_relative_to(root / "tests") and path.suffix == ".py"
    )


def test_no_file_is_longer_than_one_idea(
    modules: tuple[Path, ...], tests: tuple[Path, ...]
) -> None:
    lengths = {str(path): len(path.read_text().splitlines()) for path in (*modules, *tests)}
    assert lengths
    assert {path: lines for path, lines in lengths.items() if lines > MAX_LINES} == {}


def test_no_folder_is_a_crowd(modules: tuple[Path, ...], tests: tuple[Path, ...]) -> None:
    counts = Counter(str(path.parent) for path in (*modules, *tests) if path.stem != "__init__")
    assert len(counts) > 50
    assert {folder: count for folder, count in counts.items() if count > MAX_MODULES} == {}


def test_tests_mirror_the_product(root: Path, tests: tuple[Path, ...]) -> None:
    folders = {path.parent.relative_to(root / "tests") for path in tests} - {Path()}
    mirrors = [folder for folder in folders if folder.parts[0] not in NO_ROOM]
    assert mirrors
    missing = [
        f"tests/{folder}"
        for folder in mirrors
        if not (
            root
            / ("src/edgeq" / folder.relative_to("core") if folder.parts[0] == "core" else folder)
        ).is_dir()
    ]
    assert missing == []


def test_every_module_says_why_it_exists(modules: tuple[Path, ...]) -> None:
    assert [
        str(path) for path in modules if not ast.get_docstring(ast.parse(path.read_text()))
    ] == []
