"""The documentation cannot rot.

Its links resolve, and what it names exists, and what exists is named.
"""

from __future__ import annotations

import ast
import re
import runpy
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

import pytest

import edgeq
from edgeq import errors
from edgeq.exporter import EXPORTERS
from edgeq.registry import Registry
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
COMMAND = re.compile(r"(?:^|[`\s/])edgeq ((?:[a-z][a-z-]*)(?: [a-z][a-z-]*)?)(?=[\s`]|$)")
CODE = re.compile(r"```.*?\n(.*?)```|`([^`\n]+)`", re.DOTALL)
UNFINISHED = re.compile(r"\braise NotImplementedError\b|\b(?:TODO|FIXME|XXX)\b")


@pytest.fixture(scope="module")
def pages(tracked: tuple[Path, ...]) -> dict[Path, str]:
    """Every Markdown page with its text."""
    return {path: path.read_text(encoding="utf-8") for path in tracked if path.suffix == ".md"}


@pytest.fixture(scope="module")
def prose(pages: dict[Path, str]) -> str:
    """All pages but the history, as one text."""
    return "\n".join(text for path, text in pages.items() if path.name != "CHANGELOG.md")


@pytest.fixture(scope="module")
def generator(root: Path) -> dict[str, Any]:
    """The script that writes the command line reference."""
    return runpy.run_path(str(root / "docs" / "generate_cli_reference.py"))


@pytest.fixture(scope="module")
def commands(generator: dict[str, Any]) -> set[str]:
    """Every command of the application, as the words after ``edgeq``."""
    from typer.main import get_command

    from edgeq.deploy.cli import app

    return {" ".join(path) for path, _ in generator["commands"](get_command(app))}


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as Markdown viewers make them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_relative_links_resolve(pages: dict[Path, str]) -> None:
    broken = []
    for page, text in pages.items():
        for target in LINK.findall(text):
            file, _, anchor = target.partition("#")
            if "://" in target or target.startswith("mailto:"):
                continue
            goal = (page.parent / file).resolve() if file else page
            if not goal.exists() or (
                anchor and anchor not in anchors(goal.read_text(encoding="utf-8"))
            ):
                broken.append(f"{page.name}: {target}")
    assert broken == []


def test_every_command_in_the_docs_exists(prose: str, commands: set[str]) -> None:
    code = "\n".join(block or inline for block, inline in CODE.findall(prose))
    named = {match.group(1) for match in COMMAND.finditer(code)}
    groups = {command.partition(" ")[0] for command in commands}
    assert named
    assert {words for words in named if words.partition(" ")[0] not in groups} == set()


def test_every_flag_in_the_docs_exists(prose: str, generator: dict[str, Any]) -> None:
    from typer.main import get_command

    from edgeq.deploy.cli import app

    root = get_command(app)
    known: dict[str, set[str]] = {}
    for path, command in generator["commands"](root):
        known.setdefault(path[0], set()).update(options(command))
    lines = re.findall(
        r"^(?:\$ )?edgeq ([a-z]+)( .*)$",
        "\n".join(block or inline for block, inline in CODE.findall(prose)),
        re.MULTILINE,
    )
    used = {
        (command, flag)
        for command, rest in lines
        for flag in re.findall(r"(?<=\s)(--?[a-z][a-z0-9-]*)", rest)
    }
    assert ("demo", "-o") in used
    assert (
        sorted(
            pair
            for pair in used
            if pair[1] not in known.get(pair[0], ()) and pair[1] not in options(root)
        )
        == []
    )


def options(command: Any) -> set[str]:
    """Every spelling of every option of a command."""
    return {
        name
        for parameter in command.params
        for name in (*parameter.opts, *parameter.secondary_opts)
    } | {"--help", "-h"}


def test_every_command_is_in_the_readme(root: Path, commands: set[str]) -> None:
    readme = (root / "README.md").read_text(encoding="utf-8")
    assert [
        command
        for command in sorted(commands)
        if f"edgeq {command.partition(' ')[0]}" not in readme
    ] == []


