"""What differs between two files, told without running either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.formats.artefact import resolve
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.diffing.records import Difference


@dataclass(frozen=True, slots=True, repr=False)
class FileDiff(Tabular):
    """Two files side by side.

    Attributes:
        first: the name of the first file, which is taken as right.
        second: that of the second.
        operators: how many operators both have; 0 of files of two formats, whose operators are
            others.
        layers: how many layers with weights both have.
        grids: how many grids of activations both have.
        differences: in the order of the first file.
    """

    first: str
    second: str
    operators: int
    layers: int
    grids: int
    differences: tuple[Difference, ...]

    @property
    def equal(self) -> bool:
        """Whether every number that both files hold is the same."""
        return not self.differences

    def table(self) -> Table:
        """Each difference with its place."""
        number = len(self.differences)
        told = "the same numbers" if not number else counted(number, "difference")
        return Table(
            f"{self.first} and {self.second}: {told} in {counted(self.layers, 'layer')} and "
            f"{counted(self.grids, 'grid')}",
            ("where", "what", "how"),
            [(each.where, each.kind, each.detail) for each in self.differences],
        )


def diff(first: Path, second: Path) -> FileDiff:
    """Say what differs between two files, without running either.

    Layers and grids are paired by name, else by their order, across formats too. Operators,
    attributes and other constants are compared where both files have one format.

    Args:
        first: the one that is taken as right: an ONNX or TFLite file of any tool, a checkpoint or a
            training folder.
        second: the other.

    Raises:
        ArtefactError: a file is missing or broken.
    """
    from edgeq.deploy.diff.contents import read
    from edgeq.deploy.diff.structure import structural_differences
    from edgeq.diffing import diff as differences

    mine, other = (read(resolve(path)) for path in (first, second))
    found = differences(mine.view, other.view)
    operators, structure = (
        structural_differences(mine.operators, other.operators)
        if mine.kind == other.kind
        else (0, [])
    )
    return FileDiff(
        first.name,
        second.name,
        operators,
        found.layers,
        found.grids,
        tuple(dict.fromkeys((*structure, *found.differences))),
    )
