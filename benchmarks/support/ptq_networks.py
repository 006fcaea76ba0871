"""The networks of the table of methods after training, as float ONNX, with their images."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgeq.data import load, normalize
from edgeq.formats.onnx_io import read, serialize

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from torch import nn

    from edgeq.data.source import DataSource

NETWORKS = ("resnet20-a", "resnet56-a", "resnet8", "mobilenetv2", "mobilenetv3-small")
CALIBRATION = 500
_EPOCHS, _RATE, _BATCH = 12, 0.003, 64


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A network with what it is calibrated and judged on.

    Attributes:
        model: float, as ONNX, with its BatchNorms where it was made from a PyTorch network.
        calibration: float32, (n, channels, h, w).
        test: float32, (m, channels, h, w).
        labels: (m,).
    """

    model: ir.Model
    calibration: NDArray[np.float32]
    test: NDArray[np.float32]
    labels: NDArray[np.int64]


def subject(name: str, folder: Path) -> Subject:
    """One of :data:`NETWORKS`.

    The ResNets are published ones, on the lossless images of CIFAR-10 in ``EDGEQ_DATA``. The
    MobileNets are of the zoo; they are trained on the digits when they are first needed.

    Args:
        name: the network.
        folder: where it is kept once it is made, so that later processes need no PyTorch for it.
    """
    network, images = folder / f"{name}.onnx", folder / f"{name}.npz"
    if not images.exists():
        made = _made(name, folder)
        network.write_bytes(serialize(made.model))
        np.savez(images, calibration=made.calibration, test=made.test, labels=made.labels)
    with np.load(images) as kept:
        return Subject(read(network), kept["calibration"], kept["test"], kept["labels"])


def _made(name: str, folder: Path) -> Subject:
    if name.startswith("mobilenet"):
        source = load("digits")
        return _subject(_trained(name, source, folder / f"{name}.pt"), source)
    from benchmarks.support.networks import build
    from edgeq.exporters.torch.lower import lower
    from edgeq.models.pretrained import NORMALIZATION

    data = Path(os.environ["EDGEQ_DATA"])
    norm = ((0.0,) * 3, (1 / 255,) * 3) if name == "resnet8" else NORMALIZATION
    source = load("cifar10-lossless", data).with_normalization(*norm)
    if name == "resnet8":
        return _subject(read(data / "models" / "resnet8-float.onnx"), source)
    return _subject(lower(build(name).module, (3, 32, 32)), source)


def _subject(model: ir.Model, source: DataSource) -> Subject:
    few = np.linspace(0, len(source.train) - 1, CALIBRATION).astype(np.int64)
    return Subject(
        model,
        normalize(source.train.images[few], source),
        normalize(source.test.images, source),
        np.asarray(source.test.labels),
    )


def _trained(name: str, source: DataSource, path: Path) -> ir.Model:
    import torch

    from edgeq.exporters.torch.lower import lower
    from edgeq.models import zoo

    torch.manual_seed(0)
    channels, *size = normalize(source.train.images[:1], source).shape[1:]
    module = zoo.build(name, classes=10, in_channels=channels)
    if path.exists():
        module.load_state_dict(torch.load(path, weights_only=True))
    else:
        _train(module, source)
        torch.save(module.state_dict(), path)
    return lower(module.eval(), (channels, *size))


def _train(module: nn.Module, source: DataSource) -> None:
    import torch

    images = torch.from_numpy(normalize(source.train.images, source))
    labels = torch.from_numpy(np.asarray(source.train.labels)).long()
    optimizer = torch.optim.Adam(module.train().parameters(), lr=_RATE)
    steps = _EPOCHS * (len(images) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, _RATE, total_steps=steps)
    for _ in range(_EPOCHS):
        for chosen in torch.randperm(len(images))[: len(images) // _BATCH * _BATCH].split(_BATCH):
            optimizer.zero_grad()
            torch.nn.functional.cross_entropy(module(images[chosen]), labels[chosen]).backward()
            optimizer.step()
            schedule.step()
