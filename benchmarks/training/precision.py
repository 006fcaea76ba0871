"""Does training in bfloat16 cost accuracy?

    python -m benchmarks.training.precision [--data digits]
        [--networks resnet8,stable-resnet8] [--seeds 5] [--epochs 30]

The same 4W/4A networks from the same seeds, their training steps in float32 and in bfloat16, on one
thread. What is compared is the test accuracy of the network as it is deployed, which is evaluated
in float32 either way.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.support.command import run
from benchmarks.support.spread import spread
from edgeq.data import load
from edgeq.training.recipes.recipe import Precision, Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train

if TYPE_CHECKING:
    from edgeq.data import DataSource


def main() -> None:
    """Train, and print a line a network."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", default="digits")
    parser.add_argument("--networks", default="resnet8,stable-resnet8")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--epochs", type=int, default=30)
    arguments = parser.parse_args()
    source = load(arguments.data)
    print(
        "| network, 4W/4A | seeds | float32 test % | bfloat16 test % | bfloat16 less "
        "float32, points |"
    )
    print("|---|---|---|---|---|")
    for model in arguments.networks.split(","):
        full, half = (
            [
                _accuracy(model, source, precision, seed, arguments.epochs)
                for seed in range(arguments.seeds)
            ]
            for precision in ("fp32", "bf16")
        )
        difference = [low - high for low, high in zip(half, full, strict=True)]
        print(
            f"| {model} | {arguments.seeds} | {spread(full, '.2f')} | "
            f"{spread(half, '.2f')} | {spread(difference, '.2f')} |",
            flush=True,
        )


def _accuracy(
    model: str, source: DataSource, precision: Precision, seed: int, epochs: int
) -> float:
    recipe = Recipe(
        model,
        source.name,
        Scheme(4, 4),
        epochs=epochs,
        batch_size=32,
        seed=seed,
        precision=precision,
    )
    with tempfile.TemporaryDirectory() as folder:
        result = train(recipe, source, Path(folder), overwrite=True, threads=1)
    return 100 * result.test_correct / result.test_total


if __name__ == "__main__":
    run(main)
