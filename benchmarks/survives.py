"""Whether trained networks survive ``edgeq.quantize`` before any step, beside rounding them.

    EDGEQ_DATA=DIR python -m benchmarks.survives [--network resnet20-a] [--epochs 6]

Networks of the zoo, torchvision and timm (both have to be installed) are trained here on the
digits, and two ResNets come trained on CIFAR-10. Ranges are those of the same samples:
``edgeq calibrate``'s with its defaults, and those that the quantised copy, of the default scheme,
meets in training mode, without a step of an optimiser. Accuracy is in per cent of the test split;
``4/8`` is weights of 4 bits and activations of 8. Half a point is a sample or two there, so each
width ends with the difference over all labelled samples, those of training too (of CIFAR-10:
2,000), in points, with the interval of 95 % for paired answers: it is positive where ``quantize``
is the better.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import warnings
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

import edgeq
from benchmarks.support.command import run
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import load, normalize
from edgeq.errors import EdgeqError, FunctionChanged
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.models import pretrained, zoo
from edgeq.target import TARGETS
from edgeq.training.qat_transform.tracing import trace

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.data.source import DataSource

WIDTHS = ((8, 8), (4, 8), (4, 4))
CALIBRATION, BATCH, TESTED, MOST = 256, 64, 500, 2000
TRAINED_BY, RATE = 32, 4e-3
MOMENTUM = 0.1  # of every BatchNorm: in so few steps, statistics that follow slower never arrive
_NARROW = {"vgg19-bn": {"stages": ((16, 2), (32, 2), (64, 4), (64, 4), (64, 4))}}
_SIZES = {"stable-mobilenetv2": 3, "vgg19-bn": 4, "convnext_atto": 4, "resnet10t": 4}
_ZOO = (
    *(
        "resnet8",
        "resnet8-a",
        "stable-resnet8",
        "mobilenetv2",
        "stable-mobilenetv2",
        "mobilenetv1-he",
    ),
    *("dws-convnet-he", "regular-convnet-he", "vgg19-bn", "mlp5", "mlp-3x1024"),
)
_TORCHVISION = (
    *(
        "resnet18",
        "mobilenet_v2",
        "mobilenet_v3_small",
        "efficientnet_b0",
        "shufflenet_v2_x0_5",
        "squeezenet1_1",
    ),
    *("mnasnet0_5", "regnet_y_400mf", "densenet121", "googlenet"),
)
_TIMM = (
    *(
        "resnet10t",
        "lcnet_050",
        "mobilenetv3_small_050",
        "mobilenetv4_conv_small",
        "tinynet_e",
        "efficientnet_lite0",
    ),
    *("ghostnet_050", "repvgg_a0", "convnext_atto"),
)


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A trained network with data, float32 (n, c, h, w), those of the test split first."""

    network: nn.Module
    exported: ir.Model
    calibration: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64]
    tested: int


