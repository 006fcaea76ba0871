"""Takes every figure that the rules of a gate ask for, and no other that costs time."""

from __future__ import annotations

import shlex
import subprocess
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.data.splitting import fewer
from edgeq.deploy.evaluation.audit import audit
from edgeq.deploy.evaluation.chain import Pair, chain, files_of
from edgeq.deploy.evaluation.compare import compare, shorten
from edgeq.deploy.evaluation.outputs.scoring import ACCURACY, AskedParts, AskedTask
from edgeq.deploy.evaluation.profile import profile_each
from edgeq.deploy.evaluation.stage_runner import select
from edgeq.deploy.gate.baseline import Baseline, Entry, context_now
from edgeq.deploy.gate.numbers import numbers_of
from edgeq.deploy.gate.rules import NOUNS, worst_setting
from edgeq.deploy.lint.run import lint
from edgeq.deploy.why.run import why
from edgeq.errors import ArtefactError, EdgeqError, UsageError
from edgeq.formats.artefact import detect
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from edgeq.data import DataSource, Split
    from edgeq.deploy.evaluation.compare import Observed
    from edgeq.deploy.gate.config import GateConfig
    from edgeq.deploy.lint.run import LintReport
    from edgeq.deploy.why.records import Why
    from edgeq.results import Failure, Profile, Stage

WHY_SAMPLES = 32  # on which operators are judged one by one
_FACTS: Mapping[str, tuple[str, ...]] = {
    "arena_bytes": ("arena_used_bytes", "arena_bytes"),
    "sram_bytes": ("sram_bytes",),
    "cycles": ("cycles",),
}
"""Figure to the facts of a session that tell it, the best first."""


@dataclass(frozen=True, slots=True, eq=False)
class Measured:
    """One run.

    Attributes:
        observed: the answers of each stage.
        part: the samples.
        pairs: stage name to what ran where.
        values: stage name to every figure, by name.
        placements: stage name to where and in what each operator ran; absent where nobody asked.
        no_placement: stage name to why its target tells nothing of that.
        numbers: file name to what is in it.
        lints: file name to what is wrong with it; absent where nobody asked.
        operators: how far operators are off, given equal inputs; None where nobody asked.
        profiles: stage name to its latency; of the baseline's file under ``then`` before the name.
        not_timed: stage name to why it could not be timed.
    """

    observed: Observed
    part: Split
    pairs: Mapping[str, Pair]
    values: Mapping[str, Mapping[str, float]]
    placements: Mapping[str, Mapping[str, str]]
    no_placement: Mapping[str, str]
    numbers: Mapping[str, Mapping[str, str]]
    lints: Mapping[str, LintReport]
    operators: Why | None = None
    profiles: Mapping[str, Profile] = field(default_factory=dict)
    not_timed: Mapping[str, Failure] = field(default_factory=dict)

    __repr__ = brief

    def baseline(self, threads: int) -> Baseline:
        """The baseline that this run makes."""
        stages = {stage.name: self._entry(stage) for stage in self.observed.comparison.stages}
        return Baseline(
            self.observed.data,
            self.observed.measure,
            stages,
            self.numbers,
            context_now(threads),
            fingerprint().cpu,
        )

    def _entry(self, stage: Stage) -> Entry:
        seen, scored = self.observed, stage.score is not None
        answers = seen.answers.get(stage.name)
        drawn = dict(seen.resampled.get(stage.name, {}))
        parts = seen.parts.get(stage.name, {})
        drawn |= {name: each.drawn for name, each in parts.items() if len(each.drawn)}
        return Entry(
            seen.correct(stage) if stage.accuracy is not None and not scored else None,
            stage.artefact,
            seen.artefacts[stage.name],
            score=stage.score.value if stage.score is not None else None,
            answers=None if answers is None or scored else answers.astype(np.int32),
            outputs=seen.outputs[stage.name],
            resampled=np.empty(0)
            if stage.score is None
            else drawn.pop(stage.score.name, np.empty(0)),
            further=drawn,
            values={
                name: value
                for name, value in self.values[stage.name].items()
                if not name.startswith("latency")  # of this machine and this day
            },
            parts={
                name: each.score.value
                for name, each in parts.items()
                if np.isfinite(each.score.value)
            },
            facts=stage.facts,
            placement=self.placements.get(stage.name, {}),
        )


