"""Measurements in a file, so that a run that was cut goes on where it was."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgeq.files import write_json

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def kept(path: Path, name: str, measure: Callable[[], Any]) -> Any:
    """What the file holds under a name; measured and written there where it holds nothing."""
    held: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    if name not in held:
        held[name] = measure()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_json(path, held, overwrite=True)
    return held[name]
