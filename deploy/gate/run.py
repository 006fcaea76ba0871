"""Runs a gate: measures, compares with the baseline, judges, and says why."""

from __future__ import annotations

import datetime as dt
import hashlib
import math
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.chain import files_of
from edgeq.deploy.evaluation.compare import shorten
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.deploy.gate import statistics
from edgeq.deploy.gate.baseline import Baseline, context_changes, context_now
from edgeq.deploy.gate.causes import with_causes
from edgeq.deploy.gate.judges.context import Context
from edgeq.deploy.gate.judging import expected, judge, require_judged
from edgeq.deploy.gate.measuring import make_artefacts, measure, stages_of
from edgeq.deploy.gate.reading import rules_changed
from edgeq.deploy.gate.result import Finding, GateResult, StageValues, outcome_of
from edgeq.deploy.gate.revision import Earlier, commit_of, earlier_file, read_at
from edgeq.deploy.gate.updating import (
    conditions_changed,
    deltas,
    files_changed,
    require_numbers,
    require_plausible,
    require_run,
    updated,
)
from edgeq.deploy.gate.words import in_own_words
from edgeq.deploy.inputs import load_data
from edgeq.deploy.lint.run import require_known
from edgeq.errors import ArtefactError, EdgeqError, UsageError
from edgeq.factories import permit
from edgeq.files import check_output, temporary_folder
from edgeq.machine import fingerprint
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeq.data import DataSource
    from edgeq.deploy.gate.config import GateConfig
    from edgeq.deploy.gate.measuring import Measured
    from edgeq.deploy.gate.result import Delta


_NOT_KEPT = ("latency", "speed_up", "drift", "lint")
"""Rules of whose figures a baseline keeps nothing."""


