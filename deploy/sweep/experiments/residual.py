"""Residual networks, stable and plain: what 4 bits cost, and how rounding grows with depth.

Ben-Yair, Eliasof and Treister, *Quantized convolutional neural networks through the lens of partial
differential equations* (2022), Tables 1 and 2, Figures 1 and 3. A network trains in FP32 and from
there with quantisers at 4W/8A and 4W/4A, where the paper puts them. The epoch is chosen on
validation images, and the test images are used once. What rounding the activations does is measured
as published (:mod:`edgeq.training.activation_error`), as MSE, as its root, and as SQNR, which the
scale of the signal does not change.
"""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import batches, load, normalize
from edgeq.deploy.sweep.experiments.parts import forget, onnx_of, percent, reduced
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.metrics.accuracy import top1
from edgeq.models.macs import count_parameters
from edgeq.models.stability.symmetric import SymmetricBlock, step_margins
from edgeq.target import TARGETS
from edgeq.training.activation_error import activation_error
from edgeq.training.checkpoint import load_model
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeq.data import DataSource
    from edgeq.data.source import Split

HELD_OUT = 1000
"""Validation images at most: enough to choose an epoch by, and cheap in each of them."""
CALIBRATION = 256
REFERENCE, FAST = "ort-cpu-ref", "ort-cpu"


def measure(
    network: str,
    data: str,
    seed: int,
    epochs: int = 200,
    fine_epochs: int = 200,
    lr: float = 0.1,
    fine_lr: float = 0.01,
    batch_size: int = 128,
    images: int = 0,
    test_images: int = 0,
    scratch: bool = False,
) -> dict[str, float]:
    """Train a network at three widths, and measure.

    Args:
        network: a name of the zoo.
        data: a data set of images.
        seed: of training.
        epochs: in FP32; and at both other widths, where ``scratch`` says so.
        fine_epochs: at each of the other widths, from the weights in FP32.
        lr: the learning rate of the first epoch.
        fine_lr: that of the quantised runs, from the weights in FP32.
        batch_size: images a step.
        images: training images; 0 for all.
        test_images: test images; 0 for all.
        scratch: whether quantised runs start at random with widths annealed from 16 bits, as
            published, and not from FP32.

    Returns:
        Accuracies in %, errors of block outputs, growth in dB a block, answers that differ.
    """
    torch.set_num_threads(1)
    source = reduced(load(data), images, HELD_OUT, test_images)
    full = Recipe(network, data, epochs=epochs, lr=lr, batch_size=batch_size, seed=seed)
    place = Path("fp32")
    result = train(full, source, place, overwrite=True, threads=1)
    model = load_model(place / BEST).module
    found = {
        "params_m": count_parameters(model) / 1e6,
        "fp32": percent(result.test_correct, result.test_total),
        "validation": 100 * result.validation,
        **_steps(model, source),
        "flips_8w8a": _flips_after_calibration(model, source),
    }
    for bits in (8, 4):
        run = Path(f"4w{bits}a")
        recipe = Recipe(
            network,
            data,
            Scheme(4, bits, placement="paper"),
            epochs=epochs if scratch else fine_epochs,
            lr=lr if scratch else fine_lr,
            batch_size=batch_size,
            seed=seed,
            anneal_from=16 if scratch else 4,  # none: what is trained already needs no annealing
            init_from=None if scratch else str(place / BEST),
        )
        result = train(recipe, source, run, overwrite=True, threads=1)
        found[f"4w{bits}a"] = percent(result.test_correct, result.test_total)
        found |= {f"{name}_4w{bits}a{rest}": each for name, rest, each in _errors(run, source)}
        found[f"flips_4w{bits}a"] = _flips(run, source)
        forget(run)
    forget(place)
    return found


def _errors(run: Path, source: DataSource) -> list[tuple[str, str, float]]:
    """Of block outputs, with rounded activations and without: name, its end, and the figure."""
    error = activation_error(load_model(run / BEST).module, batches(source.test, source, 250))
    sqnrs = [block.sqnr_db for block in error.blocks]
    slope = np.polyfit(np.arange(len(sqnrs)), sqnrs, 1)[0] if len(sqnrs) > 1 else 0.0
    found = [
        ("mse", "", error.mse),
        ("rmse", "", error.rmse),
        ("sqnr", "", statistics.median(sqnrs)),
        ("sqnr_a_block", "", float(slope)),
        ("unrounded", "", 100 * error.accuracy_unrounded),
    ]
    for place, block in enumerate(error.blocks, start=1):
        found += [("rmse", f"/{place}", block.rmse), ("sqnr", f"/{place}", block.sqnr_db)]
    return found


@torch.inference_mode()
def _steps(model: torch.nn.Module, source: DataSource) -> dict[str, float]:
    """How far symmetric steps are from expanding, and channels that no test image reaches."""
    blocks = [block for block in model.modules() if isinstance(block, SymmetricBlock)]
    if not blocks:
        return {}
    alive: list[torch.Tensor] = []

    def look(_module: torch.nn.Module, _inputs: object, out: torch.Tensor) -> None:
        alive.append(out.amax((0, 2, 3)) > 0)

    hooks = [block.get_submodule("relu1").register_forward_hook(look) for block in blocks]
    seen: list[torch.Tensor] = []
    for images, _ in batches(source.test, source, 250):
        alive.clear()
        model(torch.from_numpy(images))
        seen = [a | b for a, b in zip(seen, alive, strict=True)] if seen else list(alive)
    for hook in hooks:
        hook.remove()
    margins = [step.margin for step in step_margins(model)]
    return {
        "margin": max(margins),
        "margins_above_1": sum(each > 1 for each in margins),
        "dead": sum(int((~each).sum()) for each in seen),
    }


def _flips(run: Path, source: DataSource) -> int:
    """Test images that the exported file answers otherwise on optimised kernels than torch."""
    model = load_model(run / BEST).module
    with TARGETS.load(FAST).open(onnx_of(run)) as session, torch.inference_mode():
        return sum(
            int(
                np.count_nonzero(
                    top1(session.run(images)) != top1(model(torch.from_numpy(images)).numpy())
                )
            )
            for images, _ in batches(source.test, source, 250)
        )


def _flips_after_calibration(model: torch.nn.Module, source: DataSource) -> int:
    """The same at 8W/8A after calibration, between the reference kernels and the optimised ones."""
    given = normalize(source.train.images[:CALIBRATION], source)
    made = quantize_onnx(
        lower(model, source.shape), np.array_split(given, 4), CalibrationConfig(), data=source.name
    )
    path = Path("8w8a.onnx")
    path.write_bytes(serialize(made))
    answers = [_answers(target, path, source.test, source) for target in (REFERENCE, FAST)]
    path.unlink()
    return int(np.count_nonzero(answers[0] != answers[1]))


def _answers(target: str, path: Path, test: Split, source: DataSource) -> NDArray[np.int64]:
    with TARGETS.load(target).open(path) as session:
        return np.concatenate(
            [top1(session.run(images)) for images, _ in batches(test, source, 250)]
        )
