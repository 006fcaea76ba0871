"""Everything that is provable of one file: what ``edgeq bounds`` and ``edgeq.bounds`` do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.bounds.sums import LayerSums, layer_sums, sums_table
from edgeq.formats.artefact import resolve
from edgeq.tabular import Table, Tabular

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True, repr=False)
class Bounds(Tabular):
    """What is provable of one file.

    Attributes:
        file: its path, as given.
        sums: of each layer with integers.
        skipped: how many layers are in float, or do not tell what their sums can come to.
    """

    file: str
    sums: tuple[LayerSums, ...]
    skipped: int

    @property
    def accumulator_bits(self) -> int:
        """The least width of an accumulator in which no sum of the file overflows."""
        return max((row.bits for row in self.sums), default=0)

    def table(self) -> Table:
        """The sums of each layer."""
        return sums_table(self.file, self.sums, self.skipped)


def bounds(path: Path) -> Bounds:
    """Bound what a file can come to.

    Args:
        path: an ONNX or TFLite file of any tool, a checkpoint or a training folder.

    Raises:
        ArtefactError: the file is missing or broken.
    """
    from edgeq.deploy.pipeline.reading import view_of

    model = view_of(resolve(path))
    rows = layer_sums(model)
    return Bounds(str(path), rows, len(model.layers) - len(rows))
