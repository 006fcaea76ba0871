"""What every target answers.

What it can do, whether it works here, and what an artefact computes on it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, Self, TypeAlias, runtime_checkable

from edgeq.errors import MissingDependency, UnknownName, UsageError
from edgeq.formats.dialect import DIALECTS
from edgeq.registry import Registry
from edgeq.timing import SelfTimed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    import numpy as np
    from numpy.typing import NDArray

    from edgeq.formats.artefact import Format
    from edgeq.formats.dialect import Dialect
    from edgeq.quant import QuantizedTensor, QuantParams
    from edgeq.timing.details import OperatorTime, StartUp

Batch: TypeAlias = "NDArray[np.float32] | Mapping[str, NDArray[np.float32]]"
"""Samples, (samples, *sample shape); by the name of the input where there are several."""

Answers: TypeAlias = "Mapping[str, NDArray[np.float32]]"
"""What a batch is answered with, by the name of the output."""
Shown: TypeAlias = "Mapping[str, QuantizedTensor | NDArray[np.float32]]"
"""Tensors inside a graph, by name."""

LatencyKind = Literal["measured", "simulated", "estimated"]
SaturatingPairs = Literal["never", "across", "within"]


@dataclass(frozen=True, slots=True)
class ChainLink:
    """Where a target stands between the trained network and the device.

    Attributes:
        place: among all that have one; `edgeq compare` runs lower ones first.
        causes: all causes of drift between the trained network in float and this target.
    """

    place: int
    causes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a target can run.

    Exporters, comparisons and gates read this and never the target's name.

    Attributes:
        formats: artefact formats it opens.
        storage_dtypes: integer types it computes quantised activations in; empty for a target that
            computes in float.
        per_channel: whether weight scales may differ by output channel.
        intermediates: whether tensors inside the graph can be read.
        latency: what a latency taken on it means.
        summary: one line for people.
        dialect: how files for it are to be written; None for a target that runs checkpoints.
        on_request: whether it runs only where it is named: it is slow, far away, or takes no files
            but those of its own dialect.
        power_of_two: whether it only shifts, so that every scale has to be a power of two.
        saturating_pairs: which products of int8 weights its kernels add in 16 bits where the
            processor is an x86 without VNNI: none, or neighbours ``across`` or ``within`` the
            positions of a filter; see :mod:`edgeq.qdq.ort_x86.saturation`.
        uint8_weight_cost: the time that a network takes with uint8 weights in every layer, over
            that with int8 weights, on an x86 with AVX2 and without VNNI; measured on ResNet-20.
            None where it has not been measured.
        emulates_pairs: whether it adds pairs so on every machine, as the emulator of such a
            processor does.
        qoperator: whether it has kernels for QLinearConv and the like; others are given QOperator
            files in their QDQ form.
        reference: whether it computes its format to the letter and shows inner tensors, so that
            other kernels are judged by it.
        replays: whether it interprets quantised files operator by operator, and counts what happens
            to their sums; see :mod:`edgeq.diffing.replay`.
        link: its place between network and device; None for one that comes last.
        integers_only: whether it runs nothing in float, so that it refuses files in float.
    """

    formats: frozenset[Format]
    storage_dtypes: frozenset[str]
    per_channel: bool
    intermediates: bool
    latency: LatencyKind
    summary: str
    dialect: Dialect | None = None
    on_request: bool = False
    power_of_two: bool = False
    saturating_pairs: SaturatingPairs = "never"
    uint8_weight_cost: float | None = None
    emulates_pairs: bool = False
    qoperator: bool = False
    reference: bool = False
    replays: bool = False
    link: ChainLink | None = None
    integers_only: bool = False


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a target works on this machine.

    Attributes:
        usable: whether it can be opened here.
        versions: package name to version, of what it runs on.
        why_not: what is missing, empty when usable.
        hint: how to make it usable, empty when usable.
    """

    usable: bool
    versions: Mapping[str, str] = field(default_factory=dict)
    why_not: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """One input or output of an opened artefact.

    Attributes:
        name: its name in the artefact.
        shape: the dimensions without the batch, in the artefact's own layout; all of them where
            there is no batch.
        dtype: numpy's name for the element type at the artefact's boundary.
        params: its grid, when it is quantised at the boundary.
        channels_last: of an input, whether it takes images with their channels in the last
            dimension, as far as the artefact tells; sizes alone do not, of an image as wide and as
            high as it has channels.
        batched: whether a batch of one stands before ``shape``; a state may have none.
        rows: of an input of whole numbers that pick rows of a table, how many rows that has; 0 for
            any other.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    params: QuantParams | None = None
    channels_last: bool = False
    batched: bool = True
    rows: int = 0


