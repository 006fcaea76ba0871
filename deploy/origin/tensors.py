"""Which tensor of a float file each tensor of a quantised one is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.origin.differences import origin_of
from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping
    from pathlib import Path


def float_names(real: Path, file: Path, shown: Collection[str]) -> Mapping[str, str]:
    """What tensors of a quantised file are called in the float file that it was made from.

    Args:
        real: a float ONNX file.
        file: a quantised file, ONNX or TFLite.
        shown: the names of its tensors.

    Returns:
        Name to name, by weights and structure; empty where a file cannot be brought to one form.
    """
    try:
        found = origin_of(real, file, shown).values
    except EdgeqError:
        return {}
    return {name: its for name, its in found.items() if name in shown}
