"""``edgeq train --check``.

Whether targets can hold a run's scheme, as a table for each or one JSON document; trains nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeq.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgeq.deploy.preprocessing import AskedPreprocessing
    from edgeq.deploy.scheme_check.check import TargetCheck
    from edgeq.deploy.scheme_check.findings import Finding
    from edgeq.training.graph.recipe import GraphRecipe
    from edgeq.training.recipes.recipe import Recipe

_COLUMNS = ("tensors", "number", "as asked for", "in the file", "verdict", "runs in", "why", "hint")


def check_run(
    recipe: Recipe,
    data_dir: Path | None,
    targets: Sequence[str],
    preprocess: AskedPreprocessing | None = None,
    *,
    as_json: bool = False,
) -> None:
    """Ask targets about the untrained network of a run, and show what they say.

    Args:
        recipe: the run.
        data_dir: the folder of data sets, whose images give the network its input.
        targets: names, each of which may be several with commas.
        preprocess: what a person says of how the samples are fed.
        as_json: whether one JSON document is printed in place of tables.

    Raises:
        UsageError: the run is in FP32, a target is unknown, or the network has no ONNX form.
        GateFailed: a target cannot hold the scheme exactly.
        TargetError: a target could not be asked here.
    """
    from edgeq.deploy.inputs import training_data
    from edgeq.deploy.scheme_check.check import check_scheme
    from edgeq.training.checkpoint import build_model
    from edgeq.training.run.warm_start import settled

    names = _asked(recipe, targets)
    source = training_data(recipe, data_dir, preprocess)
    recipe = settled(recipe)
    model: Any = build_model(recipe, source.shape, len(source.classes))
    _show(recipe, check_scheme(model, source.shape, names), as_json=as_json)


def check_graph_run(
    recipe: GraphRecipe, data_dir: Path | None, targets: Sequence[str], *, as_json: bool = False
) -> None:
    """The same for a network that reads a graph, which goes into the file with it.

    Raises:
        UsageError: the run is in FP32, or a target is unknown.
        GateFailed: a target cannot hold the scheme exactly.
        TargetError: a target could not be asked here.
    """
    from edgeq.data import load_graph
    from edgeq.deploy.scheme_check.check import check_lowered
    from edgeq.deploy.scheme_check.graph import lower_untrained_graph

    names = _asked(recipe, targets)
    lowered = lower_untrained_graph(recipe, load_graph(recipe.data, data_dir))
    _show(recipe, check_lowered(lowered, names), as_json=as_json)


def _asked(recipe: Recipe | GraphRecipe, targets: Sequence[str]) -> list[str]:
    from edgeq.deploy.scheme_check.check import target_names

    names = target_names(targets)
    if recipe.scheme is None:
        raise UsageError(
            "--check asks about a quantisation, and FP32 training has none",
            hint="leave out --fp32, or give --weight-bits",
        )
    return names


def _show(recipe: Recipe | GraphRecipe, found: Sequence[TargetCheck], *, as_json: bool) -> None:
    from edgeq.deploy import console
    from edgeq.deploy.scheme_check.check import require

    content = {"recipe": recipe, "targets": [_record(checked) for checked in found]}
    console.write_json("check", content, printed=as_json)
    if not as_json:
        for checked in found:
            console.write_table(
                f"{recipe.name} on {checked.target}: {_title(checked)}",
                _COLUMNS,
                _rows(checked),
                numbers=("number",),
            )
    require(found)


def _record(checked: TargetCheck) -> dict[str, object]:
    return {
        "target": checked.target,
        "exact": checked.exact,
        "usable": checked.usable,
        "why_not": checked.why_not,
        "hint": checked.hint,
        "findings": checked.findings,
    }


def _title(checked: TargetCheck) -> str:
    found = "can hold it exactly" if checked.exact else "cannot hold it exactly"
    return found if checked.usable else f"{found}, as far as its exporter knows: {checked.why_not}"


def _rows(checked: TargetCheck) -> list[tuple[str, ...]]:
    """The findings, with a reason or hint that several share said once."""
    said: set[str] = set()
    return [_row(one, said) for one in checked.findings]


def _row(one: Finding, said: set[str]) -> tuple[str, ...]:
    why, hint = ("as above" if text in said and text else text for text in (one.why, one.hint))
    said |= {one.why, one.hint}
    return one.kind, str(one.count), one.requirement, one.stored, one.verdict, one.runs, why, hint
