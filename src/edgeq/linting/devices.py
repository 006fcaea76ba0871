"""Advice about devices: data in ``devices.toml``, with where each figure is from."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from edgeq.errors import UnknownName


@dataclass(frozen=True, slots=True)
class Device:
    """What is known of a device.

    Attributes:
        name: what its maker calls it.
        slower: how many times slower per-channel weights are there than per-tensor ones.
        source: where that was measured.
    """

    name: str
    slower: float
    source: str


@cache
def devices() -> dict[str, Device]:
    """The devices by the name that ``--device`` takes."""
    text = files("edgeq.linting").joinpath("devices.toml").read_text(encoding="utf-8")
    return {name: Device(**stated) for name, stated in tomllib.loads(text).items()}


def require_device(name: str) -> None:
    """Check a name.

    Raises:
        UnknownName: nothing is known of such a device.
    """
    if name not in devices():
        raise UnknownName("device", name, devices())
