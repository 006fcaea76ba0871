"""What a gate is asked: files, data, stages and rules."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgeq.deploy.evaluation.outputs.scoring import AskedTask
from edgeq.deploy.gate.statistics import ALPHA, POWER, RESAMPLES
from edgeq.deploy.preprocessing import NOTHING_ASKED

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Mapping
    from pathlib import Path

    from edgeq.deploy.preprocessing import AskedPreprocessing

FILE = "edgeq-gate.toml"
BASELINE = "edgeq-baseline.json"

Value = float | bool | str | tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule of the file.

    Attributes:
        name: of :data:`edgeq.deploy.gate.rules.RULES`.
        settings: what is set in it.
        stages: patterns of the stages that it is about; empty for all.
        line: where it stands, from 1; 0 where it comes from flags.
    """

    name: str
    settings: Mapping[str, Value]
    stages: tuple[str, ...] = ()
    line: int = 0

    def number(self, name: str) -> float | None:
        """A setting that is a number; None where it is not set."""
        value = self.settings.get(name)
        return float(value) if isinstance(value, int | float) else None

    def text(self, name: str) -> str:
        """A setting that is a text; empty where it is not set."""
        value = self.settings.get(name)
        return value if isinstance(value, str) else ""

    def words(self, name: str) -> tuple[str, ...]:
        """A setting of several texts."""
        value = self.settings.get(name)
        return value if isinstance(value, tuple) else ()

    @property
    def task(self) -> AskedTask:
        """The task that it names beside that of the run; one without a name for none.

        Raises:
            UsageError: an option of it is no ``KEY=VALUE``.
        """
        return AskedTask.parse(self.text("task"), self.words("task_options"))

    def covers(self, stage: str) -> bool:
        """Whether it is about a stage."""
        return matches(stage, self.stages)


@dataclass(frozen=True, slots=True)
class Expected:
    """A failure that is known and let pass for a time.

    Attributes:
        rule: the name of the rule, or a setting of it: ``drift``, ``accuracy.max_drop``.
        stage: a pattern of its stages; ``*`` for all.
        reason: why it is let pass.
        until: the last day of it.
        line: where it stands.
    """

    rule: str
    stage: str
    reason: str
    until: dt.date
    line: int = 0


@dataclass(frozen=True, slots=True)
class Levels:
    """How sure a gate has to be.

    Attributes:
        alpha: how often nothing but luck may be called worse.
        power: how often a drop that is there has to be found, for numbers of samples.
        resamples: of the bootstrap of figures other than top-1 accuracy.
        min_detectable_drop: points of accuracy that the samples have to be able to show; None for
            any.
        changing: the share of samples that change both ways beside a drop, for that.
    """

    alpha: float = ALPHA
    power: float = POWER
    resamples: int = RESAMPLES
    min_detectable_drop: float | None = None
    changing: float = 0.01


@dataclass(frozen=True, slots=True)
class GateConfig:
    """All that a gate is asked.

    Attributes:
        artefacts: the files.
        data: the data set.
        baseline: the committed file of figures.
        rules: in the order of judging.
        folder: what relative paths start from, and where ``command`` runs.
        path: the file that it was read from; None for flags or arguments.
        command: what makes the artefacts; empty for nothing.
        model: ``package.module:function``, the code that checkpoints among the artefacts need;
            empty for none.
        data_dir: the folder of data sets.
        split: the part of the data.
        samples: how many of it, spread evenly; None for all.
        preprocessing: how samples are fed.
        targets: the runtimes; empty for all that work here.
        stages: the stages by name; empty for each artefact on each target that opens it.
        float_stage: the stage that the gap is counted from; empty for the first one.
        threads: the most threads a runtime may use.
        seconds: how long each session is timed where a rule is about time.
        task: what the answers are judged by; empty for the data's own.
        task_options: of it.
        levels: how sure it has to be.
        expected: failures that are let pass.
    """

    artefacts: tuple[Path, ...]
    data: str
    baseline: Path
    rules: tuple[Rule, ...]
    folder: Path
    path: Path | None = None
    command: str = ""
    model: str = ""
    data_dir: Path | None = None
    split: str = "test"
    samples: int | None = None
    preprocessing: AskedPreprocessing = NOTHING_ASKED
    targets: tuple[str, ...] = ()
    stages: tuple[str, ...] = ()
    float_stage: str = ""
    threads: int = 1
    seconds: float = 3.0
    task: str = ""
    task_options: Mapping[str, str] = field(default_factory=dict)
    levels: Levels = field(default_factory=Levels)
    expected: tuple[Expected, ...] = ()

    def has(self, *names: str) -> bool:
        """Whether it has a rule of one of these names."""
        return any(rule.name in names for rule in self.rules)


def matches(stage: str, patterns: tuple[str, ...]) -> bool:
    """Whether a stage is one of some patterns, as a shell reads them; any is, of none."""
    return not patterns or any(fnmatchcase(stage, pattern) for pattern in patterns)
