"""What a report holds, apart from how it is drawn.

Every renderer reads these records and nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.deploy.gate.result import GateResult
    from edgeq.machine import Machine
    from edgeq.plain import Json
    from edgeq.results import Accuracy, Comparison, Drift, PairSaturation, Profile
    from edgeq.timing import Latency


@dataclass(frozen=True, slots=True)
class ModelRow:
    """One trained network in one scheme: a line of the headline table.

    The two activation errors compare the network with a copy of itself whose activations are
    clipped at the same places but not rounded (4A against 32A), pooled over all layers and samples:
    Ben-Yair, Eliasof, Treister, Quantized convolutional neural networks through the lens of partial
    differential equations, Eq. 3 and Tables 1-2.

    Attributes:
        model: the network's name.
        scheme: bits of weights and activations, such as ``4W/8A``, or ``FP32``.
        stable: whether the network is of the stable (symmetric) kind, as against the original one.
        parameters: trained parameters.
        accuracy: target name to accuracy there.
        activation_mse: mean squared error of rounding activations, in squared real units; None for
            FP32.
        activation_rmse: its root, in real units; None for FP32.
        sqnr_db: signal to drift of the output against FP32, in dB; None for FP32.
        latency: target name to latency measured there. Simulated and estimated figures belong in
            :attr:`Report.profiles` alone, so that they are never ranked with measured ones.
        size_bytes: artefact format to file size.
    """

    model: str
    scheme: str
    stable: bool
    parameters: int
    accuracy: Mapping[str, Accuracy] = field(default_factory=dict)
    activation_mse: float | None = None
    activation_rmse: float | None = None
    sqnr_db: float | None = None
    latency: Mapping[str, Latency] = field(default_factory=dict)
    size_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Model and scheme, as shown."""
        return f"{self.model} {self.scheme}"


@dataclass(frozen=True, slots=True)
class LayerCurve:
    """The error of rounding activations, layer by layer.

    One line of Figure 1 of the paper named at :class:`ModelRow`.

    Attributes:
        model: the network's name.
        scheme: bits of weights and activations.
        stable: whether the network is of the stable kind.
        points: drift of each layer's output, first layer first.
    """

    model: str
    scheme: str
    stable: bool
    points: tuple[Drift, ...]

    @property
    def name(self) -> str:
        """Model and scheme, as shown."""
        return f"{self.model} {self.scheme}"


@dataclass(frozen=True, slots=True)
class Report:
    """Everything one run found.

    Attributes:
        title: the heading.
        created: when it was made, ISO 8601 with its time zone.
        command: the command line that makes it again.
        data: the data set's name.
        samples: how many samples were used.
        machine: where the numbers were taken.
        rows: the headline, in the order to show.
        curves: rounding error by layer.
        comparisons: a label and the stages compared under it.
        drawings: of each comparison, its graphs, and the images whose answer changed.
        profiles: latencies of every kind, artefact by artefact.
        notes: sentences the reader has to know, such as what was left out and why.
        verdict: what was found, in a few plain lines, each with its name and a colon before it.
        states: the light of each of them: ``good``, ``look`` or ``bad``.
        next: what a reader may want to do next.
        gate: what a gate said of a file with a planted fault; None where there was none.
    """

    title: str
    created: str
    command: str
    data: str
    samples: int
    machine: Machine
    rows: tuple[ModelRow, ...]
    curves: tuple[LayerCurve, ...] = ()
    comparisons: tuple[tuple[str, Comparison], ...] = ()
    drawings: tuple[Mapping[str, Json], ...] = ()
    profiles: tuple[Profile, ...] = ()
    notes: tuple[str, ...] = ()
    verdict: tuple[str, ...] = ()
    states: tuple[str, ...] = ()
    next: tuple[str, ...] = ()
    gate: GateResult | None = None

    @property
    def saturating(self) -> tuple[PairSaturation, ...]:
        """Files whose pairs of products saturate on a target of this machine, each once.

        As compared, else as timed.
        """
        compared = {
            found.name: found
            for _, comparison in self.comparisons
            for found in comparison.saturating
        }
        timed = {
            found.name: found
            for profile in self.profiles
            if (found := profile.saturating) is not None
        }
        return tuple((timed | compared).values())

    @property
    def accuracy_targets(self) -> tuple[str, ...]:
        """Targets with an accuracy, in the order they first occur."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.accuracy))

    @property
    def latency_targets(self) -> tuple[str, ...]:
        """Targets with a measured latency, in the order they first occur."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.latency))

    @property
    def formats(self) -> tuple[str, ...]:
        """Artefact formats with a size, in the order they first occur."""
        return tuple(dict.fromkeys(name for row in self.rows for name in row.size_bytes))
