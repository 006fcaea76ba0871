"""Targets without a runtime.

They answer as the artefact's file tells them, so that every outcome can be set up.

An image of the fake data holds its label and its number; a fake artefact holds how many samples,
from the first, are to be answered wrong. Its first bytes are those of its format, so that only the
runtime is fake.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Self

import numpy as np

from edgeq.data import DataSource, Preprocessing, Split
from edgeq.errors import ArtefactError, UnknownName
from edgeq.quant import QuantizedTensor, QuantParams
from edgeq.target import Availability, Capabilities, ChainLink, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.formats.artefact import Format
    from edgeq.target import Batch

CLASSES = 4
SAMPLES = 40
HEAD: dict[Format, bytes] = {
    "onnx": b"\x08\x0a",
    "tflite": b"\0\0\0\0TFL3",
    "checkpoint": struct.pack("<Q", 2) + b"{}",
}
SUFFIX: dict[Format, str] = {"onnx": ".onnx", "tflite": ".tflite", "checkpoint": ".safetensors"}
STEP = 0.5


def artefact(folder: Path, kind: Format, *, wrong: int = 0, name: str = "net") -> Path:
    """A file that a fake target opens and that answers ``wrong`` samples wrong."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}{SUFFIX[kind]}"
    path.write_bytes(HEAD[kind] + bytes([wrong]))
    return path


def source(samples: int = SAMPLES) -> DataSource:
    """Data whose images are (label, number) in a row of two pixels."""
    labels = np.arange(samples) % CLASSES
    images = (
        np.stack([labels, np.arange(samples)], axis=1).astype(np.uint8).reshape(samples, 1, 2, 1)
    )
    part = Split({"": images}, labels.astype(np.int64), np.arange(100, 100 + samples))
    return DataSource(
        "fake",
        tuple("abcd"),
        part,
        part,
        part,
        Preprocessing(),
    )


class FakeSession:
    """Answers one-hot logits of 10, moved by ``noise``."""

    def __init__(self, wrong: int, target: FakeTarget, *, readable: bool) -> None:
        self.wrong, self.target, self.readable = wrong, target, readable
        self.inputs = (TensorSpec("x", (1, 1, 2), "float32"),)
        self.output = TensorSpec("y", (CLASSES,), "float32")
        self.outputs = (self.output,)
        self.facts = {"kernels": "fake"}
        self.invocations = 0
        self.largest_batch = 0

    def run(self, batch: Batch) -> NDArray[np.float32]:
        batch = np.asarray(batch)
        if batch.shape[1:] != (1, 1, 2):
            raise ArtefactError(
                f"samples of shape {batch.shape[1:]} do not fit", hint="use fake data"
            )
        self.largest_batch = max(self.largest_batch, len(batch))
        pixels = np.rint(batch.reshape(-1, 2)).astype(int)
        answers = np.where(pixels[:, 1] < self.wrong, pixels[:, 0] + 1, pixels[:, 0]) % CLASSES
        one_hot: NDArray[np.float32] = np.eye(CLASSES, dtype=np.float32)[answers]
        return one_hot * np.float32(10) + np.float32(self.target.noise)

    def run_all(self, batch: Batch) -> Mapping[str, NDArray[np.float32]]:
        return {"y": self.run(batch)}

    def tensors(self, batch: Batch) -> Mapping[str, QuantizedTensor | NDArray[np.float32]]:
        if not self.readable:
            raise AssertionError("nobody may ask")
        batch = np.asarray(batch)
        values = np.rint(batch.reshape(-1, 2)).astype(np.int64) + self.target.steps
        mine: NDArray[np.float32] = np.zeros((len(batch), 1), np.float32)
        return {
            "inner": QuantizedTensor(values, QuantParams.of(STEP, 0, "uint8")),
            "float": batch,
            f"only {id(self)}": mine,
        }

    def prepare(self, batch: Batch) -> None:
        self.run(batch)

    def invoke(self) -> None:
        self.invocations += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.target.open_sessions -= 1


class FakeTarget:
    """Opens files of one format.

    Args:
        kind: the format.
        noise: added to every output.
        steps: how many LSB the tensor ``inner`` is off.
        intermediates: whether tensors can be read.
        usable: whether it works here.
        link: its place in the chain.
    """

    def __init__(
        self,
        kind: Format,
        *,
        noise: float = 0.0,
        steps: int = 0,
        intermediates: bool = True,
        usable: bool = True,
        link: ChainLink | None = None,
    ) -> None:
        self.capabilities = Capabilities(
            frozenset({kind}),
            frozenset({"int8"}),
            True,
            intermediates,
            "measured",
            "a fake",
            link=link,
        )
        self.noise, self.steps, self.usable = noise, steps, usable
        self.open_sessions = 0
        self.sessions: list[FakeSession] = []

    def probe(self) -> Availability:
        if self.usable:
            return Availability(usable=True, versions={"fake": "1"})
        return Availability(usable=False, why_not="no runtime", hint="install one")

    def open(self, artefact: Path, *, threads: int = 1, intermediates: bool = False) -> FakeSession:
        self.open_sessions += 1
        self.sessions.append(FakeSession(artefact.read_bytes()[-1], self, readable=intermediates))
        return self.sessions[-1]


class FakeTable:
    """Stands in for a registry."""

    def __init__(self, targets: Mapping[str, FakeTarget]) -> None:
        self.targets = dict(targets)

    def names(self) -> list[str]:
        return sorted(self.targets)

    def load(self, name: str) -> FakeTarget:
        if name not in self.targets:
            raise UnknownName("target", name, self.targets)
        return self.targets[name]


def all_targets() -> dict[str, FakeTarget]:
    """The chain's targets, each a little off the one before it, and a stranger."""
    lowered = ("quantisation", "lowering")
    rounded = (*lowered, "conversion", "kernel rounding")
    return {
        "torch-fp32": FakeTarget("checkpoint", link=ChainLink(0, ())),
        "torch": FakeTarget("checkpoint", noise=0.1, steps=1, link=ChainLink(1, lowered[:1])),
        "ort-cpu-ref": FakeTarget("onnx", noise=0.1, steps=1, link=ChainLink(2, lowered)),
        "ort-cpu": FakeTarget(
            "onnx", noise=0.2, steps=2, link=ChainLink(3, (*lowered, "graph optimisation"))
        ),
        "tflite-ref": FakeTarget("tflite", noise=0.2, steps=2, link=ChainLink(4, rounded)),
        "tflite": FakeTarget("tflite", noise=0.2, intermediates=False, link=ChainLink(6, rounded)),
        "a-board": FakeTarget("tflite", noise=0.3, steps=20),
    }
