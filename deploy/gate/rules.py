"""What can be set in a file of rules: its keys, the rules, and what each of them takes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.tasks.slices import Noun

Kind = Literal["number", "share", "count", "flag", "text", "words"]
"""What a setting of a rule holds; see :data:`KINDS`."""
KeyKind = Kind | Literal["samples", "table", "tables", "date", "preprocessing"]
"""What a key of the file holds."""
KINDS: Mapping[KeyKind, str] = {
    "number": "a number from 0 on",
    "share": "a number from 0 to 1",
    "count": "a whole number from 0 on",
    "samples": 'a whole number, or a text such as "first:200"',
    "flag": "true or false",
    "text": "a text in quotes",
    "words": 'a list of texts, such as ["a", "b"]',
    "table": "a table, such as { max_drop = 0.5 }",
    "tables": "tables, such as [[expect]]",
    "date": "a date, such as 2027-01-31",
    "preprocessing": "dataset, imagenet or raw, a TOML file, or a table",
}
"""Each in words."""


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of the file, or a setting of a rule.

    Attributes:
        kind: what it holds.
        help: what it says, for people.
    """

    kind: KeyKind
    help: str


@dataclass(frozen=True, slots=True)
class RuleKind:
    """One rule of the file.

    Attributes:
        summary: what it is about.
        settings: by name.
        short: what a rule without a table stands for, such as ``lint = "clean"``: the value that
            may stand there, and the setting with its value. None where a table is needed.
    """

    summary: str
    settings: Mapping[str, Setting]
    short: tuple[bool | str, str, bool | tuple[str, ...]] | None = None


_MARGIN = "percentage points; of a figure that is no share, per cent of itself"
_LIMITED = {
    "max": Setting("number", "the most that is allowed"),
    "max_growth": Setting("share", "by how much it may grow over the baseline's, a fraction"),
}
NOUNS: tuple[Noun, ...] = ("class", "slice")
"""What the worst of may fall by so much; a slice is the samples with one value of a column."""


def worst_setting(noun: Noun) -> str:
    """The name of that setting."""
    return f"worst_{noun}_max_drop"


