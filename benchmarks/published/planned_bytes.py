"""How many bytes of weights keep a point of accuracy: chosen by layer, or the same everywhere?

    python -m benchmarks.published.planned_bytes [--networks perceptron,convolutional]
        [--loss 1] [--plot FILE.svg]

Houache, Aujol and Traonmilin (2025) and Gonon et al. (2022) bound what rounding the weights costs;
here such a bound is used to choose the bits of each layer, and stands beside one width for all.
Weights have one step a layer, as in the bounds, and activations 16 bits, so that what is lost is
lost by weights. Networks are those of ``benchmarks.published.greedy_bits``, on digits.

- *one width*: 2 to 8 bits in all layers, rounded to nearest, down (the uniform quantiser of Gonon
  et al.), or by AdaRound;
- *by the bound*: from 8 bits everywhere a bit is taken from the layer where that adds least to the
  bound for the bytes that it saves. In the bound of layer after layer all norms are common, so what
  a layer adds is the norm of its change by its own, in l-infinity;
- *by noise* and *greedily*: ``edgeq search --strategy path`` and ``layer``.

A row is the plan of least bytes that loses at most ``--loss`` points on the validation split; it is
judged on the test split, which nothing was chosen by.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

import edgeq
from benchmarks.published.greedy_bits import NETWORKS, trained
from benchmarks.support.command import run
from benchmarks.support.ptq_cell import answers
from edgeq.bounding.norms import row_sums
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.calibration.search.precision import Precision
from edgeq.data import load, normalize
from edgeq.deploy.search.costs import layer_bytes
from edgeq.deploy.sweep.plot import Panel, write_plot
from edgeq.exporters.torch.lower import lower
from edgeq.machine import fingerprint
from edgeq.metrics.accuracy import wilson
from edgeq.network.layer_rules import LayerRule

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgeq.calibration.search.study import LayerSize
    from edgeq.data.source import Split

    Plan = Mapping[str, int]

WIDTHS = range(2, 9)
ACT_BITS, SAMPLES = 16, 128
ROUNDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "to nearest": ("symmetric", ()),
    "uniform": ("floor", ()),
    "AdaRound": ("symmetric", ("adaround:steps=300",)),
}
"""Each rounding's weight method, and the methods behind it."""
SEARCHES = {"by noise": "path", "greedily": "layer"}


class Subject:
    """A trained network, judged at any bits by layer.

    Args:
        network: its name.
        loss: points of accuracy that searches may lose.
    """

    def __init__(self, network: str, loss: float) -> None:
        self.loss = loss
        self.module, self.data = trained(NETWORKS[network]), load("digits")
        self.samples = normalize(self.data.train.images[:SAMPLES], self.data)
        self.model = fold_onnx(lower(self.module, self.samples.shape[1:]))
        self.layers: tuple[LayerSize, ...] = ()
        self.found = {kind: self._searched(way) for kind, way in SEARCHES.items()}
        self.truth = [self._right(answers(self.model, x), y) for x, y in self._splits()]
        self._known: dict[tuple[object, ...], list[int]] = {}

    def _config(self, rounding: str, rules: tuple[LayerRule, ...] = ()) -> CalibrationConfig:
        weights, behind = ROUNDINGS[rounding]
        return CalibrationConfig(
            weight_method=weights,
            act_bits=ACT_BITS,
            boundary_bits=ACT_BITS,
            per_channel=False,
            layers=rules,
            methods=behind,
        )

    def _searched(self, strategy: str) -> Plan | None:
        """The bits by layer that ``edgeq search`` finds; None where nothing is within the loss."""
        found = edgeq.search(
            self.module,
            "digits",
            max_drop=self.loss,
            strategy=strategy,
            precisions=[f"w{bits}a{ACT_BITS}" for bits in WIDTHS],
            trials=60,
            samples=SAMPLES,
            eval_samples=500,
            config=self._config("to nearest"),
        )
        self.layers = found.layers
        if found.best is None:
            return None
        return {name: round(each.mean_weight_bits) for name, each in found.best.precisions.items()}

    def _splits(self) -> list[tuple[np.ndarray, np.ndarray]]:
        def of(split: Split) -> tuple[np.ndarray, np.ndarray]:
            return normalize(split.images[:], self.data), split.class_labels

        return [of(self.data.validation), of(self.data.test)]

    @staticmethod
    def _right(found: np.ndarray, labels: np.ndarray) -> int:
        return int((found == labels).sum())

    def right(self, plan: Plan, rounding: str) -> list[int]:
        """Right answers on the validation and the test split."""
        key = (rounding, *plan.items())
        if key not in self._known:
            rules = tuple(LayerRule(name, weight_bits=bits) for name, bits in plan.items())
            batches = np.array_split(self.samples, 4)
            made = quantize_onnx(self.model, batches, self._config(rounding, rules))
            self._known[key] = [self._right(answers(made, x), y) for x, y in self._splits()]
        return self._known[key]

    def size_bytes(self, plan: Plan) -> float:
        """Of all parameters, with weights packed."""
        return sum(
            layer_bytes(layer, Precision(plan[layer.name], ACT_BITS)) for layer in self.layers
        )

    def by_the_bound(self) -> list[Plan]:
        """Plans from 8 bits everywhere downwards."""
        state = self.module.state_dict()
        weights = {
            layer.name: state[f"{layer.name}.weight"].double().numpy() for layer in self.layers
        }
        added = {
            (name, bits): _share(weight, bits)
            for name, weight in weights.items()
            for bits in WIDTHS
        }
        plan = dict.fromkeys(weights, WIDTHS[-1])
        plans: list[Plan] = [dict(plan)]
        while lower_ones := [name for name, bits in plan.items() if bits > WIDTHS[0]]:
            cheapest = min(
                lower_ones,
                key=lambda name: (
                    (added[name, plan[name] - 1] - added[name, plan[name]]) / weights[name].size
                ),
            )
            plan[cheapest] -= 1
            plans.append(dict(plan))
        return plans


