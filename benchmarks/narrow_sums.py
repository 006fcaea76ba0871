"""How narrow the sums of a 4-bit network may be.

Accuracy and overflowing sums by accumulator width, as the emulator predicts them.

    python -m benchmarks.narrow_sums [--epochs 20] [--model resnet20 --model stable-resnet20]

Each network is trained on digits at 4W/4A with 8 bits in the first and last layer, briefly: what
counts is where sums overflow, not the last per cent. Each row is the profile ``accel-4bit`` with
another accumulator. The wider layers run on its host, or, in the rows that say so, on its own
accumulator like all others.
"""

from __future__ import annotations

import argparse
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np

from benchmarks.support.command import run
from edgeq.data import load, normalize
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.metrics.accuracy import top1
from edgeq.target import TARGETS
from edgeq.targets.emulator.program import OverflowStats
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.loop import train

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgeq.data import DataSource
    from edgeq.targets.emulator.session import EmulatorSession, LayerReport

MACHINE = files("edgeq.targets.emulator") / "hardware" / "accel-4bit.toml"
WIDTHS = (16, 14, 12, 11, 10, 9, 8)


def main() -> None:
    """Train, predict and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", action="append")
    parser.add_argument("--epochs", type=int, default=20)
    arguments = parser.parse_args()
    source = load("digits")
    for model in arguments.model or ("resnet20", "stable-resnet20"):
        with tempfile.TemporaryDirectory() as folder:
            artefact = _trained(model, arguments.epochs, source, Path(folder))
            _print_widths(model, artefact, source)
            _print_layers(model, artefact, source)


def _trained(model: str, epochs: int, source: DataSource, folder: Path) -> Path:
    recipe = Recipe.from_dict(
        {
            "model": model,
            "data": "digits",
            "epochs": epochs,
            "lr": 0.05,
            "batch_size": 64,
            "scheme": {"weight_bits": 4, "act_bits": 4},
        }
    )
    train(recipe, source, folder / model, threads=1)
    (written,) = export(folder / model, ["onnx"], folder, ExportOptions(), stem=model)
    return written.path


def _print_widths(model: str, artefact: Path, source: DataSource) -> None:
    print(f"{model} 4W/4A\n")
    print(
        "| accumulator, bits | saturating: right, % | sums that saturated | wrapping: "
        "right, % | sums that wrapped |"
    )
    print("|---|---|---|---|---|")
    for bits in WIDTHS:
        cells = []
        for overflow in ("saturate", "wrap"):
            right, layers = _run(
                artefact, source, {"accumulator_bits": str(bits), "overflow": f'"{overflow}"'}
            )
            stats = sum((layer.stats for layer in layers), OverflowStats())
            cells += [f"{100 * right:.2f}", f"{stats.overflowed:,} of {stats.sums:,}"]
        print(f"| {bits} | {' | '.join(cells)} |")


def _print_layers(model: str, artefact: Path, source: DataSource) -> None:
    """The layers that overflow where the wide ones run on the same 16 bits."""
    right, layers = _run(artefact, source, {"weight_bits": "[1, 8]", "activation_bits": "[1, 8]"})
    print(f"\n{model}, every layer on 16 bits: {100 * right:.2f} % right\n")
    print("| layer | widths, weights by inputs | sums | saturated |")
    print("|---|---|---|---|")
    for layer in layers:
        if layer.stats.sums:
            work, stats = layer.work, layer.stats
            print(
                f"| {work.name} | {work.weight_bits} by {work.input_bits} | {stats.sums:,} "
                f"| {stats.overflowed:,} |"
            )
    print()


def _run(
    artefact: Path, source: DataSource, changes: Mapping[str, str]
) -> tuple[float, Sequence[LayerReport]]:
    """The accuracy and the layers on the hardware profile with some of its fields changed."""
    left = dict(changes)  # a name is changed where it stands first, in the table of the arithmetic
    lines = [_changed(line, left) for line in MACHINE.read_text(encoding="utf-8").splitlines()]
    profile = artefact.with_name("machine.toml")
    profile.write_text("\n".join(lines), encoding="utf-8")
    with cast("EmulatorSession", TARGETS.load(f"emulator:{profile}").open(artefact)) as session:
        answers = top1(session.run(normalize(source.test.images, source)))
        return float(np.mean(answers == source.test.labels)), session.layers()


def _changed(line: str, left: dict[str, str]) -> str:
    name = line.partition(" ")[0]
    return f"{name} = {left.pop(name)}" if name in left else line


if __name__ == "__main__":
    run(main)
