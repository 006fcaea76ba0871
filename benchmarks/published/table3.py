"""Table 3 of Ben-Yair, Eliasof and Treister again: graph networks.

Quantized convolutional neural networks through the lens of partial differential equations.

    EDGEQ_DATA=DIR python -m benchmarks.published.table3 --folder OUT
        [--data cora] [--seeds 5] [--print-only]

PDE-GCN_D with 32 layers, symmetric and not, in FP32, 4W/8A and 4W/4A, one seed after another on one
thread. A quantised run begins with the weights of the FP32 run of its seed. What is finished is
kept in the folder, so that the command goes on where it was cut off; ``table3.json`` there holds
every run. The published accuracies are those of the epoch with the best *test* accuracy, ours of
the epoch with the lowest validation loss; the best test accuracy of any epoch stands beside, for
comparison only.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from benchmarks.support.command import run
from benchmarks.support.spread import spread
from edgeq.data import load_graph
from edgeq.files import write_json
from edgeq.machine import fingerprint
from edgeq.models.published import PUBLISHED
from edgeq.training.graph.checkpoint import load_network
from edgeq.training.graph.loop import features, train_graph
from edgeq.training.graph.quantization import degree_errors, graph_activation_error
from edgeq.training.graph.recipe import GraphRecipe, GraphScheme
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edgeq.data import GraphData
    from edgeq.training.graph.records import GraphResult

SCHEMES = ("FP32", "4W/8A", "4W/4A")


@dataclass(frozen=True, slots=True)
class Setting:
    """How one data set is trained here: width, dropout as published, and how long."""

    width: int
    dropout: float
    epochs: int
    fine_epochs: int
    seeds: int


@dataclass(frozen=True, slots=True)
class Run:
    """One finished run; accuracies are fractions, ``mse`` is None in FP32."""

    data: str
    symmetric: bool
    scheme: str
    seed: int
    epochs: int
    best_epoch: int
    validation: float
    test: float
    test_selected: float
    mse: float | None
    unrounded: float | None
    seconds: float


SETTINGS = {"cora": Setting(64, 0.6, 80, 15, 5), "citeseer": Setting(256, 0.7, 30, 10, 3)}
PAPER: dict[tuple[str, bool], tuple[float, float, float, float]] = {
    ("cora", False): (82.7, 82.2, 75.7, 6.11),
    ("cora", True): (84.3, 84.0, 79.4, 2.03),
    ("citeseer", False): (73.9, 72.6, 71.1, 20.48),
    ("citeseer", True): (75.6, 74.1, 72.2, 12.44),
}
"""FP32, 4W/8A and 4W/4A in %, and the figure the paper calls MSE."""


def main() -> None:
    """Train what is missing, and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--data", action="append", choices=SETTINGS)
    parser.add_argument("--seeds", type=int, help="runs of each kind (5 on Cora, 3 on CiteSeer)")
    parser.add_argument("--print-only", action="store_true", help="train nothing")
    arguments = parser.parse_args()
    names = arguments.data or list(SETTINGS)
    if not arguments.print_only:
        for name in names:
            _train(name, arguments.folder, arguments.seeds or SETTINGS[name].seeds)
    runs = _finished(arguments.folder)
    print("\n".join(_lines([run for run in runs if run.data in names])))
    print("\n".join(_degrees(arguments.folder, names)))


def _train(name: str, folder: Path, seeds: int) -> None:
    data = load_graph(name)
    for seed in range(seeds):
        for symmetric in (True, False):
            for scheme in SCHEMES:
                place = (
                    folder
                    / name
                    / f"{'symmetric' if symmetric else 'free'}-{scheme.replace('/', '')}-{seed}"
                )
                if not (place / "result.json").exists():
                    _train_one(data, symmetric, scheme, seed, place)
        write_json(
            folder / "table3.json",
            {"machine": asdict(fingerprint()), "runs": _contents(folder)},
            overwrite=True,
        )


def _train_one(data: GraphData, symmetric: bool, scheme: str, seed: int, place: Path) -> None:
    recipe = _recipe(data.name, symmetric, scheme, seed)
    start = (
        None
        if recipe.scheme is None
        else place.with_name(place.name.replace(scheme.replace("/", ""), "FP32")) / BEST
    )
    result = train_graph(recipe, data, place, start=start, resume=True, threads=1)
    run = Run(
        data.name,
        symmetric,
        scheme,
        seed,
        len(result.history),
        result.best_epoch,
        result.validation,
        result.test_correct / result.test_total,
        result.test_selected or 0.0,
        *_rounding_error(data, result),
        result.seconds,
    )
    write_json(place / "result.json", {"recipe": recipe.to_dict(), "run": asdict(run)})
    print(run, flush=True)


