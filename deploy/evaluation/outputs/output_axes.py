"""Which axis of its network each dimension of an output holds.

NHWC must never be compared with NCHW as it lies.

Sizes do not tell: of an output with as many rows as columns as channels, every order has the same
shape. What tells is the graph, whose convolutions and poolings define which axis holds the
channels, and the note that edgeq leaves in TFLite files.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.outputs.graph_axes import meaning_in_onnx, meaning_in_tflite
from edgeq.errors import ArtefactError, EdgeqError
from edgeq.formats.artefact import detect

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.outputs.graph_axes import Axes

_NHWC = (0, 2, 3, 1)


@dataclass(frozen=True, slots=True)
class Output:
    """An output of an artefact.

    Attributes:
        artefact: the file.
        shape: the dimensions of one sample, as the file has them, without the batch.
        index: its place among the outputs.
    """

    artefact: Path
    shape: tuple[int, ...]
    index: int = 0

    @property
    def kept(self) -> tuple[int, ...]:
        """The dimensions whose place can matter: those of more than one element."""
        return tuple(i for i, size in enumerate(self.shape) if size != 1)


def order_like(first: Output, other: Output) -> tuple[int, ...]:
    """The permutation of an output's dimensions that makes it read like another one.

    Args:
        first: the output to read like.
        other: the output to turn, of the same network.

    Returns:
        A permutation of the dimensions of a sample of ``other``; what is transposed by it has the
        values of ``first`` in the order of ``first``, whatever dimensions of one element stand
        between.

    Raises:
        ArtefactError: they are not outputs of one network, or nothing tells which axis is which.
    """
    if math.prod(first.shape) != math.prod(other.shape):
        raise ArtefactError(
            f"{other.artefact} answers with {math.prod(other.shape)} values a sample, "
            f"{first.artefact} with {math.prod(first.shape)}",
            hint="compare artefacts of the same task",
        )
    as_it_is = tuple(range(len(other.shape)))
    same = first.artefact == other.artefact and first.index == other.index
    if same or max(len(first.kept), len(other.kept)) < 2:
        return as_it_is
    if len(first.kept) != len(other.kept):
        return _flattened(first, other)
    for axes_of in (_meaning, _network_axes):
        turned = _matched(first, axes_of(first), other, axes_of(other))
        if turned is not None:
            return turned
    possible = sorted({turn for turn in _turns(other) if _same_sizes(first, other, turn)})
    if len(possible) != 1:
        raise _unknown(first, other)
    return possible[0]


def in_order(values: NDArray[np.float32], order: tuple[int, ...]) -> NDArray[np.float32]:
    """The outputs of a batch, (samples, ...), the dimensions of each sample taken in an order."""
    return values.transpose(0, *(1 + axis for axis in order))


def _flattened(first: Output, other: Output) -> Axes:
    """The order of an output whose counterpart has its axes joined.

    That of the network, which joining keeps.
    """
    axes = _network_axes(first), _network_axes(other)
    if axes[0] is None or axes[1] is None or list(axes[0]) != sorted(axes[0]):
        raise _unknown(first, other)
    return tuple(sorted(range(len(other.shape)), key=axes[1][1:].__getitem__))


def _matched(
    first: Output, first_axes: Axes | None, other: Output, other_axes: Axes | None
) -> Axes | None:
    """The order that puts equal axes in equal places.

    None where they are not known, or the sizes contradict.
    """
    if first_axes is None or other_axes is None:
        return None
    mine = [first_axes[1 + i] for i in first.kept]
    theirs = {other_axes[1 + i]: i for i in other.kept}
    if (1 in mine) != (1 in theirs):  # the channels are not to be mistaken for a side of the image
        return None
    # one side of an image of one row is called height or width
    places = dict(zip(sorted(mine), sorted(theirs), strict=True))
    turn = (
        *(theirs[places[axis]] for axis in mine),
        *(i for i in range(len(other.shape)) if other.shape[i] == 1),
    )
    return turn if _same_sizes(first, other, turn) else None


def _same_sizes(first: Output, other: Output, turn: Axes) -> bool:
    return [first.shape[i] for i in first.kept] == [
        other.shape[i] for i in turn if other.shape[i] != 1
    ]


def _turns(other: Output) -> Iterator[Axes]:
    """The orders that converters write: as it is, the last axis first, the first axis last."""
    flat = tuple(i for i in range(len(other.shape)) if other.shape[i] == 1)
    kept = other.kept
    for turn in (kept, (kept[-1], *kept[:-1]), (*kept[1:], kept[0])):
        yield (*turn, *flat)


def _unknown(first: Output, other: Output) -> ArtefactError:
    return ArtefactError(
        f"{first.artefact} answers with {first.shape} a sample, {other.artefact} with "
        f"{other.shape}, and neither tells which axis is which",
        hint="write both with edgeq export, which notes the order of axes, or compare files of "
        "one format",
    )


def _meaning(output: Output) -> Axes | None:
    """For each dimension, 0 for the batch, 1 for channels, 2 and more for an image's sides.

    None where no operator tells.
    """
    kind = detect(output.artefact)
    found = _readable(
        lambda: (
            meaning_in_tflite(output.artefact, output.index)
            if kind == "tflite"
            else meaning_in_onnx(output.artefact, output.index)
        )
    )
    return found if found is not None and len(found) == 1 + len(output.shape) else None


def _network_axes(output: Output) -> Axes | None:
    """For each dimension, the axis of the network's own output.

    None for a TFLite file of another tool.
    """
    rank = 1 + len(output.shape)
    if detect(output.artefact) != "tflite":
        return tuple(range(rank))
    noted = _readable(lambda: _noted(output, rank))
    return noted if noted is not None and sorted(noted) == list(range(rank)) else None


def _noted(output: Output, rank: int) -> Axes | None:
    """What a file of ours says of an output."""
    from edgeq.files import read_bytes
    from edgeq.formats.tflite_file import graph_of, notes_of

    content = read_bytes(output.artefact, "TFLite model")
    notes = notes_of(content)
    if notes is None:
        return None
    graph = graph_of(content)
    ends = list(notes["io"]["axes"].values())
    if len(ends) == len(graph.inputs) + len(graph.outputs):
        return tuple(ends[len(graph.inputs) + output.index])
    return tuple(
        notes["axes"].get(
            graph.outputs[output.index].name, _NHWC if rank == len(_NHWC) else range(rank)
        )
    )


def _readable(read: Callable[[], Axes | None]) -> Axes | None:
    """What a file tells.

    Nothing where it cannot be read in this way, for it ran on its own runtime and may be anybody's.
    """
    try:
        return read()
    except (EdgeqError, ImportError, LookupError, ValueError, TypeError, AttributeError):
        return None
