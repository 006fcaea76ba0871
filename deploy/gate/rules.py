"""The rules that a gate knows, and what can be set in each."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind = Literal["number", "share", "count", "flag", "text", "words"]
"""What a setting holds: a number from 0 on, one from 0 to 1, a whole number, yes or no, a text, or
several."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a rule.

    Attributes:
        kind: what it holds.
        help: what it says, for people.
    """

    kind: Kind
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
RULES: Mapping[str, RuleKind] = {
    "accuracy": RuleKind(
        "top-1 accuracy, or the figure of the task, against the baseline",
        {
            "max_drop": Setting("number", f"fail where it is shown to fall by more: {_MARGIN}"),
            "equivalent_within": Setting(
                "number", f"pass only what is shown to be so near: {_MARGIN}"
            ),
            "min": Setting("number", "the least figure, a fraction where it is a share"),
            "worst_class_max_drop": Setting("number", "by how many points any class may fall"),
            "worst_slice_max_drop": Setting("number", "by how many points any slice may fall"),
        },
    ),
    "metric": RuleKind(
        "another figure of the task, by its name in `edgeq compare --json`",
        {
            "name": Setting("text", "such as F1"),
            "max_drop": Setting("number", f"by how much it may fall: {_MARGIN}"),
            "min": Setting("number", "the least figure"),
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
        {"min": Setting("share", "the least share")},
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
            "min_sqnr_db": Setting("number", "the least SQNR of the output"),
        },
    ),
    "exactness": RuleKind(
        "every integer, scale and zero point in the files is the baseline's",
        {"same": Setting("flag", "whether they have to be")},
        (True, "same", True),
    ),
    "integer_share": RuleKind(
        "the share of multiplications in integers on the target",
        {"min": Setting("share", "the least share")},
    ),
    "placement": RuleKind(
        "each operator runs where and in what it ran in the baseline",
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
            "min": Setting("number", "the least"),
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
