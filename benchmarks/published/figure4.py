"""How do rounding, flooring and AdaRound lose accuracy with the bits of weights?

And what does equalisation before them change?

    EDGEQ_DATA=DIR python -m benchmarks.published.figure4 --folder DIR [--networks resnet8]
        [--bits 2,3,4,5,6,8] [--plot FILE.svg]

Figure 4 of Houache, Aujol and Traonmilin, *On the impact of the parametrization of deep
convolutional neural networks on post-training quantization* (2025), which has accuracy on Tiny
ImageNet against bits. Here are published networks on CIFAR-10. Every layer's weights have one step,
as in the paper's bounds, and 2 to 8 bits; activations have 16, so that what is lost is lost by
weights. *uniform* is read as the quantiser of Gonon et al. (2022), on which the paper builds:
``Q(x) = floor(x / step) * step``. What ``--folder`` holds already is only printed.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.support.command import run
from benchmarks.support.kept import kept
from benchmarks.support.ptq_cell import answers
from benchmarks.support.ptq_networks import Subject, subject
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.sweep.plot import Panel, write_plot
from edgeq.machine import fingerprint
from edgeq.metrics.accuracy import wilson
from edgeq.network.layer_rules import LayerRule

if TYPE_CHECKING:
    from collections.abc import Sequence

SAMPLES, STEPS = 128, 500
ROUNDINGS: dict[str, tuple[str, tuple[str, ...]]] = {
    "round": ("symmetric", ()),
    "uniform": ("floor", ()),
    "AdaRound": ("symmetric", (f"adaround:steps={STEPS}",)),
}
"""Each rounding's weight method, and the methods behind it."""


def right(given: Subject, rounding: str, bits: int, *, equalized: bool) -> int:
    """How many test images a network answers rightly with its weights rounded so."""
    weights, behind = ROUNDINGS[rounding]
    config = CalibrationConfig(
        weight_method=weights,
        act_bits=16,
        boundary_bits=16,
        per_channel=False,
        layers=(LayerRule("*", weight_bits=bits),),
        methods=(*(("equalize",) if equalized else ()), *behind),
    )
    made = quantize_onnx(given.model, np.array_split(given.calibration[:SAMPLES], 4), config)
    return int((answers(made, given.test) == given.labels).sum())


def main() -> None:
    """Measure what is not measured yet, print the table, write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--networks", default="resnet8,resnet20-a")
    parser.add_argument("--bits", default="2,3,4,5,6,8")
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    widths = [int(part) for part in asked.bits.split(",")]
    print(fingerprint().cpu)
    panels = []
    for name in asked.networks.split(","):
        panels.append(measured(name, widths, asked.folder))
        if asked.plot is not None:
            write_plot(asked.plot, panels)


def measured(name: str, widths: Sequence[int], folder: Path) -> Panel:
    """Print one network's table; give its plot."""
    given = subject(name, folder)
    file, total = folder / f"{name}.json", len(given.labels)
    truth = kept(
        file, "float", lambda: int((answers(given.model, given.test) == given.labels).sum())
    )
    low, high = (100 * end for end in wilson(truth, total))
    print(
        f"\n{name}: float {100 * truth / total:.1f} % ({low:.1f} to {high:.1f}), {total} images\n"
    )
    print(f"| rounding | equalised | {' | '.join(f'{bits} bits' for bits in widths)} |")
    print(f"|---|---|{'---|' * len(widths)}", flush=True)
    series = {}
    for rounding in ROUNDINGS:
        for equalized in (False, True):
            word = "equalised" if equalized else "as trained"
            points = []
            for bits in widths:
                measure = partial(right, given, rounding, bits, equalized=equalized)
                count = kept(file, f"{rounding}, {word}, {bits}", measure)
                points.append((float(bits), 100 * count / total))
            cells = " | ".join(f"{y:.1f}" for _, y in points)
            print(f"| {rounding} | {'yes' if equalized else 'no'} | {cells} |", flush=True)
            series[f"{rounding}, {word}"] = points
    return Panel(
        name,
        "bits of weights",
        "test images right, %",
        series,
        reference=(100 * truth / total, "float"),
    )


if __name__ == "__main__":
    run(main)
