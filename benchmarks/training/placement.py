"""What the ``integer`` placement costs against the published one.

Accuracy and rounding error, same recipe, several seeds.

    python -m benchmarks.training.placement [--seeds 3] [--epochs 60]

Networks of the demo on ``digits``. The error is the MSE between rounded and merely clipped
activations at block outputs (Ben-Yair, Eliasof, Treister, Eq. 3), on the test split.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.support.command import run
from benchmarks.support.spread import spread
from edgeq.data import batches, load
from edgeq.deploy.pipeline.parallel_training import worker_pool
from edgeq.training.activation_error import activation_error
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from edgeq.network.placement import PlacementName

MODELS = ("stable-resnet8", "resnet8")
WIDTHS = ((4, 8), (4, 4))
PLACEMENTS: tuple[PlacementName, ...] = ("paper", "integer")


def main() -> None:
    """Train, measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=60)
    arguments = parser.parse_args()
    source = load("digits")
    settings: list[tuple[str, tuple[int, int], PlacementName]] = [
        (model, widths, placement)
        for model in MODELS
        for widths in WIDTHS
        for placement in PLACEMENTS
    ]
    with tempfile.TemporaryDirectory() as folder:
        runs = {
            Path(folder) / f"{i}-{seed}": Recipe(
                model,
                "digits",
                Scheme(*widths, placement=placement),
                epochs=arguments.epochs,
                batch_size=32,
                seed=seed,
            )
            for i, (model, widths, placement) in enumerate(settings)
            for seed in range(arguments.seeds)
        }
        with worker_pool(len(runs)) as workers:
            results = workers.train(runs, source, overwrite=False)
        errors = {
            path: activation_error(
                load_model(path / "best.safetensors").module, batches(source.test, source, 128)
            )
            for path in runs
        }
    print(
        f"digits, {arguments.epochs} epochs, seeds 0 to {arguments.seeds - 1}: mean (least "
        "to greatest)"
    )
    for i, (model, widths, placement) in enumerate(settings):
        paths = [path for path in runs if path.name.startswith(f"{i}-")]
        accuracy = [100 * results[path].test_correct / results[path].test_total for path in paths]
        mse = [errors[path].mse for path in paths]
        print(
            f"{model:15s} {widths[0]}W/{widths[1]}A {placement:8s} accuracy "
            f"{spread(accuracy, '.2f')} %   MSE {spread(mse, '.2e')}"
        )


if __name__ == "__main__":
    run(main)
