"""What a trained graph network computes without rounding, with some and with all of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from edgeq.brief import brief
from edgeq.errors import UsageError
from edgeq.training.graph.checkpoint import EDGES, load_network, read
from edgeq.training.graph.loop import features
from edgeq.training.graph.quantization import states_of
from edgeq.training.qat_transform import set_rounding

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.data import GraphData

UNROUNDED = "torch, activations not rounded"
_STAGES = {"torch-fp32": (False, False), UNROUNDED: (True, False), "torch": (True, True)}
"""Whether weights and activations are rounded, by what the stage is called."""


@dataclass(frozen=True, slots=True, eq=False)
class RoundingStage:
    """One network on one graph.

    Attributes:
        target: how it rounds.
        states: float32, (nodes, channels), behind each step's quantiser.
        logits: float32, (nodes, classes).
    """

    target: str
    states: tuple[NDArray[np.float32], ...]
    logits: NDArray[np.float32]

    __repr__ = brief


@torch.inference_mode()
def rounding_stages(path: Path, data: GraphData) -> list[RoundingStage]:
    """A checkpoint without rounding, with its weights rounded, and as it was trained.

    Between the last two lies what rounding activations alone does: the published "4A -> 32A". A
    network in FP32 has the first alone.

    Raises:
        UsageError: it was trained on another graph.
        ArtefactError: it is missing, broken or no checkpoint of a graph network.
    """
    checkpoint = read(path)
    edges = checkpoint.tensors[EDGES]
    if checkpoint.input_shape != data.shape or not torch.equal(edges, torch.from_numpy(data.edges)):
        raise UsageError(
            f"{path} was trained on another graph than {data.name}",
            hint=f"name its own: --data {checkpoint.recipe.data}",
        )
    network, gradient, recipe = load_network(path)
    found: list[RoundingStage] = []
    for target, (weights, activations) in _STAGES.items():
        if recipe.scheme is None and found:
            break
        set_rounding(network, weights=weights, activations=activations)
        states, logits = states_of(network, features(data), gradient)
        found.append(RoundingStage(target, tuple(each.numpy() for each in states), logits.numpy()))
    return found
