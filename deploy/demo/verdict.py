"""What the demo finds of each network, and of all in a few lines.

Files as trained, runtimes as the files say, FP32 against integers, stable against plain, exact
files against a conversion, and a planted fault.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from edgeq.metrics.accuracy import near_chance

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeq.deploy.demo.contrasts import Planted
    from edgeq.exporter import ParityReport
    from edgeq.plain import Json
    from edgeq.results import Accuracy, Comparison
    from edgeq.training.activation_error import ActivationError
    from edgeq.training.recipes.recipe import Recipe

SHOWN = ("ort-cpu", "tflite")
"""Targets whose accuracy is told, in order of preference."""


@dataclass(frozen=True, slots=True)
class Trained:
    """One network of the demo and what was measured on it.

    Attributes:
        recipe: how it was trained.
        parameters: how many it has.
        artefacts: its checkpoint and the files exported from it, by format.
        parity: each file's numbers against the trained network's.
        error: of rounding its activations; None for FP32.
        comparison: its accuracy and drift on every target.
        changed: target to how many test images it answers otherwise than the network does in
            PyTorch.
        drawings: its graphs, and the images whose answer changed.
    """

    recipe: Recipe
    parameters: int
    artefacts: dict[str, Path]
    parity: tuple[ParityReport, ...]
    error: ActivationError | None
    comparison: Comparison
    changed: dict[str, int]
    drawings: Mapping[str, Json] = field(default_factory=dict)

    @property
    def stable(self) -> bool:
        """Whether the network is of the symmetric kind."""
        return self.recipe.model.startswith("stable-")

    @property
    def scheme(self) -> str:
        """Its widths, such as ``4W/8A``; ``FP32``."""
        return "FP32" if self.recipe.scheme is None else self.recipe.scheme.name


@dataclass(frozen=True, slots=True)
class Contrast:
    """One network of the demo against what it is not.

    Attributes:
        exact: the network, trained at its widths and exported as it is.
        converted: the accuracy of its float twin, converted to the same widths after training; None
            where there is none.
        planted: a gate on its file with one integer changed.
    """

    exact: Trained
    converted: Accuracy | None
    planted: Planted


def told(
    nets: Sequence[Trained], classes: int, contrast: Contrast | None
) -> Iterator[tuple[str, str]]:
    """Each line of the verdict with its light, the sum of all first."""
    different = any(report.different for net in nets for report in net.parity)
    changed = sum(count for net in nets for count in net.changed.values() if net.error is not None)
    lights = {"Files": "bad" if different else "good", "Runtimes": "look" if changed else "good"}
    lines = [(line, lights.get(line.partition(":")[0], "good")) for line in verdict(nets, classes)]
    parts = [
        "some files do not hold what was trained"
        if different
        else "the files hold what was trained, bit for bit",
        f"{changed:,} of {_answered(nets):,} answers of runtimes differ"
        if changed
        else "every runtime answers as the networks did in training",
    ]
    if contrast is not None:
        if contrast.converted is not None:
            lines.append((_conversion(contrast.exact, contrast.converted), "good"))
        seen = contrast.planted.result.outcome == "failed"
        lines.append((_gate(contrast.planted), "good" if seen else "bad"))
        parts.append(f"the gate {'finds' if seen else 'does not find'} a planted fault")
    total = "; ".join(parts)
    worst = min((state for _, state in lines), key=("bad", "look", "good").index)
    yield f"In short: {total[0].upper()}{total[1:]}.", worst
    yield from lines


def _conversion(exact: Trained, converted: Accuracy) -> str:
    stages = [stage for stage in exact.comparison.stages if stage.accuracy is not None]
    mine = next((s.accuracy for s in stages if s.target == "ort-cpu-ref" and s.accuracy), None)
    reached = "" if mine is None else f"{100 * mine.fraction:.1f} % right on ort-cpu-ref; "
    overlap = mine is not None and mine.low <= converted.high and converted.low <= mine.high
    return (
        f"Exact against converted: {exact.recipe.name}, trained in its widths and exported as it "
        f"is, is {reached}its FP32 twin, rounded to them after training, "
        f"{100 * converted.fraction:.1f} %{'; their 95 % intervals overlap' if overlap else ''}."
    )


def _gate(planted: Planted) -> str:
    findings = planted.result.findings
    moved = f"A planted fault: one integer of {planted.tensor} was moved by one step, and the gate"
    rules = ", ".join(dict.fromkeys(each.rule for each in findings if each.outcome == "fail"))
    if not rules:
        return f"{moved} did not see it."
    blind = any(each.rule.startswith("accuracy") and each.passes for each in findings)
    alone = "; accuracy alone would have let it pass" if blind else ""
    return f"{moved} fails as it should, by {rules}{alone}."


def verdict(nets: Sequence[Trained], classes: int) -> tuple[str, ...]:
    """The lines, each true of whatever was found.

    Args:
        nets: every network of the demo, those in FP32 too.
        classes: how many the data have.
    """
    quantized = [net for net in nets if net.error is not None]
    lines = (_files(quantized), _answers(quantized), _accuracy(nets, classes), _stability(nets))
    return tuple(line for line in lines if line)


def _files(nets: Sequence[Trained]) -> str:
    reports = [report for net in nets for report in net.parity]
    compared, different = (
        sum(report.compared for report in reports),
        sum(len(report.different) for report in reports),
    )
    return (
        f"Files: {compared:,} integers, scales and zero points of {len(nets)} quantised "
        f"networks were read back from {len(reports)} "
        f"files, and {different or 'none'} {'differ' if different > 1 else 'differs'} from "
        "what was trained."
    )


def _answers(nets: Sequence[Trained]) -> str:
    changed: Counter[str] = Counter()
    for net in nets:
        changed.update(net.changed)
    total = _answered(nets)
    where = f"{', '.join(sorted(changed))} answer {total:,} test images"
    if not changed.total():
        return f"Runtimes: {where} as the networks did in training, every one of them."
    worst, most = changed.most_common(1)[0]
    return (
        f"Runtimes: {where}, {changed.total():,} of them otherwise than the networks did in "
        f"training, most on {worst} ({most})."
    )


def _answered(nets: Sequence[Trained]) -> int:
    """How many images all runtimes answer of quantised networks."""
    return sum(net.comparison.samples * len(net.changed) for net in nets if net.error is not None)


def _accuracy(nets: Sequence[Trained], classes: int) -> str:
    scored = [
        {
            stage.target: stage.accuracy
            for stage in net.comparison.stages
            if stage.accuracy is not None
        }
        for net in nets
    ]
    target = next(
        (name for name in SHOWN if all(name in accuracies for accuracies in scored)), "torch"
    )
    parts = []
    for model in dict.fromkeys(net.recipe.model for net in nets):
        mine = [
            (net.scheme, accuracies[target])
            for net, accuracies in zip(nets, scored, strict=True)
            if net.recipe.model == model
        ]
        parts.append(
            f"{model} "
            + ", ".join(f"{100 * accuracy.fraction:.1f} % in {scheme}" for scheme, accuracy in mine)
        )
    guessing = sum(near_chance(accuracies[target], classes) for accuracies in scored)
    untrained = (
        f" {guessing} of {len(nets)} are hardly better than guessing: more --epochs train "
        "for longer."
        if guessing
        else ""
    )
    return f"FP32 against integers: right on {target}, {'; '.join(parts)}.{untrained}"


def _stability(nets: Sequence[Trained]) -> str:
    """How far rounding moves the two kinds at the fewest bits, where both were trained."""
    # of each kind, the last: the fewest bits
    errors = {net.stable: net.error.mse for net in nets if net.error is not None}
    if set(errors) != {True, False} or not all(errors.values()):
        return ""
    ratio = errors[False] / errors[True]
    said = f"{ratio:.1f} times smaller" if ratio >= 1 else f"{1 / ratio:.1f} times greater"
    return (
        "Stable against plain: rounding activations to the fewest bits moves the stable network by "
        f"an error {said} than the plain one's."
    )