_WORST = {
    worst_setting(noun): Setting("number", f"by how much the worst {noun} may fall: {_MARGIN}")
    for noun in NOUNS
}
STAGES = Setting("words", "patterns of the stages that it is about (all)")
"""What every rule takes beside its own settings."""
RULES: Mapping[str, RuleKind] = {
    "accuracy": RuleKind(
        "top-1 accuracy, or the figure of the task, against the baseline",
        {
            "max_drop": Setting("number", f"fail where it is shown to fall by more: {_MARGIN}"),
            "equivalent_within": Setting(
                "number", f"pass only what is shown to be so near: {_MARGIN}"
            ),
            "min": Setting(
                "number", "the lowest figure that passes, a fraction where it is a share"
            ),
            **_WORST,
        },
    ),
    "metric": RuleKind(
        "another figure of the run's task, or one of another task, against the baseline",
        {
            "name": Setting("text", "as `edgeq compare --json` tells it; else the task's first"),
            "task": Setting("text", "a task or `module:function`; else that of the run"),
            "task_options": Setting("words", 'of that task: `["positive=cat"]`'),
            "max_drop": Setting("number", f"fail where it is shown to fall by more: {_MARGIN}"),
            "equivalent_within": Setting(
                "number", f"pass only what is shown to be so near: {_MARGIN}"
            ),
            "min": Setting(
                "number", "the lowest figure that passes, a fraction where it is a share"
            ),
            **_WORST,
        },
    ),
    "gap": RuleKind(
        "how far a stage is below the float stage of the same run",
        {
            "max": Setting("number", "percentage points"),
            "max_growth": Setting("number", "by how many points it may grow over the baseline's"),
        },
    ),
    "agreement": RuleKind(
        "the share of samples with the answer of the reference stage",
        {"min": Setting("share", "the lowest share that passes")},
    ),
    "changed": RuleKind(
        "samples that are answered otherwise than in the baseline",
        {
            "max_answers": Setting("count", "how many answers may be others"),
            "max_lost": Setting("count", "how many right answers may become wrong"),
            "max_outputs": Setting("count", "of how many samples a bit of the output may change"),
        },
    ),
    "drift": RuleKind(
        "how far the integers of a stage are from the reference stage's",
        {
            "max_lsb_per_operator": Setting("count", "the most LSB, given equal inputs"),
            "min_sqnr_db": Setting("number", "the lowest SQNR of the output that passes"),
        },
    ),
    "exactness": RuleKind(
        "every integer, scale and zero point in the files is the baseline's",
        {"same": Setting("flag", "whether they have to be")},
        (True, "same", True),
    ),
    "integer_share": RuleKind(
        "the share of multiplications in integers on the target",
        {"min": Setting("share", "the lowest share that passes")},
    ),
    "placement": RuleKind(
        "no operator leaves the integers or the delegate that it had in the baseline",
        {"same": Setting("flag", "whether it has to")},
        (True, "same", True),
    ),
    "size": RuleKind("bytes of the file", _LIMITED),
    "arena": RuleKind("bytes of the arena, where the target tells", _LIMITED),
    "sram": RuleKind("bytes of SRAM, where the target tells", _LIMITED),
    "cycles": RuleKind("cycles of one sample, where the target estimates them", _LIMITED),
    "latency": RuleKind(
        "the time of one sample over that of the baseline's file, both timed here in turns",
        {"max_ratio": Setting("number", "the most")},
    ),
    "speed_up": RuleKind(
        "how many times as fast a stage is as another one of the same run",
        {
            "min": Setting("number", "the lowest that passes"),
            "over": Setting("text", "the other stage, `artefact @ target`; else the float stage"),
        },
    ),
    "saturation": RuleKind(
        "no sum of products saturates on the target",
        {"none": Setting("flag", "whether none may")},
        ("none", "none", True),
    ),
    "lint": RuleKind(
        "the files have no finding of `edgeq lint`",
        {"fail_on": Setting("words", "severities and rules: error, warning, dead-channel, ...")},
        ("clean", "fail_on", ("error", "warning")),
    ),
}
"""By name, in the order in which they are judged."""
LIMITS: Mapping[str, str] = {
    "size_bytes": "size",
    "arena_bytes": "arena",
    "sram_bytes": "sram",
    "cycles": "cycles",
    "integer_share": "integer_share",
    "agreement": "agreement",
    "sqnr_db": "drift",
    "latency_p50_ms": "latency",
}
"""Figures that no samples are drawn again for, and the rule that judges each."""
KEYS: Mapping[str, Setting] = {
    "artefacts": Setting("words", "the files to judge, ONNX, TFLite or checkpoints"),
    "command": Setting("text", "what makes them, run in the folder of the file of rules first"),
    "model": Setting("text", "`module:function`, the code of checkpoints of networks of your own"),
    "baseline": Setting("text", "the committed file of figures (`edgeq-baseline.json`)"),
    "data": Setting("text", "a data set, a file or folder, or `module:function`"),
    "data_dir": Setting("text", "the folder of data sets"),
    "split": Setting("text", "the part of the data (`test`)"),
    "samples": Setting("samples", "how many of it, spread over it, or the first (all)"),
    "preprocessing": Setting("preprocessing", "how samples are fed (what the files note)"),
    "targets": Setting("words", "the runtimes (all that work here)"),
    "stages": Setting("words", "`artefact @ target`, one each (each file on each target)"),
    "float": Setting("text", "the stage that `gap` and `speed_up` count from (the first)"),
    "threads": Setting("count", "the most threads a runtime may use (1)"),
    "seconds": Setting("number", "how long each file is timed for `latency` and `speed_up` (3)"),
    "task": Setting("text", "a task or `module:function` (that of the data)"),
    "task_options": Setting("table", "of the task"),
    "statistics": Setting("table", "how sure the gate has to be, see below"),
    "rules": Setting("table", "a rule a line, see below"),
    "expect": Setting("tables", "failures that are let pass for a time, see below"),
}
"""The keys of a file of rules."""
STATISTICS: Mapping[str, Setting] = {
    "alpha": Setting("share", "how often nothing but luck may fail a rule (0.05)"),
    "power": Setting("share", "how often a drop that is there has to be found (0.8)"),
    "resamples": Setting("count", "of the bootstrap of figures other than top-1 accuracy (200)"),
    "min_detectable_drop": Setting("number", "points that the samples have to be able to show"),
    "changing": Setting("share", "of the samples, how many change both ways beside it (0.01)"),
}
"""The keys of ``[statistics]``."""
EXPECTED: Mapping[str, Setting] = {
    "rule": Setting("text", "the rule, or a setting of it: `drift`, `accuracy.max_drop`"),
    "stage": Setting("text", "a pattern of its stages (all)"),
    "reason": Setting("text", "why it is let pass"),
    "until": Setting("date", "the last day of it"),
}
"""The keys of each ``[[expect]]``."""
