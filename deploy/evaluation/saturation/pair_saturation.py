"""Layers of a file that lose sums on x86 without VNNI.

Which can, by their weights and inputs, and how many sums really did.
"""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.evaluation.chain import load_target
from edgeq.deploy.evaluation.saturation.pair_counting import pair_overflows
from edgeq.deploy.report.values import short
from edgeq.errors import ArtefactError, EdgeqError
from edgeq.formats.artefact import detect
from edgeq.formats.dialect import CANONICAL
from edgeq.machine import adds_pairs, fingerprint
from edgeq.results import LayerSaturation, PairSaturation
from edgeq.tabular import counted
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.formats.dialect import Dialect
    from edgeq.machine import Machine
    from edgeq.target import Capabilities
    from edgeq.targets.emulator.program import OverflowStats

INSTRUCTION_SETS = "SSE4.1, AVX2 and AVX-512 without VNNI"
COUNTED = 16
"""``edgeq compare`` counts sums on the first so many samples: a matter of seconds."""
_EMULATED_ORDER = "across"


@dataclass(frozen=True, slots=True, eq=False)
class Samples:
    """Data to count on.

    Attributes:
        source: the data set.
        part: those of it to count on.
    """

    source: DataSource
    part: Split

    def first(self, most: int) -> Samples:
        """At most so many of them."""
        return (
            self
            if len(self.part) <= most
            else Samples(self.source, self.part.take(np.arange(most)))
        )


def saturates_here(capabilities: Capabilities, machine: Machine | None = None) -> bool:
    """Whether a target adds pairs in 16 bits on a machine, this one where none is given.

    An emulator of such a processor does on any.
    """
    return capabilities.saturating_pairs != "never" and (
        capabilities.emulates_pairs or adds_pairs(machine or fingerprint())
    )


def layers_at_risk(artefact: Path, capabilities: Capabilities) -> tuple[LayerSaturation, ...]:
    """The layers of a file that could saturate on a target where it runs on x86 without VNNI.

    None for formats other than ONNX.

    Where the graph cannot be read as a whole, each layer is judged by itself, by the whole range of
    its input's type.

    Raises:
        ArtefactError: the file is missing or broken.
    """
    if capabilities.saturating_pairs == "never" or detect(artefact) != "onnx":
        return ()
    from edgeq.formats.onnx_io import read
    from edgeq.qdq.layers import layers_of
    from edgeq.qdq.ort_x86.forms import on_x86
    from edgeq.qdq.ort_x86.saturation import pair_sums
    from edgeq.qdq.qoperator.convert import as_qdq
    from edgeq.qdq.reader import read_qdq

    order = capabilities.saturating_pairs
    source = read(artefact)
    exact = frozenset[str]()
    try:
        graph = read_qdq(source, float_fallback=True)
    except ArtefactError:
        graph = layers_of(as_qdq(source))
    else:
        # ONNX Runtime's own choice of kernels
        exact = on_x86(source, graph).exact(graph) if order == "across" else exact
    found = pair_sums(graph, order)
    return tuple(
        LayerSaturation.of(sums) for sums in found if sums.can_saturate and sums.tensor not in exact
    )


def with_counts(
    layers: tuple[LayerSaturation, ...], artefact: Path, samples: Samples, *, threads: int = 1
) -> tuple[LayerSaturation, ...]:
    """The layers with what happened to their sums on samples.

    Files whose layers quantise their input as they run are left uncounted; see
    :func:`edgeq.deploy.evaluation.saturation.pair_counting.pair_overflows`.

    Raises:
        ArtefactError: the artefact does not fit the data, or its graph cannot be read.
        TargetError: a runtime refuses the file.
    """
    if not layers or _quantises_as_it_runs(layers):
        return layers
    counted = pair_overflows(
        artefact, {layer.tensor for layer in layers}, samples.source, samples.part, threads=threads
    )
    return tuple(_counted(layer, counted.get(layer.tensor)) for layer in layers)


def saturation_here(
    pair: Pair,
    name: str,
    *,
    samples: Samples | None = None,
    threads: int = 1,
    file: Path | None = None,
) -> PairSaturation | None:
    """What a file loses on a target on this machine.

    None where it loses nothing, or where its graph cannot be read.

    Args:
        pair: the file and the target.
        name: what to call the file.
        samples: data to count on, the first ``COUNTED`` of it, where the emulator knows the
            target's order; None for not at all.
        threads: the most threads the emulator may use.
        file: what the user has to export again; the file itself where it is None.
    """
    capabilities = TARGETS.load(pair.target).capabilities
    if not saturates_here(capabilities):
        return None
    try:
        layers = layers_at_risk(pair.artefact, capabilities)
    except Exception:  # noqa: BLE001  its own runtime has opened it; what else it is, is not for this question to refuse
        return None
    if not layers:
        return None
    if samples is not None and capabilities.saturating_pairs == _EMULATED_ORDER:
        samples = samples.first(COUNTED)
        with suppress(EdgeqError):  # what the emulator refuses is told without counts
            layers = with_counts(layers, pair.artefact, samples, threads=threads)
    return PairSaturation(
        name,
        pair.target,
        layers,
        sentence(layers),
        remedy(file or pair.artefact, pair.target, capabilities, layers),
    )


