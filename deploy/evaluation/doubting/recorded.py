"""The accuracy that training recorded of a network, where it stands beside the file."""

from __future__ import annotations

import json
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from edgeq.errors import EdgeqError
from edgeq.files import read_bytes
from edgeq.formats.artefact import resolve
from edgeq.metrics.accuracy import share_right

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.results import Accuracy

RUN = "run.json"
"""What a training run writes of itself; see :mod:`edgeq.training.run.run_folder`."""
_MOST_BYTES = 1 << 26


def recorded_accuracy(artefact: Path, source: DataSource) -> Accuracy | None:
    """That of the test samples at the end of training, on the same data; None for none.

    Args:
        artefact: the file, or the folder of a run.
        source: the data.
    """
    with suppress(EdgeqError, ValueError, KeyError, TypeError):
        summary = resolve(artefact).parent / RUN
        if summary.is_file():
            return _of(
                json.loads(read_bytes(summary, "summary of a run", limit=_MOST_BYTES)), source
            )
    return None


def _of(told: Any, source: DataSource) -> Accuracy | None:
    right, total = told["test_correct"], told["test_total"]
    if told["recipe"]["data"] != source.name or source.task != "top1":
        return None
    whole = isinstance(right, int) and isinstance(total, int)
    return share_right(right, total) if whole and 0 <= right <= total and total else None