def _recipe(name: str, symmetric: bool, scheme: str, seed: int) -> GraphRecipe:
    setting = SETTINGS[name]
    model = f"{'stable-' if symmetric else ''}pde-gcn-{setting.width}"
    full = GraphRecipe(
        model,
        name,
        epochs=setting.epochs,
        patience=setting.epochs,
        lr=0.05,
        lr_operators=1e-2,
        step_size=0.5,
        dropout=setting.dropout,
        seed=seed,
        track_test=True,
    )
    if scheme == "FP32":
        return full
    bits = GraphScheme(4, int(scheme[3]), bound=0)
    return replace(
        full, scheme=bits, epochs=setting.fine_epochs, lr=5e-3, lr_operators=1e-3, lr_bounds=2e-3
    )


def _rounding_error(data: GraphData, result: GraphResult) -> tuple[float | None, float | None]:
    """The MSE "4A -> 32A" and the test accuracy without rounding."""
    if result.recipe.scheme is None:
        return None, None
    network, graph, _ = load_network(result.folder / BEST)
    labels, test = torch.from_numpy(data.labels), torch.from_numpy(data.test)
    error = graph_activation_error(network, features(data), graph, labels, test)
    return error.mse, error.accuracy_unrounded


def _degrees(folder: Path, names: Sequence[str]) -> Iterator[str]:
    """The rounding error by the degree of nodes, of each network at 4W/4A and seed 0."""
    yield "| data | network | degree | nodes | MSE 4A → 32A | SQNR, dB |"
    yield "|---|---|---|---|---|---|"
    for name in names:
        for told, kind in (("non-symmetric", "free"), ("symmetric", "symmetric")):
            path = folder / name / f"{kind}-4W4A-0" / BEST
            if not path.exists():
                continue
            network, graph, _ = load_network(path)
            for each in degree_errors(network, features(load_graph(name)), graph):
                ends = f"{each.low} to {each.high}" if each.low < each.high else str(each.low)
                yield (
                    f"| {name} | {told} | {ends} | {each.nodes:,} | {each.mse:.2e} "
                    f"| {each.sqnr_db:.1f} |"
                )


def _contents(folder: Path) -> list[Any]:
    return [
        json.loads(path.read_text(encoding="utf-8"))["run"]
        for path in sorted(folder.glob("*/*/result.json"))
    ]


def _finished(folder: Path) -> list[Run]:
    return [Run(**content) for content in _contents(folder)]


def _lines(runs: Sequence[Run]) -> Iterator[str]:
    yield (
        "| data | network | params, M | scheme | seeds | test % | published | best test epoch "
        "% | MSE 4A → 32A | published |"
    )
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for key in PAPER:
        for column, scheme in enumerate(SCHEMES):
            chosen = [
                run for run in runs if (run.data, run.symmetric, run.scheme) == (*key, scheme)
            ]
            if chosen:
                yield _row(chosen, column)
    yield ""
    yield from _orderings(runs)


def _row(runs: Sequence[Run], column: int) -> str:
    first = runs[0]
    paper = PAPER[first.data, first.symmetric]
    errors = [run.mse for run in runs if run.mse is not None]
    cells = [
        first.data,
        "symmetric" if first.symmetric else "non-symmetric",
        f"{_parameters(first) / 1e6:.2f}",
        first.scheme,
        str(len(runs)),
        spread((100 * run.test for run in runs), ".1f"),
        f"{paper[column]:.1f}",
        spread((100 * run.test_selected for run in runs), ".1f"),
        spread(errors, ".2e") if errors else "–",
        f"{paper[3]:.2f}" if column == 2 else "–",
    ]
    return f"| {' | '.join(cells)} |"


def _parameters(run: Run) -> int:
    model = _recipe(run.data, run.symmetric, "FP32", 0).model
    nodes = {"cora": 2708, "citeseer": 3327}[run.data]
    return next(
        spec.params for spec in PUBLISHED if spec.name == model and spec.input_shape[0] == nodes
    )


def _orderings(runs: Iterable[Run]) -> Iterator[str]:
    """Whether the symmetric network has the smaller error, seed by seed."""
    errors = {
        (run.data, run.scheme, run.seed, run.symmetric): run.mse
        for run in runs
        if run.mse is not None
    }
    for data, scheme in sorted({key[:2] for key in errors}):
        seeds = {seed for name, bits, seed, _ in errors if (name, bits) == (data, scheme)}
        pairs = [
            (errors.get((data, scheme, seed, True)), errors.get((data, scheme, seed, False)))
            for seed in sorted(seeds)
        ]
        whole = [
            (symmetric, free)
            for symmetric, free in pairs
            if symmetric is not None and free is not None
        ]
        smaller = sum(symmetric < free for symmetric, free in whole)
        yield (
            f"{data} {scheme}: the symmetric network has the smaller MSE with {smaller} of "
            f"{len(whole)} seeds"
        )


if __name__ == "__main__":
    run(main)
