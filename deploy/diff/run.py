"""What differs between two files, told without running either."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.errors import EdgeqError
from edgeq.formats.artefact import resolve
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.deploy.diff.contents import Contents
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
        differences: in the order of the first file; of a float file and a quantised one, what
            quantisation does not explain.
        weights: how many layers of one file have quantised weights, where the other is in float;
            None where both are quantised, or neither is.
        activations: likewise of tensors with a grid.
        remark: why layers are not compared one by one, a sentence; empty where they are.
    """

    first: str
    second: str
    operators: int
    layers: int
    grids: int
    differences: tuple[Difference, ...]
    weights: int | None = None
    activations: int | None = None
    remark: str = ""

    @property
    def equal(self) -> bool:
        """Whether nothing differs, or nothing but what quantisation explains."""
        return not self.differences and not self.remark

    @property
    def unjudged(self) -> str:
        """What the two files cannot tell, in a sentence; empty where they tell all."""
        if self.weights is None:
            return ""
        if self.remark:
            return "Layers are not judged one by one."
        return (
            "Judged are operators, weights, biases, and grids as far as biases were rounded for "
            "them. Files alone do not tell whether a grid fits the values that lie on it, nor a "
            "bias that is one step off: edgeq why does, given data."
        )

    def table(self) -> Table:
        """Each difference with its place."""
        number = len(self.differences)
        told = "the same numbers" if not number else counted(number, "difference")
        title = (
            f"{self.first} and {self.second}: {told} in {counted(self.layers, 'layer')} and "
            f"{counted(self.grids, 'grid')}"
        )
        if self.weights is not None and self.activations is not None:
            rest = (
                "nothing else that the files tell differs"
                if not number
                else f"{told} that this does not explain"
            )
            title = (
                f"{self.first} and {self.second}: one is the other quantised: the weights of "
                f"{counted(self.weights, 'layer')}, and {counted(self.activations, 'activation')} "
                f"given grids; {self.remark or rest}"
            )
        return Table(
            title,
            ("where", "what", "how"),
            [(each.where, each.kind, each.detail) for each in self.differences],
        )


def diff(first: Path, second: Path) -> FileDiff:
    """Say what differs between two files, without running either.

    Layers and grids are paired by name, else by their order, across formats too. Operators,
    attributes and other constants are compared where both files have one format. A quantised file
    is held against a float ONNX file by weights and structure, and what quantisation explains is
    counted.

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

    paths = [resolve(path) for path in (first, second)]
    mine, other = map(read, paths)
    quantised = _quantised(first.name, second.name, paths, mine, other)
    if quantised is not None:
        return quantised
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


def _quantised(
    first: str, second: str, paths: Sequence[Path], mine: Contents, other: Contents
) -> FileDiff | None:
    """A float ONNX file beside a quantised one; None where they are something else."""
    from edgeq.deploy.origin.differences import origin_of
    from edgeq.deploy.origin.weights import other_weights
    from edgeq.diffing.grids import handover_differences
    from edgeq.diffing.records import Difference

    if mine.view.is_quantized == other.view.is_quantized:
        return None
    at = 0 if other.view.is_quantized else 1
    real, file, view = paths[at], paths[1 - at], (other, mine)[at].view
    if (mine, other)[at].kind != "onnx" or (other, mine)[at].kind == "checkpoint":
        return None
    try:
        found = origin_of(real, file, [each.name for each in view.activations])
    except EdgeqError:  # it is no network that can be brought to the form of a quantised one
        return None
    remark = found.remark
    if remark and (others := other_weights(real, file)) is not None:
        remark = (
            f"{counted(others[0], 'layer', 'have', of=others[1])} weights that have nothing in "
            "common: they are of another training, or of none"
        )
    return FileDiff(
        first,
        second,
        0,
        found.layers,
        0,
        (
            *found.differences,
            *(Difference("broken scale", *each) for each in view.broken),
            *handover_differences((), view.handovers),
        ),
        sum(each.weight_grid is not None for each in view.layers),
        len(view.activations),
        remark,
    )