def named_cause(cause: str, ends: Sequence[tuple[Pair, PairSaturation | None]]) -> str:
    """A hop's cause, with the saturation at either of its ends in front.

    Two ends that saturate alike, the same file with its pairs in the same order, differ by
    something else; and where sums were counted and none was wrong, saturation is no cause.
    """
    hit = [
        (pair, found)
        for pair, found in ends
        if found is not None and (found.wrong or not found.counted)
    ]
    alike = {
        (pair.artefact, TARGETS.load(pair.target).capabilities.saturating_pairs) for pair, _ in hit
    }
    if not hit or len(alike) < len(hit):
        return cause
    where = " and ".join(dict.fromkeys(pair.target for pair, _ in hit))
    seen = "pair saturation" if any(found.wrong for _, found in hit) else "possible pair saturation"
    return f"{seen} on {where}" + (f" + {cause}" if cause != "nothing" else "")


def sentence(layers: tuple[LayerSaturation, ...]) -> str:
    """What is the matter, in a sentence; names the layer that is hit worst."""
    wrong, sums = (
        [layer for layer in layers if layer.wrong_sums],
        sum(layer.sums for layer in layers),
    )
    worst = max(
        layers, key=lambda layer: (layer.wrong_sums, layer.saturated_pairs, abs(layer.extreme))
    )
    where = f"at 16 bits, as on x86 without VNNI, in {counted(len(wrong) or len(layers), 'layer')}"
    if wrong:
        return (
            f"pairs of products saturate {where}, worst in {worst.op_type} {short(worst.layer)!r}, "
            f"where {worst.wrong_sums:,} of {worst.sums:,} sums are wrong on the first samples"
        )
    farthest = (
        f"farthest in {worst.op_type} {short(worst.layer)!r}, where a pair can come to "
        f"{worst.extreme:,}"
    )
    possible = f"pairs of products can saturate {where}, {farthest}"
    return f"{possible}; none of {sums:,} sums is wrong on the first samples" if sums else possible


def remedy(
    file: Path, target: str, capabilities: Capabilities, layers: Sequence[LayerSaturation]
) -> str:
    """What cures layers of a file: the command, in the target's own dialect where it has one."""
    if _quantises_as_it_runs(layers):
        return (
            "edgeq calibrate makes a file with constant scales from the float model, which can be "
            "stored exactly for every processor; ort-cpu-ref computes this one exactly. Sums of "
            "layers that quantise their input as they run are not counted"
        )
    own = (
        capabilities.dialect
        if capabilities.dialect is not None and capabilities.dialect.weights == "portable"
        else CANONICAL
    )
    how = "--to onnx" if own == CANONICAL else f"--for {target}"
    command = f"edgeq export {shlex.quote(str(file))} {how} -o portable"
    cost = capabilities.uint8_weight_cost
    slower = "" if cost is None else f", and {cost_told(cost)}"
    return (
        f"{command} stores these weights as uint8: the same numbers, exact on every "
        f"processor{slower}"
    )


def _quantises_as_it_runs(layers: Sequence[LayerSaturation]) -> bool:
    from edgeq.qdq.layers import DYNAMIC_MATMULS

    return any(layer.op_type in DYNAMIC_MATMULS for layer in layers)


def cost_told(cost: float) -> str:
    """What uint8 weights cost, in words; see :class:`edgeq.target.Capabilities`."""
    return (
        f"about {cost:.1f} times the time of int8 weights on AVX2 (all layers of a ResNet-20, "
        "measured)"
    )


def costs_of(dialect: Dialect) -> dict[str, float]:
    """What uint8 weights cost on the targets of a dialect, by name, where it was measured."""
    found = {}
    for name in TARGETS.names():
        with suppress(EdgeqError):  # not installed, or wrongly described: no news here
            can = load_target(name).capabilities
            if can.dialect == dialect and can.uint8_weight_cost is not None:
                found[name] = can.uint8_weight_cost
    return found


def _counted(layer: LayerSaturation, stats: OverflowStats | None) -> LayerSaturation:
    if stats is None:
        return layer
    return replace(layer, sums=stats.sums, saturated_pairs=stats.pairs, wrong_sums=stats.wrong)