def test_the_command_reference_is_current(root: Path, generator: dict[str, Any]) -> None:
    written = {
        path.name: path.read_text(encoding="utf-8")
        for path in (root / "docs" / "reference" / "cli").iterdir()
    }
    assert written == generator["render"](), "hint: make docs"


def test_the_operator_reference_is_current(root: Path) -> None:
    page = runpy.run_path(str(root / "docs" / "generate_operators_reference.py"))
    assert (root / "docs" / "reference" / "operators.md").read_text(encoding="utf-8") == page[
        "render"
    ](), "hint: make docs"


def test_the_methods_reference_is_current(root: Path) -> None:
    page = runpy.run_path(str(root / "docs" / "generate_methods_reference.py"))
    assert (root / "docs" / "reference" / "methods.md").read_text(encoding="utf-8") == page[
        "render"
    ](), "hint: make docs"


def test_the_lint_reference_is_current(root: Path) -> None:
    page = runpy.run_path(str(root / "docs" / "generate_lint_reference.py"))
    assert (root / "docs" / "reference" / "lint.md").read_text(encoding="utf-8") == page[
        "render"
    ](), "hint: make docs"


def test_the_devices_reference_is_current(root: Path) -> None:
    page = runpy.run_path(str(root / "docs" / "generate_devices_reference.py"))
    assert (root / "docs" / "reference" / "devices.md").read_text(encoding="utf-8") == page[
        "render"
    ](), "hint: make docs"


def test_the_gate_reference_and_the_schema_of_its_file_are_current(root: Path) -> None:
    page = runpy.run_path(str(root / "docs" / "generate_gate_reference.py"))
    for path, render in ((page["PAGE"], page["render"]), (page["SCHEMA"], page["schema"])):
        assert path.read_text(encoding="utf-8") == render(), "hint: make docs"


def test_exit_codes_in_the_docs_are_those_of_the_errors(root: Path) -> None:
    raised = {
        kind.exit_code
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.EdgeqError | errors.Interrupted)
    }
    text = (root / "docs" / "reference" / "exit-codes.md").read_text(encoding="utf-8")
    table = text[text.index("| code | meaning |") :].split("\n\n")[0]
    assert {int(code) for code in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)} == {0, *raised}


@pytest.mark.parametrize(
    "registry",
    [TARGETS, EXPORTERS, Registry[object]("dataset"), Registry[object]("model")],
    ids=lambda table: table.kind,
)
def test_every_registered_name_is_in_the_docs(registry: Registry[object], prose: str) -> None:
    assert [name for name in registry.names() if f"`{name}`" not in prose] == []


