"""Asks why of a clean file and one with a planted fault, and judges the answer."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from tests.support.faults.kinds import KINDS
from tests.support.faults.planting import Planting, layers_of
from tests.support.faults.seeds import SEED

from edgeq.deploy.evaluation.chain import chain
from edgeq.deploy.why.run import why
from edgeq.errors import EdgeqError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx
    from tests.support.faults.planted import Planted
    from tests.support.faults.planting import Layer

    from edgeq.data import DataSource
    from edgeq.deploy.why.records import Cause

REFERENCE = ("ort-cpu-ref",)


def planted(
    model: onnx.ModelProto, kind: str, layer: Layer
) -> tuple[onnx.ModelProto, Planted] | None:
    """A faulty copy and what a tool has to say; None where the fault has no place there."""
    copy = Planting(model)
    try:
        told = KINDS[kind](copy, layer)
    except (AssertionError, KeyError, IndexError, EdgeqError):
        return None
    return None if told is None else (copy.model, told)


def places(model: onnx.ModelProto, kind: str, most: int) -> list[Layer]:
    """Layers in which a kind of fault can be planted, evenly spread; by chance with a seed."""
    able = [layer for layer in layers_of(model) if planted(model, kind, layer) is not None]
    if SEED:
        rng = np.random.default_rng(SEED)
        return [able[i] for i in sorted(rng.permutation(len(able))[:most])]
    if len(able) <= most:
        return able
    return [able[i * len(able) // most] for i in range(most)]


def leaves_no_trace(model: onnx.ModelProto, kind: str, layer: Layer) -> bool:
    """Whether a grid is another valid one of the float network, for all that files and data tell.

    A bias that is rounded for it tells its scale, values that begin at zero its zero point; of a
    range that is cut where no value lies, nothing tells.
    """
    if kind == "integers clipped":
        return True
    if kind.startswith("zero point +"):
        return layer.activation < 0
    if not kind.startswith("activation scale x") and kind != "scale of another tensor":
        return False
    p = Planting(model)
    stored = p.graph.node[layer.quantizer].output[0]
    waiting = [stored]
    while waiting:
        for node in p.readers(waiting.pop()):
            if node.op_type in ("DequantizeLinear", "Flatten", "Clip"):
                waiting.append(node.output[0])
            elif node.op_type in ("Conv", "Gemm", "ConvTranspose") and len(node.input) > 2:
                return False
    return True


def asked(
    clean: onnx.ModelProto,
    others: Sequence[onnx.ModelProto],
    source: DataSource,
    folder: Path,
    targets: tuple[str, ...] = REFERENCE,
) -> list[list[Cause]]:
    """Why each of some files differs from a clean one: its causes."""
    clean_path = folder / "clean.onnx"
    clean_path.write_bytes(clean.SerializeToString())
    paths = [folder / f"faulty-{i:03}.onnx" for i in range(len(others))]
    for path, model in zip(paths, others, strict=True):
        path.write_bytes(model.SerializeToString())
    found = why(chain([clean_path, *paths], targets), source).why
    assert not found.failures, found.failures
    stages = {stage.artefact: stage for stage in found.stages}
    return [[found.causes[i] for i in stages[path.name].causes] for path in paths]


def complaint(causes: Sequence[Cause], told: Planted) -> str:
    """What is wrong with an answer, in words; empty where it is right."""
    if not causes:
        return "no cause was found"
    cause = causes[0]
    named_too = "fit both" in cause.what and any(f"{n!r}"[:-1] in cause.what for n in told.tensors)
    if cause.tensor not in told.tensors and not named_too:
        return f"{cause.kind} at {cause.tensor!r}, not at {sorted(told.tensors)}: {cause.what}"
    if cause.kind not in told.causes:
        return f"{cause.kind}, not {sorted(told.causes)}: {cause.what}"
    if told.channels and set(cause.channels) != set(told.channels):
        return f"channels {cause.channels}, not {told.channels}: {cause.what}"
    return ""


def asked_of_float(
    real: onnx.ModelProto, others: Sequence[onnx.ModelProto], source: DataSource, folder: Path
) -> list[list[Cause]]:
    """Why each of some quantised files differs from the float network: all causes."""
    real_path, path = folder / "float.onnx", folder / "faulty.onnx"
    real_path.write_bytes(real.SerializeToString())
    found = []
    for model in others:
        path.write_bytes(model.SerializeToString())
        told = why(chain([real_path, path], REFERENCE), source).why
        found.append(list(told.causes))
    return found
