"""The devices that edgeq knows: one TOML file each, with the source of every figure.

A device is what a file is made for. A target is what runs here; a device may have one that stands
for it.
"""

from __future__ import annotations

from pathlib import Path

from edgeq.device import Device, parse
from edgeq.errors import UnknownName
from edgeq.files import read_bytes

_FOLDER = Path(__file__).parent


def names() -> list[str]:
    """Every name, in alphabetical order."""
    return sorted(path.stem for path in _FOLDER.glob("*.toml"))


def find(name: str) -> Device:
    """A device by its name, or by the path of a TOML file like those here.

    Raises:
        UnknownName: it is neither.
        ArtefactError: the file is missing or broken.
    """
    path = _FOLDER / f"{name}.toml"
    if name not in names():
        path = Path(name)
        if path.suffix != ".toml":
            raise UnknownName("device", name, names())
    text = read_bytes(path, "description of a device", limit=1 << 20).decode(errors="replace")
    return parse(path.stem, text)


def devices() -> tuple[Device, ...]:
    """All of them, in the order of their names."""
    return tuple(find(name) for name in names())
