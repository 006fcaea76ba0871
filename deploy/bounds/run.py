"""Everything that is provable of one file: what ``edgeq bounds`` and ``edgeq.bounds`` do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.deploy.bounds.sums import LayerSums, layer_sums, sums_table
from edgeq.errors import GateFailed, UsageError
from edgeq.formats.artefact import detect, resolve
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.deploy.bounds.drift.certificate import Certificate
    from edgeq.deploy.bounds.weights import WeightBounds
    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples


@dataclass(frozen=True, slots=True, repr=False)
class Bounds(Tabular):
    """What is provable of one file.

    Attributes:
        file: its path, as given.
        sums: of each layer with integers.
        skipped: how many layers are in float, or do not tell what their sums can come to.
        certificates: how far its answers can be from FP32; empty where that was not asked for.
        weights: what rounding its weights can change, by norms; None where that was not asked for.
    """

    file: str
    sums: tuple[LayerSums, ...]
    skipped: int
    certificates: tuple[Certificate, ...] = ()
    weights: WeightBounds | None = None

    @property
    def accumulator_bits(self) -> int:
        """The least width of an accumulator in which no sum of the file overflows."""
        return max((row.bits for row in self.sums), default=0)

    def table(self) -> Table:
        """The sums of each layer."""
        return sums_table(self.file, self.sums, self.skipped)


def bounds(
    path: Path,
    *,
    drift: bool = False,
    samples: Samples | None = None,
    targets: Sequence[str] = (),
    threads: int = 1,
    origin: Path | None = None,
) -> Bounds:
    """Bound what a file can come to.

    Args:
        path: an ONNX or TFLite file of any tool, a checkpoint or a training folder.
        drift: whether to bound how far its answers can be from FP32 for every input.
        samples: data on which to bound it, and to measure it, sample by sample.
        targets: runtimes whose answers are held against the bound.
        threads: the most threads a runtime may use.
        origin: the float file that it was made from, to bound what rounding its weights changed.

    Raises:
        ArtefactError: the file is missing or broken.
        UsageError: its drift is asked for and an operator has no bound, or an origin is given of a
            file that is not ONNX.
        TargetError: a runtime is absent or refuses the file.
        UnknownName: no target has a name.
    """
    from edgeq.deploy.pipeline.reading import view_of

    found = resolve(path)
    model = view_of(found)
    rows = layer_sums(model)
    certificates: list[Certificate] = []
    if drift or samples is not None:
        from edgeq.deploy.bounds.drift.asked import certificates_of

        certificates = certificates_of(found, samples, targets, threads=threads, any_input=drift)
    elif targets:
        raise UsageError("targets are named, and no data", hint="add --data NAME")
    weights = None
    if origin is not None or (drift and detect(found) == "onnx"):
        from edgeq.deploy.bounds.weights import weight_bounds

        weights = weight_bounds(found, origin, samples, threads=threads)
    return Bounds(str(path), rows, len(model.layers) - len(rows), tuple(certificates), weights)


def require_held(found: Bounds) -> None:
    """Let pass what no runtime contradicts.

    Raises:
        GateFailed: a runtime is further from FP32 than a conforming kernel can be.
    """
    for held in (each for certificate in found.certificates for each in certificate.held):
        if held.violations:
            raise GateFailed(
                f"{held.target} is beyond the bound of {found.file} on "
                f"{counted(held.violations, 'sample')}, so an operator is more than 1 LSB off",
                hint=f"edgeq compare {found.file} --target {held.target} shows which operator",
            )
