"""Layers of a file that lose sums on x86 without VNNI: which can, by their weights and inputs, and how many sums really did."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, cast

from edgeq.artefact import detect
from edgeq.data import batches
from edgeq.deploy.observing import select
from edgeq.machine import adds_pairs, fingerprint
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.machine import Machine
    from edgeq.saturation import PairSums
    from edgeq.target import Capabilities
    from edgeq.targets.emulator.numerics import Tally
    from edgeq.targets.emulator.session import EmulatorSession

INSTRUCTION_SETS = "SSE4.1, AVX2 and AVX-512 without VNNI"
EMULATED = "emulator:avx2"
HINT = "edgeq export writes these layers with uint8 weights, which are the same numbers and exact on every processor"
_BATCH = 64


@dataclass(frozen=True, slots=True)
class LayerSaturation:
    """One layer whose pairs of products can saturate.

    Attributes:
        layer: its name in the file.
        tensor: the name of its result.
        op_type: the ONNX operator.
        extreme: the pair sum farthest from zero that weights and input allow; 16 bits hold -32,768 to 32,767.
        pairs: pairs of weights that can leave 16 bits.
        total: all its pairs of weights.
        sums: sums of products computed on the data; 0 without data.
        saturated_pairs: pairs of products among them that did saturate.
        wrong_sums: sums that came out wrong.
    """

    layer: str
    tensor: str
    op_type: str
    extreme: int
    pairs: int
    total: int
    sums: int = 0
    saturated_pairs: int = 0
    wrong_sums: int = 0

    @classmethod
    def of(cls, sums: PairSums) -> LayerSaturation:
        """A layer without data."""
        return cls(sums.layer, sums.tensor, sums.op_type, sums.extreme, sums.pairs, sums.total)


def saturates_here(capabilities: Capabilities, machine: Machine | None = None) -> bool:
    """Whether a target adds pairs in 16 bits on a machine; this one where none is given."""
    return capabilities.saturating_pairs != "never" and adds_pairs(machine or fingerprint())


def layers_at_risk(artefact: Path, capabilities: Capabilities) -> tuple[LayerSaturation, ...]:
    """The layers of a file that could saturate on a target where it runs on x86 without VNNI; none for formats other than ONNX.

    Raises:
        ArtefactError: the file is missing or broken, or its graph cannot be read.
    """
    if capabilities.saturating_pairs == "never" or detect(artefact) != "onnx":
        return ()
    from edgeq.exporters.onnx import read_as_written
    from edgeq.qdq import read_qdq
    from edgeq.qdq_x86 import on_x86
    from edgeq.saturation import pair_sums

    order = capabilities.saturating_pairs
    source = read_as_written(artefact)
    graph = read_qdq(source, islands=True)
    exact = on_x86(source, graph).exact(graph) if order == "across" else frozenset[str]()  # ONNX Runtime's own choice of kernels
    found = pair_sums(graph, order)
    return tuple(LayerSaturation.of(sums) for sums in found if sums.can_saturate and sums.tensor not in exact)


def with_counts(
    layers: tuple[LayerSaturation, ...], artefact: Path, source: DataSource, split: str, limit: int | None, *, threads: int = 1
) -> tuple[LayerSaturation, ...]:
    """The layers with what happened to their sums on samples, by the emulator of such a processor.

    Raises:
        ArtefactError: the artefact does not fit the data.
        TargetError: the emulator has no arithmetic for an operator of it.
        UsageError: an unknown split, or no samples.
    """
    if not layers:
        return ()
    counted = _counts(artefact, source, split, limit, threads)
    return tuple(_counted(layer, counted.get(layer.tensor)) for layer in layers)


def _counted(layer: LayerSaturation, tally: Tally | None) -> LayerSaturation:
    if tally is None:
        return layer
    return replace(layer, sums=tally.sums, saturated_pairs=tally.pairs, wrong_sums=tally.wrong)


def _counts(artefact: Path, source: DataSource, split: str, limit: int | None, threads: int) -> Mapping[str, Tally]:
    with cast("EmulatorSession", TARGETS.load(EMULATED).open(artefact, threads=threads)) as session:
        for images, _ in batches(select(source, split, limit), source, _BATCH):
            session.run(images)
        return {report.work.name: report.tally for report in session.layers()}


def sentence(layers: tuple[LayerSaturation, ...]) -> str:
    """What is the matter, in a sentence; names the layer that is hit worst."""
    worst = max(layers, key=lambda layer: (layer.wrong_sums, layer.saturated_pairs, abs(layer.extreme)))
    many = f"{len(layers)} layers" if len(layers) > 1 else "1 layer"
    what = f"pairs of products saturate at 16 bits in {many}, worst in {worst.op_type} {worst.layer!r}"
    if worst.sums:
        return f"{what}: {worst.wrong_sums:,} of {worst.sums:,} sums are wrong"
    return f"{what}: a pair can come to {worst.extreme:,}"
