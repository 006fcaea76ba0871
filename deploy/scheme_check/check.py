"""Whether targets can hold what a scheme asks for, before anything is trained.

The untrained network is lowered, exported and planned.

No table of opinions: a refusal is the exporter's own, what runs in integers is the runtime's own
answer, and where a target is not usable here only its exporter is asked.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeq.deploy.names import one_by_one
from edgeq.deploy.scheme_check.findings import exported, finding, refused, unlowered
from edgeq.deploy.scheme_check.requirements import in_float, kept_in_float, lower_untrained
from edgeq.errors import EdgeqError, GateFailed, MissingDependency, TargetError
from edgeq.exporter import EXPORTERS, ExportOptions
from edgeq.files import temporary_folder
from edgeq.formats.dialect import DIALECTS
from edgeq.plan import Plan, Planner
from edgeq.target import TARGETS, dialect_for

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx_ir as ir
    from torch import fx

    from edgeq.deploy.scheme_check.findings import Finding
    from edgeq.deploy.scheme_check.requirements import UntrainedNetwork
    from edgeq.exporter import Exported
    from edgeq.formats.dialect import Dialect
    from edgeq.target import Target


@dataclass(frozen=True, slots=True)
class TargetCheck:
    """One target.

    Attributes:
        target: its name.
        usable: whether it could be asked here what it runs in integers.
        why_not: what is missing where it could not.
        hint: how to make it usable.
        findings: what it makes of each kind of tensor.
    """

    target: str
    usable: bool
    why_not: str
    hint: str
    findings: tuple[Finding, ...]

    @property
    def exact(self) -> bool:
        """Whether it can hold all that the scheme asks for."""
        return all(one.verdict == "exact" for one in self.findings)


def target_names(given: Sequence[str]) -> list[str]:
    """The targets of a repeated flag, each of which may name several with commas; each once.

    Raises:
        UnknownName: none is called so; offers the nearest.
    """
    return one_by_one("target", given, {*TARGETS.names(), *DIALECTS})


def check_scheme(
    model: fx.GraphModule, input_shape: tuple[int, ...], targets: Sequence[str]
) -> tuple[TargetCheck, ...]:
    """Ask each target about an untrained network of images.

    The network's ranges are set to those of noise.

    Args:
        model: as :func:`edgeq.training.qat_transform.quantize` makes it.
        input_shape: of one sample.
        targets: names from :func:`target_names`.

    Raises:
        UsageError: an operation of the network has no ONNX form, or a target does not come in the
            kind named.
    """
    return check_lowered(lower_untrained(model, input_shape), targets)


def check_lowered(lowered: UntrainedNetwork, targets: Sequence[str]) -> tuple[TargetCheck, ...]:
    """Ask each target about a network and what it asks for.

    Args:
        lowered: the network.
        targets: names from :func:`target_names`.

    Raises:
        UsageError: a target does not come in the kind named.
    """
    with temporary_folder() as folder:
        return tuple(_check(name, lowered, folder) for name in targets)


def require(found: Sequence[TargetCheck]) -> None:
    """Let pass what every target can hold, as far as every one could be asked.

    Raises:
        GateFailed: one cannot.
        TargetError: each can as far as its exporter knows, and one could not be asked.
    """
    cannot = [checked for checked in found if not checked.exact]
    if cannot:
        first = next(
            one for one in cannot[0].findings if one.verdict in ("approximated", "refused")
        )
        names = ", ".join(checked.target for checked in cannot)
        raise GateFailed(
            f"{names} cannot hold this scheme exactly; {cannot[0].target}: {first.why}",
            hint=first.hint,
        )
    for checked in found:
        if not checked.usable:
            raise TargetError(
                f"only the exporter for {checked.target} was asked: {checked.why_not}",
                hint=checked.hint,
            )


def _check(name: str, lowered: UntrainedNetwork, folder: Path) -> TargetCheck:
    target, why_not, hint = _usable(name)
    return TargetCheck(
        name, not why_not, why_not, hint, _findings(name, target, lowered, folder, why_not)
    )


def _usable(name: str) -> tuple[Target | None, str, str]:
    """A target, and what keeps it from running here."""
    if name in DIALECTS and name not in TARGETS.names():
        return (
            None,
            "edgeq writes files for it, and runs none",
            "export with --for, and run the file there",
        )
    try:
        target = TARGETS.load(name)
    except MissingDependency as error:
        return None, error.what, error.hint
    state = target.probe()
    return target, state.why_not, state.hint


def _findings(
    name: str, target: Target | None, lowered: UntrainedNetwork, folder: Path, why_not: str
) -> tuple[Finding, ...]:
    if target is not None and target.capabilities.dialect is None:
        return _of_checkpoint(target, lowered)
    if lowered.model is None:
        return unlowered(lowered.requirements)
    requirements = lowered.requirements
    try:
        dialect = dialect_for(name)
        model = lowered.model(dialect.format)
        left_in_float = in_float(model)
        requirements = (*requirements, *left_in_float)
        written, refusal = _export(model, dialect)
        if not left_in_float:
            requirements = (*requirements, *kept_in_float(written))
        plan = (
            None
            if why_not or not isinstance(target, Planner)
            else _plan(target, written, folder / f"{name.replace(':', '-')}.{dialect.format}")
        )
    except EdgeqError as error:
        return refused(requirements, error)
    return tuple(exported(one, target, dialect, written, refusal, plan) for one in requirements)


def _of_checkpoint(target: Target, lowered: UntrainedNetwork) -> tuple[Finding, ...]:
    """What a target makes of the network that needs no file but the checkpoint."""
    if lowered.unopened is not None:
        return refused(lowered.requirements, lowered.unopened)
    requirements = (
        lowered.requirements
        if lowered.model is None
        else (*lowered.requirements, *in_float(lowered.model("onnx")))
    )
    why = f"it runs the checkpoint itself: {target.capabilities.summary}"
    return tuple(finding(one, "exact", "float", why) for one in requirements)


def _export(model: ir.Model, dialect: Dialect) -> tuple[Exported, EdgeqError | None]:
    """A file in a dialect, with no more allowed than has to be, and what refused to do with less.

    Raises:
        EdgeqError: not even then; says why it was refused at first.
    """
    strict = ExportOptions(dialect=dialect)
    in_float = replace(strict, allow_float=True)
    refusal: EdgeqError | None = None
    for options in (strict, in_float):
        try:
            return EXPORTERS.load(dialect.format).export(model, options), refusal
        except EdgeqError as error:
            refusal = refusal or error
    try:
        return EXPORTERS.load(dialect.format).export(
            model, replace(in_float, requantize=True)
        ), refusal
    except EdgeqError as error:
        raise refusal or error from error


def _plan(target: Planner, written: Exported, path: Path) -> Plan:
    path.write_bytes(written.content)
    return target.plan(path)
