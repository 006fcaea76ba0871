"""How much of an artefact a target really computes in integers, and why not the rest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgeq.deploy.evaluation.chain import require_targets
from edgeq.deploy.evaluation.saturation.pair_saturation import layers_at_risk, remedy, with_counts
from edgeq.errors import GateFailed, Inconclusive, UsageError
from edgeq.formats.artefact import resolve
from edgeq.plan import Planner, called
from edgeq.tabular import Table, Tabular, share

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples
    from edgeq.plan import PlannedOp
    from edgeq.results import LayerSaturation

OpState = Literal["integer", "hybrid", "float", "delegated", "fallback", "removed"]


@dataclass(frozen=True, slots=True)
class AuditedOp:
    """One operator; see :class:`edgeq.plan.PlannedOp`.

    Attributes:
        state: delegated or fallen back where a delegate was asked for, else the numbers it computes
            with.
        integer: whether its products are of integers, wherever it runs; those of hybrid kernels
            are.
        hybrid: whether it quantises activations in float as it runs.
        macs: None where the artefact does not tell how many there are.
    """

    name: str
    op_type: str
    kernel: str
    state: OpState
    integer: bool
    hybrid: bool
    macs: int | None
    why: str


@dataclass(frozen=True, slots=True, repr=False)
class Audit(Tabular):
    """One artefact on one target.

    Attributes:
        artefact: the file's name.
        target: the target's name.
        ops: its operators, quantisers left out, in its own order.
        macs: multiplications with addition for one sample; of operators that tell them.
        integer_macs: those computed in integers, in hybrid kernels too.
        hybrid_macs: those of hybrid kernels.
        integer_share: the share in integers; None where nothing multiplies, or an operator does not
            tell how often it does.
        transposes: operators that only change the order of axes.
        transposed_bytes: what they write for one sample.
        saturating: layers that lose sums where this target runs on an x86 processor without VNNI.
        remedy: the command that cures these; empty where there are none.
    """

    artefact: str
    target: str
    ops: tuple[AuditedOp, ...]
    macs: int
    integer_macs: int
    hybrid_macs: int
    integer_share: float | None
    transposes: int
    transposed_bytes: int
    saturating: tuple[LayerSaturation, ...] = ()
    remedy: str = ""

    def table(self) -> Table:
        """Each operator with what it computes in, and why."""
        told = f"{share(self.integer_share)} % of" if self.integer_share is not None else "of"
        return Table(
            f"{self.artefact} on {self.target}: {told} {self.macs:,} MACs in integers",
            ("operator", "type", "runs as", "state", "MACs", "why"),
            [
                (
                    op.name,
                    op.op_type,
                    op.kernel,
                    op.state,
                    "?" if op.macs is None else f"{op.macs:,}",
                    op.why,
                )
                for op in self.ops
            ],
        )


def audit(
    artefact: Path, target: str, *, threads: int = 1, samples: Samples | None = None
) -> Audit:
    """Ask a target what it does with each operator of an artefact.

    Args:
        artefact: an ONNX or TFLite file, of this or any other tool.
        target: the target's name.
        threads: the most threads the runtime may use.
        samples: data on which to count the sums that saturate; None to tell only which can.

    Raises:
        ArtefactError: the file is missing, broken or of a format that the target does not open, or
            does not fit the data.
        UsageError: the target cannot tell.
        TargetError: the runtime is absent or refuses the file.
        UnknownName: no target has this name.
    """
    runtime = require_targets([target])[target]
    if not isinstance(runtime, Planner):
        raise UsageError(
            f"the target {target!r} cannot tell what it does with an operator",
            hint="audit the exported file on its runtime",
        )
    path = resolve(artefact)
    plan = runtime.plan(path, threads=threads)
    ops = tuple(_audited(op) for op in plan.ops)
    macs, integers = sum(op.macs or 0 for op in ops), sum(op.macs or 0 for op in ops if op.integer)
    hybrid = sum(op.macs or 0 for op in ops if op.hybrid)
    share = integers / macs if macs and not any(op.macs is None for op in ops) else None
    in_integers, in_float = (
        {op.name for op in ops if op.integer is integer} for integer in (True, False)
    )
    risky = tuple(
        layer
        for layer in layers_at_risk(path, runtime.capabilities)
        if layer.layer in in_integers or layer.layer not in in_float
    )
    if samples is not None:
        risky = with_counts(risky, path, samples, threads=threads)
    cure = remedy(path, target, runtime.capabilities, risky) if risky else ""
    return Audit(
        path.name,
        target,
        ops,
        macs,
        integers,
        hybrid,
        share,
        plan.transposes,
        plan.transposed_bytes,
        risky,
        cure,
    )


def _audited(op: PlannedOp) -> AuditedOp:
    integer, hybrid = op.arithmetic in ("integer", "hybrid"), op.arithmetic == "hybrid"
    return AuditedOp(op.name, op.op_type, op.kernel, _state(op), integer, hybrid, op.macs, op.why)


def _state(op: PlannedOp) -> OpState:
    if op.arithmetic == "none":
        return "removed"
    if op.place == "target":
        return op.arithmetic
    return "delegated" if op.place == "delegate" else "fallback"


def read_share(text: str) -> float:
    """A share as a user writes it, ``95%`` or ``0.95``, as a fraction.

    Raises:
        UsageError: it is none.
    """
    try:
        share = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise UsageError(
            f"{text!r} is no share of the MACs", hint="write --min-integer-macs 95% or 0.95"
        )
    return share


def require_share(found: Audit, least: float) -> None:
    """Let pass what is computed in integers to a share of its MACs.

    Raises:
        GateFailed: it is not; names the operator that costs most.
        Inconclusive: nothing in the artefact multiplies, or it does not tell how often something
            does.
    """
    unknown = next((op for op in found.ops if op.macs is None), None)
    if unknown is not None:
        raise Inconclusive(
            f"{unknown.op_type} {called(unknown.name)} may multiply, and {found.artefact} "
            "does not tell how often, "
            "so no share of its MACs can be told",
            hint="export it without this operator, or leave --min-integer-macs out",
        )
    if found.integer_share is None:
        raise Inconclusive(
            f"nothing in {found.artefact} multiplies, so no share of it is in integers",
            hint="leave --min-integer-macs out",
        )
    if found.integer_share >= least:
        return
    worst = max((op for op in found.ops if not op.integer), key=lambda op: op.macs or 0)
    raise GateFailed(
        f"{100 * found.integer_share:.2f} % of the MACs of {found.artefact} are in "
        f"integers on {found.target}, "
        f"and {100 * least:g} % are asked for; most is lost in {worst.op_type} "
        f"{called(worst.name)}: {worst.why}",
        hint="see the last column of the table; edgeq export --for writes the dialect that a "
        "target computes in integers",
    )
