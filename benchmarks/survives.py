"""Whether trained networks survive ``edgeq.quantize`` at its defaults, before any step, beside rounding to the nearest after training.

    EDGEQ_DATA=DIR python -m benchmarks.survives [--network resnet20-a] [--epochs 8]

Networks of the zoo, torchvision and timm (both have to be installed) are trained here on the
digits, and two ResNets come trained on CIFAR-10. Ranges are those of the same samples:
``edgeq calibrate``'s with its defaults, and those that the quantised copy meets in training mode,
without a step of an optimiser. Accuracy is in per cent of the test split; ``4/8`` is weights of 4
bits and activations of 8.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn import functional as F

import edgeq
from benchmarks.support.command import run
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.data import load, normalize
from edgeq.errors import FunctionChanged
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.models import pretrained, zoo
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import nn

WIDTHS = ((8, 8), (4, 8), (4, 4))
CALIBRATION, BATCH, TESTED = 256, 64, 500
_ZOO = ("resnet8", "resnet8-a", "stable-resnet8", "mobilenetv2-32", "separable-8", "vgg8")
_TORCHVISION = (
    *(
        "resnet18",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
    ),
    *("mnasnet0_5", "regnet_y_400mf", "vgg11_bn", "densenet121", "googlenet"),
)
_TIMM = (
    "resnet10t",
    "lcnet_050",
    "mobilenetv3_small_050",
    "tinynet_e",
    "efficientnet_lite0",
    "ghostnet_050",
    "repvgg_a0",
)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A trained network with data, float32 (n, c, h, w)."""

    network: nn.Module
    calibration: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]


def main() -> None:
    """Train, quantise and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", action="append", help="one of the table's names")
    parser.add_argument("--epochs", type=int, default=8)
    arguments = parser.parse_args()
    print(f"{fingerprint().cpu}, torch {torch.__version__}")
    heads = [f"{kind} {weights}/{acts}" for weights, acts in WIDTHS for kind in ("PTQ", "quantize")]
    print(f"{'':34s} {'float':>6s} " + " ".join(f"{head:>12s}" for head in heads))
    for name in arguments.network or _names():
        case = _case(name, arguments.epochs)
        cells = [f"{_accuracy(case, _answers(case.network, case.images)):6.1f}"]
        for weight_bits, act_bits in WIDTHS:
            cells += [
                f"{_after_training(case, weight_bits, act_bits):12.1f}",
                f"{_before_a_step(case, weight_bits, act_bits):12.1f}",
            ]
        print(f"{name:34s} {' '.join(cells)}", flush=True)


def _names() -> list[str]:
    own = [
        *(f"zoo:{name}" for name in _ZOO),
        *(f"torchvision:{name}" for name in _TORCHVISION),
        *(f"timm:{name}" for name in _TIMM),
    ]
    return ["resnet20-a", "resnet56-a", *own]


def _case(name: str, epochs: int) -> Case:
    torch.manual_seed(0)
    source_name, _, model = name.rpartition(":")
    if not source_name:
        folder = Path(os.environ["EDGEQ_DATA"])
        network = zoo.build(name, classes=10).eval()
        pretrained.load_npz_weights(
            network, folder / "models" / f"{name.removesuffix('-a')}-cifar10.npz"
        )
        source = load("cifar10-lossless", folder).with_normalization(*pretrained.NORMALIZATION)
        return _with_images(network, source, lambda images: images)
    digits = load("digits")
    if source_name == "zoo":
        network, prepare = (
            zoo.build(model, classes=10, in_channels=1, image_size=(8, 8)),
            _as_they_are,
        )
    else:
        network, prepare = _foreign(source_name, model), _as_photographs
    _train(network, prepare(normalize(digits.train.images, digits)), digits.train.labels, epochs)
    return _with_images(network.eval(), digits, prepare)


def _with_images(
    network: nn.Module, source: Any, prepare: Callable[[NDArray[np.float32]], NDArray[np.float32]]
) -> Case:
    test = source.test.take(np.arange(min(TESTED, len(source.test))))
    calibration = normalize(source.train.images[:CALIBRATION], source)
    return Case(network, prepare(calibration), prepare(normalize(test.images, source)), test.labels)


def _as_they_are(images: NDArray[np.float32]) -> NDArray[np.float32]:
    return images


def _as_photographs(images: NDArray[np.float32]) -> NDArray[np.float32]:
    """32 pixels high and wide, in three channels."""
    return np.ascontiguousarray(images.repeat(4, 2).repeat(4, 3).repeat(3, 1))


def _foreign(source: str, name: str) -> nn.Module:
    if source == "timm":
        return import_module("timm").create_model(name, num_classes=10)  # type: ignore[no-any-return]
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    return import_module("torchvision.models").get_model(name, num_classes=10, **options)  # type: ignore[no-any-return]


def _train(
    network: nn.Module, images: NDArray[np.float32], labels: NDArray[np.int64], epochs: int
) -> None:
    inputs, wanted = torch.from_numpy(images), torch.from_numpy(labels)
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    steps = epochs * -(-len(inputs) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(BATCH):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[chosen]), wanted[chosen]).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def _answers(network: nn.Module, images: NDArray[np.float32]) -> NDArray[np.float32]:
    parts = [network(part) for part in torch.from_numpy(images).split(BATCH)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def _accuracy(case: Case, answers: NDArray[np.float32]) -> float:
    return 100 * float((answers.argmax(1) == case.labels).mean())


def _after_training(case: Case, weight_bits: int, act_bits: int) -> float:
    """By ``edgeq calibrate``'s defaults."""
    shape = case.images.shape[1:]
    model = quantize_onnx(
        fold_onnx(lower(case.network, shape)),
        [case.calibration],
        CalibrationConfig(weight_bits=weight_bits, act_bits=act_bits),
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(serialize(model))
        with TARGETS.load("ort-cpu-ref").open(path) as session:
            return _accuracy(case, session.run(case.images))


def _before_a_step(case: Case, weight_bits: int, act_bits: int) -> float:
    """By ``edgeq.quantize``'s defaults; nothing may warn."""
    with warnings.catch_warnings(action="error", category=FunctionChanged):
        model = edgeq.quantize(
            case.network,
            edgeq.Scheme(weight_bits, act_bits),
            torch.from_numpy(case.calibration[:8]),
        )
    _answers(model.train(), case.calibration)
    return _accuracy(case, _answers(model.eval(), case.images))


if __name__ == "__main__":
    run(main)
