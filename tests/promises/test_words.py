"""Names are the field's own: what a search for quantisation finds.

Words that were ours alone stay out.
"""

from __future__ import annotations

import ast
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

ROOMS = (
    "src",
    "models",
    "training",
    "calibration",
    "exporters",
    "targets",
    "deploy",
    "benchmarks",
    "docs",
)
BANNED = {
    "mend": "hint",
    "mends": "hints",
    "Scene": "LoweringContext",
    "FloatScene": "FloatContext",
    "IslandScene": "FallbackContext",
    "island": "float fallback region",
    "islands": "float fallback regions",
    "Meaning": "SymbolicValue",
    "Pending": "DeferredOp",
    "Opaque": "ShapeValue",
    "Landing": "QuantizedRange or OutputRange",
    "landing": "output_range",
    "Carrier": "storage dtype",
    "carrier": "storage dtype",
    "carriers": "storage dtypes",
    "edge_bits": "boundary_bits",
    "settle": "post_optimizer_step",
    "after_step": "post_optimizer_step",
    "promise": "enforce_bound",
    "Tally": "OverflowStats",
    "tally": "stats",
    "entrance": "input_slot",
    "joined": "fuse_to_lookup, or what it is",
    "expressible": "legalize",
    "blaming": "error_context",
    "own_model": "user_model",
    "own_data": "user_data",
    "own_code": "user_code",
    "Seen": "StageOutput",
    "examine": "compare_detailed",
    "fleet": "worker_pool",
    "clashes": "package_conflicts",
    "strangers": "unknown_keys",
    "Asked": "Requirement",
}
"""Each banned name with what is said instead."""
PARTS = frozenset(("mend", "mends", "island", "islands", "carrier", "carriers", "tally", "tallies"))
"""What no name holds as one of its words either."""
SAID = re.compile(
    r"\bmend(s|ed)?\b|\bcarriers?\b|\bislands?\b|\bedgeq "
    r"predict\b|--edge-bits\b|(?<=export )--weights\b|said otherwise|in an error and not|"
    r"\ba scale a channel|\bunwritten\b",
    re.IGNORECASE,
)
"""What no message and no page says."""
PAGES = ("README.md", "CONTRIBUTING.md", "docs/guide/*.md", "docs/reference/**/*.md")


def names(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every identifier that a module makes or uses, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            yield node.lineno, node.id
        elif isinstance(node, ast.Attribute):
            yield node.lineno, node.attr
        elif isinstance(node, ast.arg):
            yield node.lineno, node.arg
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            yield node.lineno, node.name
        elif isinstance(node, ast.keyword) and node.arg:
            yield node.value.lineno, node.arg


def strings(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every text of a module, documentation included, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


@pytest.fixture(scope="module")
def modules(tracked: tuple[Path, ...], root: Path) -> dict[str, ast.Module]:
    """The modules of the product by their path from the root."""
    paths = {
        path.relative_to(root).as_posix() if path.is_absolute() else path.as_posix(): path
        for path in tracked
        if path.suffix == ".py"
    }
    return {
        name: ast.parse(path.read_text(encoding="utf-8"))
        for name, path in paths.items()
        if name.partition("/")[0] in ROOMS
    }


def test_no_identifier_is_a_private_word(modules: dict[str, ast.Module]) -> None:
    assert len(modules) > 300
    used = [(path, line, name) for path, tree in modules.items() for line, name in names(tree)]
    found = [
        f"{path}:{line}: {name} (say {BANNED[name]})" for path, line, name in used if name in BANNED
    ]
    found += [
        f"{path}:{line}: {name}"
        for path, line, name in used
        if name not in BANNED and PARTS & set(name.lower().split("_"))
    ]
    assert found == []


def test_no_message_says_one(modules: dict[str, ast.Module], root: Path) -> None:
    texts = [
        (f"{path}:{line}", text) for path, tree in modules.items() for line, text in strings(tree)
    ]
    texts += [
        (page.name, page.read_text(encoding="utf-8"))
        for pattern in PAGES
        for page in root.glob(pattern)
    ]
    found = [f"{where}: {match[0]}" for where, text in texts for match in SAID.finditer(text)]
    assert found == []


def test_the_test_finds_what_it_is_for() -> None:
    tree = ast.parse("def f(mend): ...\nraise Error('x', hint='mend it: see edgeq predict')")
    assert [name for _, name in names(tree) if name in BANNED] == ["mend"]
    assert [match[0] for _, text in strings(tree) for match in SAID.finditer(text)] == [
        "mend",
        "edgeq predict",
    ]