def _share(weight: np.ndarray, bits: int) -> float:
    """What rounding to nearest changes of a layer, by the layer: norms in l-infinity."""
    step = np.abs(weight).max() / (2 ** (bits - 1) - 1)
    rows = weight.reshape(len(weight), -1)
    changed = np.rint(rows / step) * step - rows
    return float(row_sums(changed).max() / row_sums(rows).max())


def main() -> None:
    """Measure, print the table, and write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", default="perceptron,convolutional")
    parser.add_argument("--loss", type=float, default=1.0, help="points of accuracy")
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    print(f"{fingerprint().cpu}\n")
    print("| network | bits | rounded | bits of each layer | bytes | test %, 95 % | float % |")
    print("|---|---|---|---|---|---|---|", flush=True)
    panels = []
    for name in asked.networks.split(","):
        panels.append(measured(name, asked.loss))
        if asked.plot is not None:
            write_plot(asked.plot, panels)


def measured(network: str, loss: float) -> Panel:
    """Print one network's rows; gives its plot."""
    subject = Subject(network, loss)
    total, tested = len(subject.data.validation), len(subject.data.test)
    least = subject.truth[0] - loss / 100 * total
    one_width: list[Plan] = [
        dict.fromkeys((layer.name for layer in subject.layers), bits) for bits in WIDTHS
    ]
    kinds: dict[tuple[str, str], list[Plan]] = {
        ("one width", rounding): one_width for rounding in ROUNDINGS
    }
    for rounding in ("to nearest", "AdaRound"):
        kinds["by the bound", rounding] = subject.by_the_bound()
    for kind, found in subject.found.items():
        for rounding in ("to nearest", "AdaRound"):
            kinds[kind, rounding] = [] if found is None else [found]
    series = {}
    for (kind, rounding), plans in kinds.items():
        plans = sorted(plans, key=subject.size_bytes)
        good = [plan for plan in plans if subject.right(plan, rounding)[0] >= least]
        if good:
            low, high = (100 * end for end in wilson(subject.right(good[0], rounding)[1], tested))
            share = 100 * subject.right(good[0], rounding)[1] / tested
            widths = ", ".join(str(bits) for bits in good[0].values())
            figures = (
                f"{widths} | {subject.size_bytes(good[0]):,.0f} | "
                f"{share:.1f} ({low:.1f} to {high:.1f})"
            )
        else:
            figures = "none is within the loss | – | –"
        float_share = 100 * subject.truth[1] / tested
        print(f"| {network} | {kind} | {rounding} | {figures} | {float_share:.1f} |", flush=True)
        series[f"{kind}, {rounding}"] = [
            (subject.size_bytes(plan) / 1000, 100 * subject.right(plan, rounding)[1] / tested)
            for plan in plans
        ]
    return Panel(
        network,
        "kB of parameters",
        "test images right, %",
        series,
        reference=(100 * subject.truth[1] / tested, "float"),
    )


if __name__ == "__main__":
    run(main)
