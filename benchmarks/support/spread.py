"""How several runs are summed up in the tables."""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable


def spread(values: Iterable[float], form: str) -> str:
    """``mean (least to greatest)``, each in the format ``form``."""
    found = list(values)
    return f"{statistics.mean(found):{form}} ({min(found):{form}} to {max(found):{form}})"