def make_artefacts(config: GateConfig) -> None:
    """Run the command that makes the files, if there is one.

    Raises:
        ArtefactError: it fails.
    """
    if not config.command:
        return
    try:
        done = subprocess.run(
            shlex.split(config.command),
            cwd=config.folder,
            check=False,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        )
    except (OSError, ValueError) as error:
        raise ArtefactError(
            f"the command {config.command!r} cannot be run: {error}", hint="try it by hand"
        ) from error
    if done.returncode:
        said = (done.stderr.strip() or done.stdout.strip()).splitlines()
        raise ArtefactError(
            f"the command {config.command!r} ended with {done.returncode}"
            + (f": {said[-1]}" if said else ""),
            hint="run it by hand: the artefacts that it makes are what the gate judges",
        )


def stages_of(config: GateConfig) -> tuple[Pair, ...]:
    """What runs where.

    Raises:
        UsageError: a stage that is named is none of the files on none of the targets.
        EdgeqError: see :func:`edgeq.deploy.evaluation.chain.chain`.
    """
    targets = config.targets
    for stage in config.stages:
        artefact, at, target = stage.rpartition(" @ ")
        if not at or not artefact or not target:
            raise UsageError(
                f"{stage!r} names no stage",
                hint="write artefact @ target, such as net.onnx @ ort-cpu",
            )
        targets = (*targets, target)
    if config.stages:
        _require_staged(config)
    pairs = chain(config.artefacts, tuple(dict.fromkeys(targets)))
    if not config.stages:
        return pairs
    names = shorten([pair.artefact for pair in pairs])
    kept = [pair for pair in pairs if f"{names[pair.artefact]} @ {pair.target}" in config.stages]
    told = {f"{names[pair.artefact]} @ {pair.target}" for pair in kept}
    for stage in config.stages:
        if stage not in told:
            known = ", ".join(f"{names[pair.artefact]} @ {pair.target}" for pair in pairs)
            raise UsageError(f"{stage!r} is no stage of these artefacts", hint=f"known: {known}")
    return tuple(kept)


def _require_staged(config: GateConfig) -> None:
    """Return where every artefact has a stage: one without any would be judged by nothing."""
    staged = {stage.rpartition(" @ ")[0] for stage in config.stages}
    for name in shorten(files_of(config.artefacts)).values():
        if name not in staged:
            raise UsageError(
                f"{name} is among the artefacts, and no stage runs it",
                hint=f'add a stage such as "{name} @ TARGET", or take it out of the artefacts and '
                f"out of the baseline: edgeq gate --update --forget '{name} @ *'",
            )


