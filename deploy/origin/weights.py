"""Whether two artefacts hold the weights of one training, whatever quantised or folded them.

Rounding turns the weights of a channel a little, and folding multiplies them; another training, or
none, gives a channel that has nothing to do with them.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.origin.unrounded import layers_as_network, network_of, unrounded
from edgeq.deploy.pipeline.reading import view_of
from edgeq.errors import EdgeqError
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_io import read
from edgeq.network.loading import LOADERS
from edgeq.qdq.qoperator.convert import as_qdq

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

_ALIKE = 0.5
"""The cosine between two channels from which on one is the other: that of a weight and its sign is
0.8, that of weights without relation 0."""


def other_weights(first: Path, second: Path) -> tuple[int, int] | None:
    """How many layers of two artefacts hold other weights, and how many were compared.

    Args:
        first: a checkpoint, an ONNX or a TFLite file.
        second: another one, of whatever format.

    Returns:
        None where most layers are alike, or nothing can be compared.
    """
    try:
        mine, its = (_by_shape(path) for path in (first, second))
    except EdgeqError:
        return None
    compared = [
        pair
        for shape, here in mine.items()
        if len(here) == len(its[shape])
        for pair in zip(here, its[shape], strict=True)
    ]
    others = sum(not _alike(*pair) for pair in compared)
    return (others, len(compared)) if 2 * others > len(compared) else None


def _by_shape(path: Path) -> defaultdict[tuple[int, ...], list[NDArray[np.float64]]]:
    """The weights of the layers, in their order, of each shape."""
    found = defaultdict(list)
    for weights in _weights(path):
        found[weights.shape].append(weights)
    return found


def _weights(path: Path) -> Iterator[NDArray[np.float64]]:
    """The weights of each layer, a row for each output channel."""
    kind = detect(path)
    if kind == "checkpoint":
        for module in LOADERS.load("checkpoint")(path).module.modules():
            weight = getattr(module, "weight", None)
            if weight is not None and weight.ndim > 1:
                yield weight.detach().double().cpu().numpy().reshape(len(weight), -1)
        return
    network = (
        layers_as_network(view_of(path))
        if kind == "tflite"
        else network_of(unrounded(as_qdq(read(path))))
    )
    for node in network.nodes:
        if node.layer is not None:
            yield node.layer.weights.reshape(len(node.layer.weights), -1)


def _alike(one: NDArray[np.float64], other: NDArray[np.float64]) -> bool:
    """Whether most channels point the same way, or the opposite one."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    cosine = np.abs((one * other).sum(1)) / np.where(norms > 0, norms, 1.0)
    known = cosine[norms > 0]
    return not known.size or float(np.median(known)) >= _ALIKE
