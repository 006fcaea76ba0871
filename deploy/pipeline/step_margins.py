"""How far each step of a trained symmetric network is from expanding."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.errors import UsageError
from edgeq.formats.artefact import detect, resolve

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.models.stability.symmetric import StepMargin


def margins_of(run: Path) -> tuple[StepMargin, ...]:
    """``h L ||K'||^2 / 2`` of each step, on the weights as they are quantised.

    Of a graph network times ``||S||^2``, at most 9/8.

    Args:
        run: a training folder or checkpoint.

    Raises:
        ArtefactError: it is missing or broken.
        UsageError: it has no symmetric steps, or is an exported file.
    """
    from edgeq.models.stability.symmetric import step_margins
    from edgeq.training.checkpoint import load_model
    from edgeq.training.graph.checkpoint import load_network
    from edgeq.training.graph.description import holds_graph

    path = resolve(run)
    if (kind := detect(path)) != "checkpoint":
        raise UsageError(
            f"{run} is {'an ONNX' if kind == 'onnx' else 'a TFLite'} file, which has no steps",
            hint="name the training folder or the .safetensors checkpoint that it was made of",
        )
    found = step_margins(load_network(path)[0] if holds_graph(path) else load_model(path).module)
    if not found:
        raise UsageError(
            f"{run} has no symmetric steps",
            hint="name a run of one of the networks that `edgeq models` calls symmetric",
        )
    return found