def measure(
    config: GateConfig,
    pairs: Sequence[Pair],
    source: DataSource,
    *,
    old_files: Mapping[str, Path] | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Measured:
    """Run all stages and take the figures.

    Args:
        config: what is asked.
        pairs: the stages.
        source: the data, as they are fed.
        old_files: file name to the baseline's file of that name, where it is at hand.
        progress: called with the samples done and the samples in all.

    Raises:
        EdgeqError: see :func:`edgeq.deploy.evaluation.compare.compare`.
    """
    task = AskedTask(config.task, config.task_options)
    also = [rule.task for rule in config.rules if rule.task.name]
    observed = compare(
        pairs,
        source,
        split=config.split,
        limit=config.samples,
        threads=config.threads,
        tensors=False,
        task=task,
        also=list({each.label: each for each in also}.values()),
        resamples=config.levels.resamples,
        parts=_parts(config),
        progress=progress,
    )
    names = shorten([pair.artefact for pair in pairs])
    by_name = {f"{names[pair.artefact]} @ {pair.target}": pair for pair in pairs}
    files = {name: path for path, name in names.items()}
    ran = {stage.name: by_name[stage.name] for stage in observed.comparison.stages}
    placements, no_placement, shares = _placements(config, ran)
    values = _values(observed)
    for name, share in shares.items():
        values[name]["integer_share"] = share
    profiles, not_timed = _profiles(config, ran, source, old_files or {})
    for name, profile in profiles.items():
        if name in values:
            values[name]["latency_p50_ms"] = profile.latency.p50_ms
    return Measured(
        observed,
        select(source, config.split, config.samples),
        ran,
        values,
        placements,
        no_placement,
        {name: _numbers(path) for name, path in files.items()},
        {
            name: lint(path)
            for name, path in files.items()
            if config.has("lint") and detect(path) != "checkpoint"
        },
        _operators(config, list(ran.values()), source, task),
        profiles,
        not_timed,
    )


def _parts(config: GateConfig) -> list[AskedParts]:
    """The parts of the samples that rules judge a figure of."""
    return [
        AskedParts(noun, rule.task.label, rule.text("name"))
        if rule.name == "metric"
        else AskedParts(noun)
        for rule in config.rules
        for noun in NOUNS
        if rule.number(worst_setting(noun)) is not None
    ]


def _values(observed: Observed) -> dict[str, dict[str, float]]:
    """The figures that a comparison gives."""
    found: dict[str, dict[str, float]] = {}
    drift = {hop.stage: hop.output for hop in observed.comparison.from_reference}
    for stage in observed.comparison.stages:
        values = found[stage.name] = {"size_bytes": float(stage.size_bytes)}
        if stage.score is None and stage.accuracy is not None:
            values[ACCURACY] = stage.accuracy.fraction
        for name, score in observed.figures.get(stage.name, {}).items():
            if np.isfinite(score.value):
                values[name] = score.value
        if stage.agreement is not None:
            values["agreement"] = stage.agreement
        if stage.name in drift and np.isfinite(drift[stage.name].sqnr_db):
            values["sqnr_db"] = drift[stage.name].sqnr_db
        for name, facts in _FACTS.items():
            told = next((stage.facts[each] for each in facts if each in stage.facts), None)
            if told is not None:
                with suppress(ValueError):
                    values[name] = float(told)
    return found


def _placements(
    config: GateConfig, ran: Mapping[str, Pair]
) -> tuple[dict[str, dict[str, str]], dict[str, str], dict[str, float]]:
    """Where each operator runs, why it cannot be told, and the share of MACs in integers."""
    found: dict[str, dict[str, str]] = {}
    reasons: dict[str, str] = {}
    shares: dict[str, float] = {}
    asked = [rule for rule in config.rules if rule.name in ("placement", "integer_share")]
    for name, pair in ran.items():
        if not any(rule.covers(name) for rule in asked):
            continue
        try:
            audited = audit(pair.artefact, pair.target, threads=config.threads)
        except EdgeqError as error:
            reasons[name] = error.what
            continue
        found[name] = {op.name: f"{op.state} {op.kernel}".strip() for op in audited.ops}
        if audited.integer_share is not None:
            shares[name] = audited.integer_share
        else:
            reasons[name] = "the file does not tell how often its operators multiply"
    return found, reasons, shares


def _numbers(path: Path) -> dict[str, str]:
    """What a file holds; nothing of one that is read by its runtime alone."""
    with suppress(EdgeqError):
        return numbers_of(path)
    return {}


def _operators(
    config: GateConfig, pairs: Sequence[Pair], source: DataSource, task: AskedTask
) -> Why | None:
    """How far each operator of the stages that drift is asked of is off, given equal inputs."""
    if not any(rule.number("max_lsb_per_operator") is not None for rule in config.rules):
        return None
    limit = fewer(config.samples, WHY_SAMPLES)
    return why(
        pairs,
        source,
        split=config.split,
        limit=limit,
        threads=config.threads,
        task=task,
        given=("--data", config.data, *config.preprocessing.words()),
    ).why


def _profiles(
    config: GateConfig,
    ran: Mapping[str, Pair],
    source: DataSource,
    old_files: Mapping[str, Path],
) -> tuple[dict[str, Profile], dict[str, Failure]]:
    """The latency of each stage that a rule asks it of, all timed in turns."""
    rules = [rule for rule in config.rules if rule.name in ("latency", "speed_up")]
    if not rules:
        return {}, {}
    asked: dict[str, Pair] = {}
    for rule in rules:
        stages = [name for name in ran if rule.covers(name)]
        if rule.name == "speed_up":
            over = rule.text("over") or config.float_stage or next(iter(ran), "")
            asked |= {name: ran[name] for name in [*stages, over] if name in ran}
            continue
        for name in stages:
            artefact, _, target = name.rpartition(" @ ")
            if artefact in old_files:
                asked |= {name: ran[name], f"then {name}": Pair(old_files[artefact], target)}
    if not asked:
        return {}, {}
    timed = profile_each(
        list(asked.values()), source=source, threads=config.threads, seconds=config.seconds
    )
    names = shorten([pair.artefact for pair in asked.values()])
    known = {f"{names[pair.artefact]} @ {pair.target}": key for key, pair in asked.items()}
    profiles = {
        known[f"{each.artefact} @ {each.target}"]: each
        for each in timed.profiles
        if f"{each.artefact} @ {each.target}" in known
    }
    failed = {known[each.name]: each for each in timed.failures if each.name in known}
    return profiles, failed
