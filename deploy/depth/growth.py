"""How errors grow with the depth of a network, from one block to the next.

Each stage is held against the reference of the first quantised file, block by block. One stage is
added: the same file with its activations cut off at the ends of their grids and not rounded. Source
of that experiment, "4A -> 32A": Ben-Yair, Eliasof, Treister, *Quantized convolutional neural
networks through the lens of partial differential equations*, Eq. 3, Figures 1 and 3.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeq.deploy.depth.blocks import blocks_of
from edgeq.deploy.evaluation.chain import Pair, reference_name
from edgeq.deploy.evaluation.compare import compare
from edgeq.deploy.origin.unrounded import clipped
from edgeq.deploy.why.stages import is_quantized, with_reference
from edgeq.errors import UsageError
from edgeq.files import temporary_folder
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_io import read, serialize
from edgeq.metrics.drift import pooled_mse
from edgeq.metrics.growth import growth
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.results import DepthGrowth

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgeq.data import DataSource
    from edgeq.deploy.evaluation.compare import Observed
    from edgeq.results import Hop


def compare_by_depth(stages: Sequence[Pair], source: DataSource, **options: Any) -> Observed:
    """Compare stages and tell how far they part with each block.

    Args:
        stages: what runs where, in the order of the chain.
        source: the data.
        options: further ones of :func:`edgeq.deploy.evaluation.compare.compare`.

    Raises:
        UsageError: no stage has a graph to find blocks in, or see ``compare``.
        ArtefactError: see ``compare``.
        TargetError: see ``compare``.
    """
    rounded = is_quantized(stages)
    first = _with_graph(stages, [pair for pair in stages if rounded[pair]])
    model = _model(first)
    with temporary_folder() as folder:
        pairs, reference = list(stages), first
        if rounded[first]:
            pairs = with_reference(stages, rounded)
            reference = (
                pairs[0]
                if detect(pairs[0].artefact) == "checkpoint"
                else next(pair for pair in pairs if pair.artefact == first.artefact)
            )
            path = folder / f"{first.artefact.stem}-unrounded.onnx"
            path.write_bytes(serialize(clipped(model)))
            pairs.append(Pair(path, reference_name("onnx")))
        observed = compare(pairs, source, reference=reference, **options)
    names = blocks_of(model)
    found = tuple(_growth(hop, names) for hop in observed.comparison.from_reference)
    return replace(observed, comparison=replace(observed.comparison, growth=found))


def _with_graph(stages: Sequence[Pair], preferred: Sequence[Pair]) -> Pair:
    """The stage whose blocks are told: a quantised one where there is any."""
    for pair in (*preferred, *stages):
        if detect(pair.artefact) != "tflite":
            return pair
    raise UsageError(
        "--growth finds blocks in ONNX files and checkpoints, and there is none of them",
        hint="name the ONNX file that the TFLite file was made from beside it",
    )


def _model(stage: Pair) -> ir.Model:
    """The graph of a stage, in QDQ form."""
    if detect(stage.artefact) == "onnx":
        return as_qdq(read(stage.artefact))
    from edgeq.exporters.torch.lower import lower
    from edgeq.training.checkpoint import load_model

    loaded = load_model(stage.artefact)
    return lower(loaded.module, loaded.input_shape)


def _growth(hop: Hop, names: Sequence[str]) -> DepthGrowth:
    known = {drift.tensor: drift for drift in hop.tensors}
    blocks = tuple(known[name] for name in names if name in known)
    mse = pooled_mse(blocks)
    rate = growth([drift.sqnr_db for drift in blocks])
    return DepthGrowth(hop.source, hop.stage, rate, mse, mse**0.5, blocks)
