"""Virtual environments for runtimes that cannot, or need not, live in edgeq's own.

An environment is named by what is installed in it, exactly pinned: targets with equal requirements share one, and other
requirements never meet an old one.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

HOME = "EDGEQ_HOME"
RECORD = "edgeq-environment.json"


def home() -> Path:
    """Where edgeq keeps what it can make again: ``EDGEQ_HOME``, else ``edgeq`` in the user's cache folder."""
    named = os.environ.get(HOME)
    if named:
        return Path(named).expanduser().absolute()
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache and Path(cache).is_absolute() else Path.home() / ".cache") / "edgeq"


def folder(requirements: Sequence[str]) -> Path:
    """Where the environment with these packages is, or would be."""
    pinned = "\n".join([f"python {sys.version_info[0]}.{sys.version_info[1]}", *sorted(requirements)])
    return home() / "environments" / f"{names(requirements)[0]}-{hashlib.sha256(pinned.encode()).hexdigest()[:10]}"


def names(requirements: Sequence[str]) -> list[str]:
    """The distributions that requirements are about."""
    return [re.split(r"[\s\[=<>!~;@]", requirement, maxsplit=1)[0] for requirement in requirements]


def python_of(requirements: Sequence[str]) -> Path | None:
    """The interpreter of a complete environment; None where there is none."""
    place = folder(requirements)
    return place / "bin" / "python" if (place / RECORD).is_file() else None


def versions_of(requirements: Sequence[str]) -> Mapping[str, str]:
    """What the runtime said of itself when the environment was made."""
    try:
        record = json.loads((folder(requirements) / RECORD).read_text("utf-8"))
        return {str(name): str(version) for name, version in record["versions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