class Session(Protocol):
    """One artefact opened on one target; a context manager that frees the runtime at its end."""

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        """The inputs, in the artefact's order."""
        ...

    @property
    def output(self) -> TensorSpec:
        """The first output."""
        ...

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        """The first output, and those of the others that hold real numbers for each sample."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What really runs, for reports: provider, kernels, operators after optimisation."""
        ...

    def run(self, batch: Batch) -> NDArray[np.float32]:
        """Compute the first output for a batch.

        Args:
            batch: float32, (samples, *shape), in NCHW or in the artefact's own layout, for each
                input. A quantised boundary is quantised and dequantised with the artefact's own
                scale; an input of whole numbers, such as tokens, takes them as floats.

        Raises:
            ArtefactError: the batch does not fit the artefact's inputs.
            TargetError: the runtime failed.
        """
        ...

    def run_all(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        """Compute all :attr:`outputs` for a batch: name to values, in the artefact's order.

        Args:
            batch: as for :meth:`run`, which gives the first of them.
        """
        ...

    def tensors(self, batch: Batch) -> Mapping[str, QuantizedTensor | NDArray[np.float32]]:
        """Every readable tensor inside the graph for a batch, in graph order, in NCHW, by name.

        Raises:
            TargetError: the target cannot show intermediate tensors.
        """
        ...

    def prepare(self, batch: Batch) -> None:
        """Set the inputs once, so that :meth:`invoke` times the runtime and nothing of ours."""
        ...

    def invoke(self) -> None:
        """Run once on what :meth:`prepare` set."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class ShowingSession(Protocol):
    """A session that answers and shows its tensors in one run."""

    def run_and_show(self, batch: Batch) -> tuple[Answers, Shown]:
        """What :meth:`Session.run_all` and :meth:`Session.tensors` give for a batch."""
        ...


@runtime_checkable
class Target(Protocol):
    """A place where artefacts run.

    Registered in the entry-point group ``edgeq.targets`` under the name users type.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What it can do; importing no runtime."""
        ...

    def probe(self) -> Availability:
        """Whether it works here; never raises."""
        ...

    def open(self, artefact: Path, *, threads: int = 1, intermediates: bool = False) -> Session:
        """Load an artefact.

        Args:
            artefact: a file of one of the capabilities' formats.
            threads: the most threads the runtime may use.
            intermediates: whether :meth:`Session.tensors` will be called (may be slower, never
                other numbers).

        Raises:
            ArtefactError: the file is missing, broken or of another format.
            TargetError: the runtime is absent or refuses the file.
        """
        ...


@runtime_checkable
class Varied(Protocol):
    """A target that comes in several kinds, each of them a target of the name ``NAME:KIND``."""

    def variants(self) -> tuple[str, ...]:
        """The kinds that can be listed; there may be more that can be asked for."""
        ...

    def variant(self, kind: str) -> Target:
        """One kind.

        Raises:
            UsageError: there is none such.
        """
        ...


@runtime_checkable
class Counting(Protocol):
    """A target that emulates a processor, and counts what it executes instead of timing it."""

    def instructions(self, artefact: Path) -> int:
        """How many instructions the runtime retires for one sample; may take minutes.

        Raises:
            ArtefactError: the file is missing, broken or of another format.
            TargetError: the runtime is absent or refuses the file, or they cannot be counted.
        """
        ...


class RuntimeAlone(SelfTimed, Protocol):
    """A model in its runtime, in a process of its own; a context manager that ends it."""

    @property
    def start_up(self) -> StartUp:
        """What it took to begin."""
        ...

    def set(self, values: Sequence[NDArray[np.generic]]) -> None:
        """Give the runtime its inputs, each with its batch and of the artefact's own type."""
        ...

    def invoke(self) -> None:
        """Run once."""
        ...

    def operators(self) -> tuple[OperatorTime, ...]:
        """What each operator takes, by the runtime's own profiler.

        Raises:
            TargetError: it has none.
        """
        ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None: ...


@runtime_checkable
class Startable(Protocol):
    """A target whose runtime can be looked at alone, without edgeq in its process."""

    def alone(self, artefact: Path, *, threads: int = 1, batch: int = 1) -> RuntimeAlone:
        """Load an artefact in a process of its own, and run it once.

        Args:
            artefact: as of :meth:`Target.open`.
            threads: the most threads the runtime may use.
            batch: how many samples a run is of.

        Raises:
            ArtefactError: the file is missing, broken or of another format.
            TargetError: the runtime is absent, or refuses the file or the batch.
        """
        ...


class TargetSource(Protocol):
    """Targets that are found rather than installed, such as a user's own boards.

    In the group ``edgeq.target_sources``.
    """

    def names(self) -> list[str]:
        """What there is; raises :class:`edgeq.errors.UsageError` where that cannot be told."""
        ...

    def load(self, name: str) -> Target:
        """One of them."""
        ...

    def adjust(self, name: str, target: Target) -> Target:
        """An installed target, as the user wants it set."""
        ...


class TargetRegistry(Registry[Target]):
    """The installed targets and those that sources find; an installed name goes first."""

    def __init__(self) -> None:
        super().__init__("target")
        self._sources: Registry[TargetSource] = Registry("target_source")

    def names(self) -> list[str]:
        """Every name, sorted."""
        return sorted(
            {*super().names(), *(name for source in self._each() for name in source.names())}
        )

    def load(self, name: str) -> Target:
        """What ``name``, or ``name:kind``, stands for; see :meth:`Registry.load`.

        Raises:
            UsageError: the user's own description of it is wrong, or it does not come in this kind.
        """
        whole, colon, kind = name.partition(":")
        if colon and name not in self.names():
            return self._variant(whole, kind)
        if name not in super().names():
            for source in self._each():
                if name in source.names():
                    return source.load(name)
            raise UnknownName(self.kind, name, self.names())
        target = super().load(name)
        for source in self._each():
            target = source.adjust(name, target)
        return target

    def _variant(self, name: str, kind: str) -> Target:
        target = self.load(name)
        if not isinstance(target, Varied):
            raise UsageError(
                f"the target {name!r} comes in one kind only, not in {kind!r}",
                hint=f"name it {name}",
            )
        return target.variant(kind)

    def _each(self) -> list[TargetSource]:
        return [self._sources.load(name) for name in self._sources.names()]


TARGETS = TargetRegistry()


def dialect_for(name: str) -> Dialect:
    """The dialect of a registered target, or of a runtime of the table.

    Raises:
        UnknownName: neither knows the name.
        UsageError: the target reads no exported files.
    """
    registered = TARGETS.names()
    if name not in registered and name.partition(":")[0] not in registered:
        if name not in DIALECTS:
            raise UnknownName("target", name, {*registered, *DIALECTS})
        return DIALECTS[name]
    try:
        dialect = TARGETS.load(name).capabilities.dialect
    except MissingDependency:
        if name in DIALECTS:
            return DIALECTS[name]
        raise
    if dialect is None:
        raise UsageError(
            f"the target {name!r} runs checkpoints, for which nothing has to be exported",
            hint="name another with --for",
        )
    return dialect