@in_own_words
def gate(
    config: GateConfig,
    *,
    against: str = "",
    source: DataSource | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> GateResult:
    """Judge what is there now.

    Args:
        config: what is asked.
        against: a git revision whose baseline is the one to compare with; empty for the file.
        source: the data; None for those that ``config`` names.
        progress: called with the samples done and the samples in all.

    Raises:
        UsageError: something that is asked for cannot be.
        ArtefactError: a file or the baseline is missing or broken.
        TargetError: no target works here.
    """
    _check(config)
    commit = commit_of(against, config.folder) if against else ""
    baseline = (
        Baseline.parse(read_at(commit, config.baseline), f"{config.baseline} of {commit[:12]}")
        if commit
        else Baseline.read(config.baseline)
    )
    make_artefacts(config)
    source = source or source_of(config)
    where = f"{config.baseline} at {against} ({commit[:12]})" if commit else str(config.baseline)
    if (too_few := undetectable(config, source)) is not None:
        return GateResult("inconclusive", (too_few,), baseline=where, config=_path(config))
    with temporary_folder() as folder:
        earlier, stale = _earlier_files(config, baseline, commit)
        old_files = _written(earlier, folder)
        measured = measure(
            config, stages_of(config), source, old_files=old_files, progress=progress
        )
        context = Context(config, measured, baseline)
        findings = with_causes(judge(context), context, source, (old_files, earlier))
    day = dt.datetime.now(tz=dt.UTC).date()
    findings, remarks = expected([*stale, *findings], config.expected, day)
    now = measured.baseline(config.threads)
    changed = context_changes(baseline.context, context_now(config.threads))
    return _result(
        measured,
        findings,
        deltas(baseline, now, measured),
        where,
        config,
        (
            *measured.observed.comparison.remarks,
            *_loosened(config, commit),
            *(f"since the baseline, {each}" for each in changed),
            *remarks,
        ),
    )


@in_own_words
def update(
    config: GateConfig,
    *,
    named: tuple[str, ...] = (),
    forget: tuple[str, ...] = (),
    accept_worse: bool = False,
    accept_guessing: bool = False,
    source: DataSource | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> GateResult:
    """Accept what is measured now: write the baseline, or replace it.

    Args:
        config: what is asked.
        named: patterns of the stages to accept; empty for all.
        forget: patterns of the stages to leave out from now on.
        accept_worse: whether a stage may be worse than in the baseline.
        accept_guessing: whether an accuracy that guessing reaches too is accepted.
        source: as of :func:`gate`.
        progress: as of :func:`gate`.

    Raises:
        TargetError: a stage failed.
        Inconclusive: a stage is worse, is gone, or is like guessing, and nobody said that it may.
        EdgeqError: as of :func:`gate`.
    """
    _check(config)
    check_output(config.baseline, overwrite=True)
    before = _replaced(config.baseline, accept_worse=accept_worse)
    make_artefacts(config)
    source = source or source_of(config)
    kept = tuple(rule for rule in config.rules if rule.name not in _NOT_KEPT)
    asked = replace(config, rules=kept)
    measured = measure(asked, stages_of(config), source, progress=progress)
    require_run(measured.observed.comparison.failures, named)
    if not accept_guessing:
        require_plausible(measured, len(source.classes))
    require_judged(config, measured.observed)
    if not accept_worse:
        require_numbers(config, measured, named)
    made = measured.baseline(config.threads)
    if before is not None:
        context = Context(config, measured, before)
        made = updated(context, named=named, forget=forget, accept_worse=accept_worse)
    elif named or forget:
        raise UsageError(
            f"there is no baseline at {config.baseline} yet", hint="accept all stages first"
        )
    made.write(config.baseline)
    return _result(
        measured,
        None,
        deltas(before, made, measured),
        str(config.baseline),
        config,
        (
            *measured.observed.comparison.remarks,
            *conditions_changed(before, made),
            *files_changed(before, made),
        ),
    )


def _replaced(path: Path, *, accept_worse: bool) -> Baseline | None:
    """The baseline that is to be replaced; None where there is none.

    Raises:
        ArtefactError: what is there cannot be read, and nobody said that it may be lost.
    """
    if not path.exists():
        return None
    try:
        return Baseline.read(path)
    except ArtefactError as error:
        if accept_worse:
            return None
        raise ArtefactError(
            error.what, hint="to replace it as it is, add --accept-worse"
        ) from error


def source_of(config: GateConfig) -> DataSource:
    """The data of a gate, as they are fed."""
    return load_data(config.data, config.data_dir, config.preprocessing, config.artefacts)


def undetectable(config: GateConfig, source: DataSource) -> Finding | None:
    """What is said, before anything runs, of samples too few for the drop that has to be found."""
    asked = config.levels.min_detectable_drop
    if asked is None:
        return None
    samples, drop = detectable(config, source)
    if drop is not None and 100 * drop <= asked:
        return None
    gain = config.levels.changing / 2
    margin = _margin(config)
    needed = statistics.samples_needed(
        gain + asked / 100,
        gain,
        statistics.is_worse(margin, config.levels.alpha),
        wanted=config.levels.power,
    )
    least = "no drop" if drop is None else f"drops of {100 * drop:.2f} points or more"
    told = "" if needed is None else f"; about {needed:,} samples would find {asked:g}"
    return Finding(
        "statistics.min_detectable_drop",
        "",
        "accuracy",
        "inconclusive",
        f"{counted(samples, 'sample', 'find')} {least} in {100 * config.levels.power:g} "
        f"of 100 gates, and {asked:g} points are asked for{told}",
        measured=None if drop is None else 100 * drop,
        limit=asked,
        unit="points",
        samples_needed=needed,
        next_command="use more samples, or ask for less",
    )


def detectable(config: GateConfig, source: DataSource) -> tuple[int, float | None]:
    """How many samples a gate has, and the least drop, a share, that they find so often."""
    samples = len(select(source, config.split, config.samples))
    levels = config.levels
    drop = statistics.min_detectable_drop(
        samples,
        levels.changing,
        margin=_margin(config),
        alpha=levels.alpha,
        wanted=levels.power,
    )
    return samples, drop


def _margin(config: GateConfig) -> float:
    """The drop of accuracy that is allowed, a share."""
    allowed = [rule.number("max_drop") for rule in config.rules if rule.name == "accuracy"]
    return min((each for each in allowed if each is not None), default=0.0) / 100


def _check(config: GateConfig) -> None:
    """Refuse early what could not be judged, and permit the code that the file of rules names."""
    if config.model:
        permit(config.model)
    for rule in config.rules:
        if rule.name == "lint":
            require_known(rule.words("fail_on"))
        for value in rule.settings.values():
            if isinstance(value, float) and not math.isfinite(value):
                raise UsageError(
                    f"{rule.name} has a limit of {value}", hint="give a number from 0 on"
                )


def _earlier_files(
    config: GateConfig, baseline: Baseline, commit: str
) -> tuple[dict[str, Earlier], list[Finding]]:
    """The baseline's files, as far as they are at hand, and what is stale about the baseline."""
    hashes = {entry.artefact: entry.sha256 for entry in baseline.stages.values()}
    found: dict[str, Earlier] = {}
    stale = []
    for path, name in shorten(files_of(config.artefacts)).items():
        wanted = hashes.get(name)
        if wanted is None:
            continue
        if not commit:
            if (kept := earlier_file(wanted, path)) is not None:
                found[name] = kept
            continue
        content = None
        with suppress(EdgeqError):
            content = read_at(commit, path)
        if content is None:
            continue
        if hashlib.sha256(content).hexdigest() == wanted:
            found[name] = Earlier(content, commit[:12])
        else:
            stale.append(
                Finding(
                    "baseline",
                    name,
                    "baseline",
                    "inconclusive",
                    f"the baseline of {commit[:12]} is stale: it was taken of another "
                    f"{name} than that commit holds",
                    cause="the baseline was not written again when the file was committed",
                    next_command="write it again there: edgeq gate --update, and commit it",
                )
            )
    return found, stale


def _written(earlier: Mapping[str, Earlier], folder: Path) -> dict[str, Path]:
    """The baseline's files in a folder, for who opens them."""
    written = {}
    for name, each in earlier.items():
        written[name] = folder / name
        written[name].parent.mkdir(parents=True, exist_ok=True)
        written[name].write_bytes(each.content)
    return written


def _result(
    measured: Measured,
    findings: Sequence[Finding] | None,
    changed: tuple[Delta, ...],
    baseline: str,
    config: GateConfig,
    remarks: tuple[str, ...],
) -> GateResult:
    """The result of a run; of one that was accepted where there are no findings."""
    observed, machine = measured.observed, fingerprint()
    stages = [
        StageValues(stage.name, observed.comparison.samples, measured.values[stage.name])
        for stage in observed.comparison.stages
    ]
    stages += [
        StageValues(failure.name, 0, ran=False, why_not=failure.what)
        for failure in observed.comparison.failures
    ]
    return GateResult(
        "updated" if findings is None else outcome_of(findings),
        tuple(findings or ()),
        tuple(stages),
        changed,
        machine,
        machine.runtimes,
        baseline,
        _path(config),
        remarks,
    )


def _loosened(config: GateConfig, commit: str) -> Iterator[str]:
    """How the rules differ from those of the commit that it is measured against."""
    if commit and config.path is not None:
        with suppress(ArtefactError):
            yield from rules_changed(config, read_at(commit, config.path))


def _path(config: GateConfig) -> str:
    return "" if config.path is None else str(config.path)
