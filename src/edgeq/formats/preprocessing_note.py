"""The notes in an artefact of the samples it is for: how they are preprocessed, as JSON.

In ONNX it stands in ``metadata_props`` under ``edgeq_preprocessing``; what edgeq makes of such a
file keeps it. TFLite files and checkpoints of edgeq hold it among what they note of their source.
Beside it stands which samples a file was calibrated on, where data have one part.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgeq.errors import EdgeqError
from edgeq.files import read_bytes
from edgeq.formats.artefact import detect, resolve

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

KEY = "edgeq_preprocessing"
SET_ASIDE = "edgeq_set_aside"


def note(told: Mapping[str, Any]) -> dict[str, str]:
    """What is written into ``metadata_props``."""
    return {KEY: json.dumps(told, sort_keys=True)}


def set_aside_note(data: str, count: int, samples: int) -> dict[str, str]:
    """What is written of a calibration on data that have one part.

    Args:
        data: their name.
        count: how many samples they have.
        samples: how many of them were calibrated on; which, tells
            :func:`edgeq.data.splitting.set_aside`.
    """
    told = {"data": data, "count": count, "samples": samples}
    return {SET_ASIDE: json.dumps(told, sort_keys=True)}


def noted_in(artefact: Path, key: str = KEY) -> dict[str, Any] | None:
    """What an ONNX or TFLite file notes; None where it notes nothing or cannot be read."""
    try:
        path = resolve(artefact)
        kind = detect(path)
        if kind == "onnx":
            from edgeq.formats.onnx_io import load

            props = {each.key: each.value for each in load(path, weights=False).metadata_props}
        elif kind == "tflite":
            from edgeq.formats.tflite_file import notes_of

            notes: Any = notes_of(read_bytes(path, "TFLite model")) or {}
            props = notes.get("source", {})
        else:
            return None
        told = json.loads(props[key])
    except (EdgeqError, OSError, KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return None
    return told if isinstance(told, dict) else None
