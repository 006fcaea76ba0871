"""Why a rule failed: what is different from the baseline, and what ``why`` and ``diff`` find."""

from __future__ import annotations

import shlex
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.data.splitting import fewer
from edgeq.deploy.diff.run import diff
from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.deploy.gate.baseline import context_changes, context_now
from edgeq.deploy.gate.judges.fall import fall_of
from edgeq.deploy.gate.judges.files import NAMED, told
from edgeq.deploy.gate.measuring import WHY_SAMPLES
from edgeq.deploy.gate.numbers import changes, is_another_network
from edgeq.deploy.gate.revision import place_of_copy
from edgeq.deploy.why.run import why
from edgeq.errors import EdgeqError
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgeq.data import DataSource
    from edgeq.deploy.gate.config import GateConfig
    from edgeq.deploy.gate.judges.context import Context
    from edgeq.deploy.gate.result import Finding
    from edgeq.deploy.gate.revision import Earlier
    from edgeq.deploy.why.records import Why
    from edgeq.results import Stage

_NEAR = 0.5  # points by which a stage and the float stage fall alike


def with_causes(
    findings: Sequence[Finding],
    context: Context,
    source: DataSource,
    old_files: tuple[Mapping[str, Path], Mapping[str, Earlier]],
) -> list[Finding]:
    """Findings of which those that failed name a cause and the next command.

    Args:
        findings: of all rules.
        context: the run and its baseline.
        source: the data.
        old_files: the baseline's files that are at hand, by name: where to read each, and where
            it comes from.
    """
    search = _Search(context, source, *old_files)
    return [
        search.explained(each)
        if each.outcome == "fail" and not (each.cause and each.next_command)
        else each
        for each in findings
    ]


def _fed(config: GateConfig) -> Iterator[str]:
    """The flags that name the samples of a gate, how they are fed and what judges the answers."""
    yield from ("--data", config.data)
    if config.data_dir is not None:
        yield from ("--data-dir", str(config.data_dir))
    if config.split != "test":
        yield from ("--split", config.split)
    if config.samples is not None:
        yield from ("--limit", str(config.samples))
    if config.model:
        yield from ("--model", config.model)
    if config.task:
        yield from ("--task", config.task)
    for name, value in config.task_options.items():
        yield from ("--task-option", f"{name}={value}")
    yield from config.preprocessing.words()


