"""What the promise tests look at: the checkout itself."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("calibration", "deploy", "exporters", "models", "targets", "training")
PRODUCT = (*ROOMS, "src/edgeq")


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder that holds pyproject.toml."""
    return ROOT


@pytest.fixture(scope="session")
def rooms() -> tuple[str, ...]:
    """The root folders that are sub-packages of edgeq."""
    return ROOMS


@pytest.fixture(scope="session")
def project() -> dict[str, Any]:
    """pyproject.toml, parsed."""
    return tomllib.loads((ROOT / "pyproject.toml").read_text())


@pytest.fixture(scope="session")
def modules() -> tuple[Path, ...]:
    """Every product module once, by its real path (links are not walked through)."""
    found = (path for folder in PRODUCT for path in (ROOT / folder).rglob("*.py"))
    return tuple(sorted({path for path in found if path.resolve() == path and not hidden(path)}))


@pytest.fixture(scope="session")
def tracked() -> tuple[Path, ...]:
    """Every file that git tracks or would add, links excepted."""
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout, so nothing says which files belong to it")
    listing = subprocess.run(
        [git, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    paths = (ROOT / name.decode() for name in listing.stdout.split(b"\0") if name)
    return tuple(sorted(path for path in paths if path.is_file() and not path.is_symlink()))


def hidden(path: Path) -> bool:
    """Whether a path lies in a cache or a hidden folder."""
    return any(
        part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts
    )
