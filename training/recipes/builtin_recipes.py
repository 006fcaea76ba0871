"""The recipes that come with edgeq, each a TOML file of the package; imports no framework."""

from __future__ import annotations

from pathlib import Path

from edgeq.errors import UnknownName

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every name, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def find(name: str) -> Path:
    """The file of a recipe that comes with edgeq; any other name is the path of a file.

    Raises:
        UnknownName: it is neither.
    """
    if name in names():
        return _FOLDER / f"{name}.toml"
    path = Path(name)
    if path.parent == Path() and not path.suffix and not path.exists():
        raise UnknownName("recipe", name, names())
    return path