class _Search:
    """Looks for causes; what takes time is done once, and only if it is needed."""

    def __init__(
        self,
        context: Context,
        source: DataSource,
        old_files: Mapping[str, Path],
        earlier_files: Mapping[str, Earlier],
    ) -> None:
        self._context, self._source = context, source
        self._old_files, self._earlier_files = old_files, earlier_files
        self._why: Why | None = context.measured.operators
        self._asked = self._why is not None
        self._known: dict[str, tuple[str, str]] = {}

    def explained(self, finding: Finding) -> Finding:
        """A finding that failed, with its cause and the next command."""
        if finding.stage not in self._known:
            self._known[finding.stage] = self._of(finding.stage)
        cause, command = self._known[finding.stage]
        # what the finding says itself is not said again
        cause = cause.removesuffix(f": {finding.message.removeprefix(f'{finding.stage}: ')}")
        return replace(
            finding,
            cause=finding.cause or cause,
            next_command=finding.next_command or command,
        )

    def _of(self, name: str) -> tuple[str, str]:
        stages = self._context.measured.observed.comparison.stages
        stage = next((each for each in stages if name in (each.name, each.artefact)), None)
        if stage is None:
            return "", "see edgeq gate --json"
        pair = self._context.measured.pairs[stage.name]
        fed = shlex.join(_fed(self._context.config))
        ask_why = f"edgeq why {shlex.quote(str(pair.artefact))} {fed} --target {pair.target}"
        if name == stage.artefact:
            return self._of_file(stage, str(pair.artefact), ask_why)
        entry = self._context.baseline.stages.get(stage.name)
        if entry is None:
            return "", ask_why
        lost, cure = self._saturates(stage)
        same = self._context.measured.observed.artefacts[stage.name] == entry.sha256
        if not same:
            cause, command = self._of_file(stage, str(pair.artefact), ask_why)
            cause = self._new_float(stage) or cause
            return "; ".join(filter(None, (lost, cause))), cure or command
        changed = self._surroundings(stage)
        if changed or lost:
            told_all = "; ".join(filter(None, (lost, *changed)))
            return f"the file is the baseline's; other is {told_all}", cure or ask_why
        return self._reason(stage) or (
            "the file, the samples, the versions and the processor are the baseline's: "
            f"{pair.target} itself computes otherwise"
        ), ask_why

    def _of_file(self, stage: Stage, path: str, ask_why: str) -> tuple[str, str]:
        """What a file has otherwise than the baseline's."""
        then = self._context.baseline.numbers.get(stage.artefact, {})
        found = changes(then, self._context.measured.numbers.get(stage.artefact, {}))
        old = self._old_files.get(stage.artefact)
        if found and not is_another_network(found, then) and old is not None:
            with suppress(EdgeqError):
                differs = diff(old, self._context.measured.pairs[stage.name].artefact).differences
                first = "; ".join(
                    f"{each.kind} in {each.where}: {each.detail}" for each in differs[:NAMED]
                )
                more = len(differs) - NAMED
                if first:
                    rest = f"; and {counted(more, 'other difference')}" if more > 0 else ""
                    return f"the file is another one: {first}{rest}", self._ask_diff(stage, path)
        if found:
            # beside no earlier file, `edgeq why` has nothing to find a changed integer by
            copy = place_of_copy(Path(path))
            lost = "" if old else f"; the baseline's file is not at hand: put a copy at {copy}"
            return f"the file is another one: {told(found, then)}{lost}", self._ask_diff(
                stage, path
            )
        return self._reason(stage) or "the file has other bytes, and the same numbers", ask_why

    def _ask_diff(self, stage: Stage, path: str) -> str:
        """How to see all that is different from the baseline's file."""
        before = shlex.quote(str(place_of_copy(Path(path))))
        ask = f"edgeq diff {before} {shlex.quote(path)}"
        kept = self._earlier_files.get(stage.artefact)
        if kept is None or not kept.revision:
            return ask
        folder, name = Path(path).parent, shlex.quote(f"{kept.revision}:./{Path(path).name}")
        there = "" if folder == Path() else f" -C {shlex.quote(str(folder))}"
        return f"git{there} show {name} > {before} && {ask}"

    def _surroundings(self, stage: Stage) -> list[str]:
        """What is different around a file that is the same."""
        baseline = self._context.baseline
        found = context_changes(baseline.context, context_now(self._context.config.threads))
        then = baseline.stages[stage.name].facts
        return found + context_changes(then, stage.facts)

    def _saturates(self, stage: Stage) -> tuple[str, str]:
        """What saturates on this processor, and what to do about it; empty where nothing does."""
        for each in self._context.measured.observed.comparison.saturating:
            if each.name == stage.name and (each.wrong or not each.counted):
                return f"the processor: {each.what}", each.hint
        return "", ""

    def _new_float(self, stage: Stage) -> str:
        """Whether the float stage fell as much, so that quantisation is not to blame."""
        first = self._context.float_stage()
        if first is None or first.name == stage.name:
            return ""
        if not self._context.config.float_stage and self._is_quantised(first):
            return ""
        pairs = [(each, self._context.baseline.stages.get(each.name)) for each in (stage, first)]
        falls = [
            None if then is None else fall_of(self._context, each, then) for each, then in pairs
        ]
        mine, its = falls
        if mine is None or its is None or its.amount <= 0:
            return ""
        if mine.amount - its.amount > _NEAR:
            return ""
        return (
            f"the float stage {first.name} lost {its.amount:.2f} points too: the network is "
            "another one, and its quantisation is not to blame"
        )

    def _is_quantised(self, stage: Stage) -> bool:
        """Whether the file of a stage stores weights on grids."""
        known = self._context.measured.numbers.get(stage.artefact, {})
        return any(key.endswith("|weight grid") for key in known)

    def _reason(self, stage: Stage) -> str:
        """What ``edgeq why`` finds."""
        if not self._asked:
            self._asked = True
            config = self._context.config
            with suppress(EdgeqError):
                self._why = why(
                    list(self._context.measured.pairs.values()),
                    self._source,
                    split=config.split,
                    limit=fewer(config.samples, WHY_SAMPLES),
                    threads=config.threads,
                    task=AskedTask(config.task, config.task_options),
                ).why
        causes = () if self._why is None else self._why.causes
        for each in causes:
            if stage.name in each.stages:
                where = f" in {each.place}" if each.place else ""
                return f"{each.kind}{where}: {each.what}"
        return ""
