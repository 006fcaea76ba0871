"""Any artefact as the layers and grids that rules, differences and bounds are told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.formats.artefact import detect

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.linting.model import LintModel


def view_of(path: Path) -> LintModel:
    """An ONNX or TFLite file as it is, a checkpoint as the QDQ file that its export would be.

    Raises:
        ArtefactError: the file is missing or broken.
    """
    kind = detect(path)
    if kind == "tflite":
        from edgeq.linting import tflite_view

        return tflite_view.read(path)
    from edgeq.linting import onnx_view

    if kind == "onnx":
        return onnx_view.read(path)
    from edgeq.exporters.torch.lower import lower
    from edgeq.network.loading import LOADERS

    loaded = LOADERS.load("checkpoint")(path)
    model = lower(loaded.module, loaded.input_shape, metadata=loaded.metadata)
    return onnx_view.view(model, path.name)
