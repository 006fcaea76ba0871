"""The certificate of a file held against every runtime here, on 10,000 images.

A network of two convolutions and a linear layer is trained on MNIST for two epochs, calibrated to
8W/8A and written as ONNX and TFLite with the same integers. The certificate is that of the ONNX
file; as the integers are the same, it holds for both. ``python -m benchmarks.certificate``; MNIST
lies in the folder that EDGEQ_DATA names.
"""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import nn

import edgeq
from edgeq.data import load, normalize
from edgeq.deploy import console
from edgeq.deploy.bounds.drift.certificate import CASES, certify
from edgeq.deploy.bounds.drift.propagate import Propagation
from edgeq.deploy.bounds.drift.tables import answers_table, held_table
from edgeq.deploy.evaluation.chain import require_targets
from edgeq.deploy.pipeline.export import canonical
from edgeq.files import temporary_folder
from edgeq.qdq.reader import read_qdq

ONNX = (
    *("ort-cpu", "ort-cpu-ref"),
    *("emulator:onnx-reference", "emulator:avx2", "emulator:tflite-reference"),
)
TFLITE = ("tflite", "tflite-builtin", "tflite-ref", "tflm", "emulator:tflm", "emulator:cmsis-nn-m4")
EPOCHS = 2
BATCH = 128


def _trained() -> nn.Module:
    torch.manual_seed(0)
    mnist = load("mnist")
    images = torch.from_numpy(normalize(mnist.train.images, mnist))
    labels = torch.from_numpy(mnist.train.labels)
    network = nn.Sequential(
        *(nn.Conv2d(1, 8, 5, stride=2), nn.ReLU(), nn.Conv2d(8, 16, 3, stride=2), nn.ReLU()),
        *(nn.Flatten(), nn.Linear(400, 10)),
    )
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    for _ in range(EPOCHS):
        for chosen in torch.randperm(len(images)).split(BATCH):
            optimizer.zero_grad()
            nn.functional.cross_entropy(network(images[chosen]), labels[chosen]).backward()
            optimizer.step()
    return network


def main() -> None:
    """Train, write both files and print the certificate with what each runtime answered."""
    network = _trained()
    with temporary_folder() as folder, ExitStack() as stack:
        onnx, tflite = folder / "mnist.onnx", folder / "mnist.tflite"
        edgeq.calibrate(network, "mnist", onnx, samples=256)
        edgeq.export(onnx, path=tflite)
        sessions = {
            f"{name} ({path.suffix[1:]})": stack.enter_context(target.open(path, threads=1))
            for path, names in ((onnx, ONNX), (tflite, TFLITE))
            for name, target in require_targets(names).items()
        }
        data = load("mnist")
        propagation = Propagation(read_qdq(canonical(onnx)))
        found = [
            certify(propagation, (data.test, data), case, sessions if case == "FP32" else None)
            for case in CASES
        ]
    for table in (answers_table(found), held_table(found)):
        console.write_table(table.title, table.columns, table.rows, numbers=table.columns[1:])


if __name__ == "__main__":
    main()
