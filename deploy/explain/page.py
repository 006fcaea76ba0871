"""What a calibration did to each layer, as one HTML file that needs no network and no script."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from edgeq.calibration.inspection.profiles import FOLDED, IN_FILE, MIGRATED
from edgeq.deploy.explain import plots
from edgeq.deploy.report import values
from edgeq.files import write_bytes
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgeq.calibration.inspection.profiles import LayerProfile
    from edgeq.deploy.evaluation.calibrated import Outcome

DETAILED = 40
"""Layers that are drawn one by one: those that cost most."""


@dataclass(frozen=True, slots=True)
class LayerPart:
    """One layer with its plots, as the template lays them out."""

    profile: LayerProfile
    plots: tuple[str, ...]


def write_page(outcome: Outcome, path: Path, *, overwrite: bool = False) -> None:
    """Write the page of a calibration that kept profiles of its layers.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    job, done = outcome.job, outcome.done
    methods = ", ".join(job.config.methods) or "none"
    what = f"{job.path} → {outcome.path}, {counted(done.samples, 'sample')} of {job.source.name}"
    how = f"observer {job.config.found_by}, weight method {job.config.weight_method}"
    facts = [what, f"{job.config.scheme}, {how}, methods: {methods}", *_judged(outcome)]
    page = render(f"Calibration of {job.path.name}", facts, done.told, done.profiles)
    write_bytes(path, page.encode(), overwrite=overwrite)


def _judged(outcome: Outcome) -> Iterator[str]:
    if outcome.stages is None:
        yield f"not judged: {outcome.not_judged}"
        return
    for name, stage in zip(("float", "calibrated"), outcome.stages, strict=True):
        if stage.score is not None:
            yield f"{name}: {stage.score.name} {values.score(stage.score)} on samples held back"
        elif stage.accuracy is not None:
            right = stage.accuracy
            yield (
                f"{name}: {values.percent(right.fraction)} % of {right.total} samples held back "
                f"({values.percent(right.low)} to {values.percent(right.high)} %)"
            )
        elif stage.agreement is not None:
            yield f"{name}: agrees with float on {values.percent(stage.agreement)} %"
    if outcome.collapsed:
        yield outcome.collapsed


def render(
    title: str, facts: Sequence[str], told: Sequence[str], profiles: Sequence[LayerProfile]
) -> str:
    """The page.

    Args:
        title: its heading.
        facts: what was calibrated, on what and how, a line each.
        told: what was said on the way.
        profiles: the layers, in the network's order.
    """
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        {each.__name__: each for each in (values.general, values.percent, values.decibels)}
    )
    costly = sorted(profiles, key=lambda each: each.cost.sqnr_db)[:DETAILED]
    template = (
        resources.files("edgeq.deploy.explain").joinpath("template.html.j2").read_text("utf-8")
    )
    return environment.from_string(template).render(
        title=title,
        facts=facts,
        told=told,
        profiles=profiles,
        overview=_overview(profiles),
        parts=[LayerPart(each, tuple(_plots(each))) for each in costly],
        stages=(IN_FILE, FOLDED, MIGRATED),
        style=resources.files("edgeq.deploy.report").joinpath("style.css").read_text("utf-8"),
    )


def _overview(profiles: Sequence[LayerProfile]) -> list[tuple[str, str]]:
    nan = float("nan")
    precision = {
        stage: [
            each.weights[stage].average_precision if stage in each.weights else nan
            for each in profiles
        ]
        for stage in (IN_FILE, FOLDED, MIGRATED)
        if any(stage in each.weights for each in profiles)
    }
    precision["activations"] = [
        nan if each.results is None else each.results.average_precision for each in profiles
    ]
    noise = {
        "whole": [each.cost.sqnr_db for each in profiles],
        "weights": [each.cost.weight_sqnr_db for each in profiles],
        "activations": [
            each.cost.activation_sqnr_db if each.cost.tensor else nan for each in profiles
        ],
    }
    lost = {
        "clipped": [100 * each.cost.clipped for each in profiles],
        "at an end": [100 * each.cost.saturated for each in profiles],
    }
    worst = min(profiles, key=lambda each: each.cost.sqnr_db).cost
    sensitivity = (
        "Sensitivity: how near the result of each layer stays to float where only that layer is "
        "quantised. Lower costs more."
    )
    average = (
        "Average precision: the mean range of a channel, of the range of its tensor. Near 0 most "
        "channels share a few steps of a grid for the whole tensor."
    )
    return [
        (
            sensitivity,
            plots.lines(noise, "layer", "SQNR (dB)", f"{worst.layer} costs most: {worst.reason}"),
        ),
        (
            average,
            plots.lines(precision, "layer", "average precision", _precision_words(precision)),
        ),
        (
            "Values of each result that lie beyond its grid, and at either end of it.",
            plots.lines(lost, "layer", "values (%)", "shares of clipped and saturated values"),
        ),
    ]


def _precision_words(found: dict[str, list[float]]) -> str:
    known = {name: [each for each in row if each == each] for name, row in found.items()}
    return "; ".join(
        f"{name}: {min(row):.2f} to {max(row):.2f}" for name, row in known.items() if row
    )


def _plots(profile: LayerProfile) -> list[str]:
    name = profile.cost.layer
    found = [
        plots.ranges(profile.weights, "weights", f"ranges of the weights of {name} by channel"),
        plots.histogram(
            profile.weight_values, None, "weight", f"how often weights of {name} occur"
        ),
    ]
    if profile.results is not None:
        alt = f"ranges of what {name} makes, by channel"
        found.append(plots.ranges({"activations": profile.results}, "activations", alt))
    if profile.result_values is not None:
        alt = f"how often values of {name} occur, and the ends of their grid"
        found.append(plots.histogram(profile.result_values, profile.grid, "activation", alt))
    return found
