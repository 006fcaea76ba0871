"""Accuracies that guessing reaches too.

What they are, what may be the cause, and what to try next.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeq.deploy.report.values import GUESSING, percent
from edgeq.metrics.accuracy import hardly_better, near_chance
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgeq.data import DataSource
    from edgeq.results import Accuracy

NOTHING_BETTER = "Other preprocessings and orders of classes were tried, and none is better"


def like_guessing(scored: Accuracy, classes: int) -> str:
    """What an accuracy is when guessing reaches it too, in words.

    Empty for one that it does not reach.
    """
    if not near_chance(scored, classes):
        return ""
    chance, here = 1 / classes, f"{percent(scored.fraction)} %"
    if not hardly_better(scored, classes):
        return (
            f"{here} of {counted(scored.total, 'sample')} may be luck, for{GUESSING}"
            f"{classes} classes reaches {percent(chance)} %"
        )
    how = (
        "worse than"
        if scored.high < chance
        else "no better than"
        if scored.low <= chance
        else "hardly better than"
    )
    return f"{here} is {how}{GUESSING}{classes} classes ({percent(chance)} %)"


def next_step(
    scored: Accuracy,
    classes: int,
    others: Iterable[tuple[str, Accuracy]],
    source: DataSource,
    tried: str = "",
) -> str:
    """What may be the cause of such an accuracy, and what to do next, as sentences.

    Args:
        scored: the accuracy.
        classes: how many there are.
        others: the stages of the same run that have one, by name.
        source: the data, as it is fed.
        tried: what else was tried, and what came of it; empty for nothing.
    """
    if not hardly_better(scored, classes):
        return "Use more samples"
    name, best = max(others, key=lambda other: other[1].fraction, default=("", None))
    if best is not None and not near_chance(best, classes):
        return (
            f"{name} reaches {percent(best.fraction)} % on the same samples, so the data "
            "are right: "
            "edgeq compare of the two tells at which hop and in which layer the answers are lost"
        )
    if tried and tried != NOTHING_BETTER:
        return tried
    return (
        "Likely causes: images that are normalised otherwise than in training, classes in "
        "another order than the network's, or a "
        "network that was never trained. "
        + (tried or f"Next: the same command with {' or '.join(_other_normalizations(source))}")
    )


def next_training(*, quantized: bool) -> str:
    """What may be the cause where a network was just trained, and what to do next, as sentences."""
    blame = ", or with --fp32, which tells whether quantisation is to blame" if quantized else ""
    return (
        "Likely causes: too little training, a learning rate that does not suit, or "
        "labels that do not belong to their samples. "
        f"Next: the same command with more --epochs, another --lr{blame}"
    )


def _other_normalizations(source: DataSource) -> list[str]:
    """The flags that feed the images otherwise."""
    from edgeq.deploy.preprocessing import named

    known = named(source)
    used = next(
        (name for name in ("imagenet", "raw") if known[name] == source.preprocessing), "dataset"
    )
    colours = next(iter(source.shapes.values()))[:1] == (3,)
    fitting = [name for name in known if name != used and (name != "imagenet" or colours)]
    return [f"--preprocess {name}" for name in fitting]
