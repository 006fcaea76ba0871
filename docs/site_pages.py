"""The site's pages from the repository's root, and a navigation in the order of the indexes."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files

DOCS = Path(__file__).parent
ROOT_PAGES = {
    "README": "index.md",
    "CONTRIBUTING": "contributing.md",
    "CHANGELOG": "changelog.md",
    "SECURITY": "security.md",
}


def on_config(config: MkDocsConfig) -> None:
    """The navigation: what each index names, in its order."""
    reference = [{"Command line": listed("reference/cli")}, {"Python API": listed("reference/api")}]
    names = ("methods", "operators", "lint", "gate-rules", "devices", "targets")
    more = [f"reference/{name}.md" for name in (*names, "exit-codes", "glossary")]
    project: list[Any] = [
        *("architecture.md", "stability.md", "security.md", "contributing.md", "releasing.md"),
        "changelog.md",
    ]
    config.nav = [
        "index.md",
        {"Guide": listed("guide")},
        {"Reference": [*reference, *more]},
        {"Results": listed("results")},
        {"Project": [*project, {"Decisions": listed("decisions")}]},
    ]


def listed(folder: str) -> list[str]:
    """The index of a folder, and each page that it links to inside of the folder."""
    names = re.findall(
        r"\]\(([\w-]+\.md)\)", (DOCS / folder / "index.md").read_text(encoding="utf-8")
    )
    return [
        f"{folder}/index.md",
        *(f"{folder}/{name}" for name in dict.fromkeys(names) if (DOCS / folder / name).exists()),
    ]


def on_files(files: Files, config: MkDocsConfig) -> None:
    """Add the root's pages, whose links lead into ``docs/`` from outside."""
    for source, name in ROOT_PAGES.items():
        text = (DOCS.parent / f"{source}.md").read_text(encoding="utf-8").replace("](docs/", "](")
        for other, goal in ROOT_PAGES.items():
            text = text.replace(f"]({other}.md", f"]({goal}")
        files.append(File.generated(config, name, content=re.sub(r"\[(\w+)\]\(\1\)", r"\1", text)))


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Links from ``docs/`` to the root's pages, which lie in ``docs/`` on the site."""
    return re.sub(
        rf"\]\((?:\.\./)((?:\.\./)*)({'|'.join(ROOT_PAGES)})\.md",
        lambda link: f"]({link[1]}{ROOT_PAGES[link[2]]}",
        markdown,
    )