def main() -> None:
    """Train, quantise and print a table in Markdown, and what was refused."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", action="append", help="one of the table's names")
    parser.add_argument("--epochs", type=int, default=6, help="three times as many of 8 x 8 pixels")
    arguments = parser.parse_args()
    print(f"{fingerprint().cpu}, torch {torch.__version__}\n")
    heads = [
        f"{kind} {weights}/{acts}"
        for weights, acts in WIDTHS
        for kind in ("PTQ", "quantize", "difference")
    ]
    print(f"| network | float | {' | '.join(heads)} |\n|{'---|' * (2 + len(heads))}")
    refusals: dict[str, str] = {}
    for name in arguments.network or _names():
        case = _case(name, arguments.epochs)
        cells = [_accuracy(case, _answers(case.network, case.images))]
        for widths in WIDTHS:
            found = [
                _attempt(method, case, widths, refusals)
                for method in (_after_training, _before_a_step)
            ]
            cells += [*(_accuracy(case, answers) for answers in found), _difference(case, *found)]
        print(f"| {name} | {' | '.join(cells)} |", flush=True)
        for what, error in refusals.items():
            print(f"{name}{what}: {error}", file=sys.stderr)
        refusals.clear()


def _names() -> list[str]:
    own = [
        *(f"zoo:{name}" for name in _ZOO),
        *(f"torchvision:{name}" for name in _TORCHVISION),
        *(f"timm:{name}" for name in _TIMM),
    ]
    return ["resnet20-a", "resnet56-a", *own]


def _case(name: str, epochs: int) -> Case:
    torch.manual_seed(0)
    kind, _, model = name.rpartition(":")
    if not kind:
        folder = Path(os.environ["EDGEQ_DATA"])
        network = zoo.build(name, classes=10)
        pretrained.load_npz_weights(
            network, folder / "models" / f"{name.removesuffix('-a')}-cifar10.npz"
        )
        source = load("cifar10-lossless", folder).with_normalization(*pretrained.NORMALIZATION)
        return _with_images(network, source, times=1, channels=3)
    digits = load("digits")
    times, channels = _SIZES.get(model, 1 if kind == "zoo" else 3), 1 if kind == "zoo" else 3
    network = _built(kind, model, 8 * times)
    _train(
        network,
        _enlarged(normalize(digits.train.images, digits), times, channels),
        digits.train.class_labels,
        epochs * 3 if times == 1 else epochs,
    )
    return _with_images(network, digits, times, channels)


def _built(kind: str, name: str, size: int) -> nn.Module:
    if kind == "zoo":
        return zoo.build(
            name, classes=10, in_channels=1, image_size=(size, size), **_NARROW.get(name, {})
        )
    if kind == "timm":
        timm: Any = import_module("timm")
        return cast("nn.Module", timm.create_model(name, num_classes=10))
    models: Any = import_module("torchvision.models")
    options = {"aux_logits": False, "init_weights": True} if name == "googlenet" else {}
    return cast("nn.Module", models.get_model(name, num_classes=10, **options))


def _with_images(network: nn.Module, source: DataSource, times: int, channels: int) -> Case:
    splits = [
        source.test.take(np.arange(min(TESTED, len(source.test)))),
        source.train,
        source.validation,
    ]
    images, labels = (
        np.concatenate([getattr(split, field) for split in splits])[:MOST]
        for field in ("images", "labels")
    )
    first, every = (
        _enlarged(normalize(pixels, source), times, channels)
        for pixels in (source.train.images[:CALIBRATION], images)
    )
    exported = lower(trace(network.eval(), torch.from_numpy(first)), first.shape[1:])
    return Case(network, exported, first, every, labels, len(splits[0]))


def _enlarged(images: NDArray[np.float32], times: int, channels: int) -> NDArray[np.float32]:
    """Some times as high and wide, and in some channels where there was one."""
    larger = images.repeat(times, 2).repeat(times, 3)
    return np.broadcast_to(larger, (len(larger), channels, *larger.shape[2:])).copy()


def _train(
    network: nn.Module, images: NDArray[np.float32], labels: NDArray[np.int64], epochs: int
) -> None:
    norms = [
        each for each in network.modules() if isinstance(each, nn.BatchNorm1d | nn.BatchNorm2d)
    ]
    for norm in norms:
        norm.momentum = MOMENTUM
    inputs, wanted = torch.from_numpy(images), torch.from_numpy(labels)
    rate = RATE if norms else RATE / 4
    optimizer = torch.optim.AdamW(network.parameters(), rate)
    steps = len(inputs) // TRAINED_BY
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=epochs * steps)
    network.train()
    for _ in range(epochs):
        for chosen in torch.randperm(len(inputs)).split(TRAINED_BY)[:steps]:
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[chosen]), wanted[chosen]).backward()
            optimizer.step()
            schedule.step()


@torch.no_grad()
def _answers(
    network: nn.Module, images: NDArray[np.float32], batch: int = 500
) -> NDArray[np.float32]:
    parts = [network(part) for part in torch.from_numpy(images).split(batch)]
    found: NDArray[np.float32] = torch.cat(parts).numpy()
    return found


def _attempt(
    method: Callable[[Case, int, int], NDArray[np.float32]],
    case: Case,
    widths: tuple[int, int],
    refusals: dict[str, str],
) -> NDArray[np.float32] | None:
    try:
        return method(case, *widths)
    except EdgeqError as error:
        refusals[method.__name__.replace("_", " ")] = str(error)
        return None


def _after_training(case: Case, weight_bits: int, act_bits: int) -> NDArray[np.float32]:
    """By ``edgeq calibrate``, rounding to nearest on min-max ranges."""
    config = CalibrationConfig(weight_bits=weight_bits, act_bits=act_bits, methods=())
    model = quantize_onnx(case.exported, [case.calibration], config)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.onnx"
        path.write_bytes(serialize(model))
        with TARGETS.load("ort-cpu-ref").open(path) as session:
            return session.run(case.images)


def _before_a_step(case: Case, weight_bits: int, act_bits: int) -> NDArray[np.float32]:
    """By ``edgeq.quantize``'s defaults; nothing may warn."""
    with warnings.catch_warnings(action="error", category=FunctionChanged):
        model = edgeq.quantize(
            case.network,
            edgeq.Scheme(weight_bits, act_bits),
            torch.from_numpy(case.calibration[:8]),
        )
    _answers(model.train(), case.calibration, BATCH)
    return _answers(model.eval(), case.images)


def _right(case: Case, answers: NDArray[np.float32]) -> NDArray[np.bool_]:
    right: NDArray[np.bool_] = answers.argmax(1) == case.labels
    return right


def _accuracy(case: Case, answers: NDArray[np.float32] | None) -> str:
    return (
        "refused"
        if answers is None
        else f"{100 * float(_right(case, answers)[: case.tested].mean()):.1f}"
    )


def _difference(
    case: Case, first: NDArray[np.float32] | None, second: NDArray[np.float32] | None
) -> str:
    """How much more the second answers right, of all samples, in points; the interval of 95 %."""
    if first is None or second is None:
        return "–"
    gains = 100 * (_right(case, second).astype(np.float64) - _right(case, first))
    return f"{gains.mean():+.1f} ± {1.96 * gains.std() / len(gains) ** 0.5:.1f}"


if __name__ == "__main__":
    run(main)
