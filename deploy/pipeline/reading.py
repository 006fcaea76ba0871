"""Any artefact as the layers and grids that rules, differences and bounds are told of."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.formats.artefact import detect
from edgeq.formats.quantizers import QUANTIZERS

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.linting.model import LintModel


def is_quantized(path: Path) -> bool:
    """Whether a file has grids, of an ONNX file by its operators where these tell.

    Raises:
        ArtefactError: the file is missing or broken.
    """
    if detect(path) != "onnx":
        return view_of(path).is_quantized
    from edgeq.formats.onnx_io import load

    kinds = {node.op_type for node in load(path, weights=False).graph.node}
    if kinds >= QUANTIZERS:
        return True
    about_integers = any("Q" in kind or "Integer" in kind for kind in kinds)
    return about_integers and view_of(path).is_quantized


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
