"""What a search found: as tables, as JSON, and as a scheme to paste."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeq.calibration.search.study import pareto
from edgeq.deploy.search.costs import UNITS
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeq.calibration.search.precision import Precision
    from edgeq.calibration.search.sensitivity import Sensitivity
    from edgeq.calibration.search.study import Assignment, Figures, LayerSize, Trial
    from edgeq.deploy.search.costs import CostName
    from edgeq.results import Score

_USUAL = 8  # bits of what no rule speaks of


@dataclass(frozen=True, slots=True)
class LayerChoice:
    """What was chosen for a layer.

    Attributes:
        layer: its name: the path of its module where the network tells it, else that of its node.
        precision: what it computes in.
        sqnr_db: of the outputs with it alone at that precision; None where that was not looked at.
    """

    layer: str
    precision: Precision
    sqnr_db: float | None


@dataclass(frozen=True, slots=True, repr=False)
class SearchResult(Tabular):
    """What a search found.

    Attributes:
        path: the quantised file; None where none was asked for, or none is within the limit.
        strategy: how it was searched.
        cost: what was minimised or limited.
        limit: in words.
        searched_on: samples that trials were judged on.
        float_trial: what the float network does on those.
        eight: the trial with all layers in 8 bits.
        best: the best trial within the limit; None where there is none.
        chosen: each layer of the best trial.
        trials: everything that was tried.
        sensitivities: of the layers that were looked at.
        layers: of the network.
        reused: how many figures came from an earlier run.
        seconds: that the search took.
        float_score: of the float network on samples that the search has not seen.
        score: of the best one on those.
        max_drop: the loss to stay within; None for a budget.
        closest: the trial that is least beyond the limit; None where nothing was tried.
        higher_is_better: of the score.
        calibration: how ranges were found and weights quantised, as a recipe of calibration says
            it.
    """

    path: Path | None
    strategy: str
    cost: CostName
    limit: str
    searched_on: int
    float_trial: Figures
    eight: Trial | None
    best: Trial | None
    chosen: tuple[LayerChoice, ...]
    trials: tuple[Trial, ...]
    sensitivities: tuple[Sensitivity, ...]
    layers: tuple[LayerSize, ...]
    reused: int
    seconds: float
    float_score: Score | None
    score: Score | None
    max_drop: float | None = None
    closest: Trial | None = None
    higher_is_better: bool = True
    calibration: Mapping[str, Any] = field(default_factory=dict)

    @property
    def scheme(self) -> str:
        """The best trial as the tables ``[scheme]`` and ``[calibration]`` of a recipe."""
        return as_toml(self.chosen, self.calibration)

    @property
    def flags(self) -> tuple[str, ...]:
        """The same as values of ``--layer``."""
        return tuple(
            f"{each.layer}={','.join(f'{name}:{_typed(value)}' for name, value in fields.items())}"
            for each, fields in rules(self.chosen)
        )

    @property
    def unseen_loss(self) -> float | None:
        """What the best one loses on samples that no trial has seen; None where no file was made.

        Points of a share, or in the unit of the score.
        """
        if self.score is None or self.float_score is None:
            return None
        lost = _points(self.float_score) - _points(self.score)
        return lost if self.higher_is_better else -lost

    def pareto(self) -> list[Trial]:
        """The trials that no other one beats in both cost and score, the cheapest first."""
        return pareto(self.trials, higher_is_better=self.higher_is_better)

    def sensitivity_table(self) -> Table:
        """The sensitivities, a row for each layer, the most sensitive first."""
        found = self.sensitivities
        names = list(dict.fromkeys(each.precision for each in found))
        by = {(each.layer, each.precision): each for each in found}

        def worst(layer: LayerSize) -> float:
            known = (each.sqnr_db for each in found if each.layer == layer.name)
            return min(known, default=float("inf"))

        rows = []
        for layer in sorted(self.layers, key=worst):
            cells = [layer.name, layer.kind, f"{layer.weights:,}", f"{layer.macs:,}"]
            for name in names:
                each = by.get((layer.name, name))
                figures = [] if each is None else [decibels(each.sqnr_db), f"{each.drop:+.2f}"]
                cells += figures or ["–", "–"]
            rows.append(cells)
        columns = ["layer", "operator", "weights", "MACs"]
        for name in names:
            columns += [f"{name} dB", f"{name} loss"]
        return Table("One layer quantised, all others in float", columns, rows)

    def content(self) -> dict[str, object]:
        """All of it for JSON, with the scheme and the trials that none beats."""
        front = [trial.number for trial in self.pareto()]
        return {
            **self.to_dict(),
            "scheme": self.scheme,
            "flags": list(self.flags),
            "pareto": front,
            "unseen_loss": self.unseen_loss,
        }

    def nearest(self) -> Trial:
        """The trial that is least beyond the limit, which is the first one where none is within."""
        return self.closest or self.trials[0]

    def amount(self, trial: Trial) -> str:
        """What a trial costs, with the unit."""
        return amount(self.cost, trial.figures.cost)

    def table(self) -> Table:
        """The trials that none beats in both cost and score, the cheapest first, and the best."""
        front = self.pareto()
        if self.best is not None and self.best not in front:
            front = sorted([*front, self.best], key=lambda each: each.figures.cost)
        rows = [_row(trial, self) for trial in front]
        title = f"{len(self.trials)} tried by {self.strategy}; none beats these"
        return Table(title, ("trial", "layers", UNITS[self.cost], "score", "SQNR dB", "kept"), rows)


def told(found: SearchResult, source: object, data: Sequence[str]) -> Iterator[str]:
    """What was found and what to do next, a line each.

    Args:
        found: by a search.
        source: the network, as it was named; None for one that has no file.
        data: the flags that name them and how they are fed.
    """
    if not found.trials:
        sizes = found.layers
        yield f"{counted(len(sizes), 'layer')}, {sum(each.weights for each in sizes):,} weights"
        return
    if found.reused:
        yield f"{counted(found.reused, 'figure')} came from the run before"
    if found.best is None:
        return
    best = found.best
    yield (
        f"chosen: {summary(best.precisions)}; {found.amount(best)}, score {best.figures.score:.2f} "
        f"on {found.searched_on} samples, with {found.limit}"
    )
    if found.eight is not None:
        start = summary(found.eight.precisions)
        yield f"begun with: {start}; {found.amount(found.eight)}"
    if found.score is not None and found.float_score is not None:
        floats = _scored(found.float_score)
        yield f"on samples that no trial has seen: {_scored(found.score)}; float {floats}"
    yield ""
    yield found.scheme
    if found.flags:
        yield " ".join(f'--layer "{flag}"' for flag in found.flags)
    if any(each.precision.channel_bits for each in found.chosen):
        yield "the file has other widths for each channel; a scheme has one for a layer"
    if found.path is not None and source is not None:
        recipe = scheme_path(found.path)
        yield (
            f"edgeq calibrate {source} {shlex.join(data)} --recipe {recipe} --method gptq "
            "-o again.onnx rounds better"
        )


def scheme_path(output: Path) -> Path:
    """Where the scheme is written, beside a file."""
    return output.with_suffix(".scheme.toml")


def as_toml(chosen: Sequence[LayerChoice], calibration: Mapping[str, Any]) -> str:
    """A scheme as TOML: 8 bits, a rule for each layer that differs, and how all was calibrated."""
    lines = ["[scheme]", f"weight_bits = {_USUAL}", f"act_bits = {_USUAL}"]
    for each, fields in rules(chosen):
        lines += ["", "[[scheme.layers]]", f"match = {json.dumps(each.layer)}"]
        lines += [f"{field} = {_typed(value)}" for field, value in fields.items()]
    if calibration:
        lines += ["", "[calibration]"]
        lines += [f"{name} = {json.dumps(value)}" for name, value in calibration.items()]
    return "\n".join(lines) + "\n"


def rules(chosen: Sequence[LayerChoice]) -> list[tuple[LayerChoice, dict[str, int | bool]]]:
    """Each layer that does not have 8 bits, with what a rule says about it."""
    found = []
    for each in chosen:
        fields: dict[str, int | bool] = {}
        if each.precision.is_float:
            fields["keep_float"] = True
        else:
            if each.precision.weight_bits != _USUAL:
                fields["weight_bits"] = each.precision.weight_bits
            if each.precision.act_bits != _USUAL:
                fields["act_bits"] = each.precision.act_bits
        if fields:
            found.append((each, fields))
    return found


def summary(precisions: Assignment) -> str:
    """How many layers have which precision: ``3 w4a8, 1 w8a8``."""
    counts: dict[str, int] = {}
    for each in precisions.values():
        counts[each.name] = counts.get(each.name, 0) + 1
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def amount(cost: CostName, value: float) -> str:
    """A cost with its unit."""
    digits = f"{value:,.3f}" if cost == "latency" else f"{value:,.0f}"
    return f"{digits} {UNITS[cost]}"


def decibels(value: float) -> str:
    """An SQNR as it is shown."""
    return "exact" if value == float("inf") else f"{value:.1f}"


def _scored(score: Score) -> str:
    ends = score.interval
    scale = 100 if score.percent else 1
    spread = "" if ends is None else f" ({scale * ends[0]:.2f} – {scale * ends[1]:.2f})"
    return f"{score.name} {_points(score):.2f}{spread}"


def _points(score: Score) -> float:
    return 100 * score.value if score.percent else score.value


def _row(trial: Trial, result: SearchResult) -> tuple[str, ...]:
    figures = trial.figures
    number = f"{trial.number}{' (chosen)' if trial is result.best else ''}"
    return (
        number,
        summary(trial.precisions),
        amount(result.cost, figures.cost).split(" ")[0],
        f"{figures.score:.2f}",
        decibels(figures.sqnr_db),
        "yes" if trial.kept else "no",
    )


def _typed(value: int | bool) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