def test_the_changelog_speaks_of_this_version(root: Path) -> None:
    versions = re.findall(
        r"^## \[([^\]]+)\]", (root / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE
    )
    assert versions[0] == edgeq.__version__


def test_product_code_is_finished(modules: tuple[Path, ...]) -> None:
    found = [
        f"{path}: {match.group()}"
        for path in modules
        for match in UNFINISHED.finditer(path.read_text(encoding="utf-8"))
    ]
    assert found == []


def test_what_the_architecture_page_names_is_there(root: Path) -> None:
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([\w/]+\.py)`(?:: `(\w+)`)?", text)
    assert len(named) >= 15
    for file, symbol in named:
        tree = ast.parse((root / file).read_text(encoding="utf-8"))
        names = {
            node.name
            for node in ast.walk(tree)
            if isinstance(node, (ast.FunctionDef, ast.ClassDef))
        }
        assert not symbol or symbol in names, f"{file} has no {symbol}"
    for folder in re.findall(
        r"`((?:src/edgeq|deploy|exporters|targets|training|calibration|models)/[\w/]*)`", text
    ):
        assert (root / folder).exists(), folder


def test_the_walk_of_export_is_short(root: Path) -> None:
    text = (root / "docs" / "architecture.md").read_text(encoding="utf-8")
    walk = text.partition("## The walk of `edgeq export`")[2].partition("\n## ")[0]
    assert 1 <= len(re.findall(r"^\d+\. `", walk, re.MULTILINE)) <= 12


# -- form ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def guide(pages: dict[Path, str], root: Path) -> dict[str, str]:
    """The pages of the guide by name, the index too."""
    return {
        path.name: text for path, text in pages.items() if path.parent == root / "docs" / "guide"
    }


def test_a_page_of_the_guide_is_short_and_says_when_to_use_it(guide: dict[str, str]) -> None:
    assert len(guide) > 10
    for name, text in guide.items():
        assert len(text.split()) < 900, name
        first = text.split("\n\n")[1]
        assert name == "index.md" or first.startswith("Use "), f"{name} begins with when to use it"
        assert name == "index.md" or "\n```" in text[:1000], (
            f"{name} shows something to run at once"
        )


def test_a_decision_has_the_form_of_the_others(root: Path) -> None:
    for path in (root / "docs" / "decisions").glob("0*.md"):
        text = path.read_text(encoding="utf-8")
        assert text.startswith(f"# {int(path.name[:4])}. "), path.name
        assert re.search(
            r"^Status: (accepted|superseded by \[\d+\]\([^)]+\))\.", text, re.MULTILINE
        ), path.name
        parts = re.findall(r"^## (.+)$", text, re.MULTILINE)
        assert [part for part in parts if part != "Evidence"] == [
            "Context",
            "Decision",
            "Consequences",
        ], path.name


@pytest.mark.parametrize(
    "folder", ["guide", "results", "decisions", "reference/api", "reference/cli"]
)
def test_an_index_names_every_page(pages: dict[Path, str], root: Path, folder: str) -> None:
    index = root / "docs" / folder / "index.md"
    others = {path.name for path in pages if path.parent == index.parent} - {"index.md"}
    assert others
    assert others - {target.partition("#")[0] for target in LINK.findall(pages[index])} == set()


def test_prose_has_short_lines(pages: dict[Path, str], root: Path) -> None:
    long = []
    for path, text in pages.items():
        prose = re.sub(
            r"^```.*?^```",
            lambda block: "\n" * block[0].count("\n"),
            text,
            flags=re.MULTILINE | re.DOTALL,
        )
        for number, line in enumerate(prose.splitlines(), 1):
            if (
                len(line) > 100
                and not line.startswith(("|", "#", "!["))
                and " " in line.strip()[:100]
            ):
                long.append(f"{path.relative_to(root)}:{number}")
    assert long == []


def test_every_module_in_the_docs_exists(pages: dict[Path, str], root: Path) -> None:
    named = [
        (path.name, name)
        for path, text in pages.items()
        for name in re.findall(r"\bedgeq(?:\.\w+)+", text)
        if path.name != "CHANGELOG.md"
    ]
    missing = {f"{page}: {name}" for page, name in named if not is_there(root, name)}
    assert sorted(missing) == []


def test_every_benchmark_in_the_docs_exists(prose: str, root: Path) -> None:
    named = set(re.findall(r"python -m (benchmarks[.\w]*)", prose))
    assert len(named) > 15
    assert {
        name for name in named if not (root / f"{name.replace('.', '/')}.py").is_file()
    } == set()


def is_there(root: Path, name: str) -> bool:
    """Whether a dotted name is a module of the product, or something that a module defines."""
    place, parts = root / "src" / "edgeq", name.split(".")[1:]
    while parts and (place / parts[0]).is_dir():
        place /= parts.pop(0)
    if parts and (place / f"{parts[0]}.py").is_file():
        module = place / f"{parts.pop(0)}.py"
    else:
        module = place / "__init__.py"
    words = re.findall(r"\w+", module.read_text(encoding="utf-8"))
    return not parts or parts[0] in words or f"edgeq.{parts[0]}" in entry_points().groups
