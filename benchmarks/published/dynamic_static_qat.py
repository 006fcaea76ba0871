"""Dynamic quantisation, static quantisation, or training: what loses least on one network?

    python -m benchmarks.published.dynamic_static_qat [--network dws-convnet-he]
        [--bits 8/8,4/8,4/4,3/3,2/4] [--plot FILE.svg]

The comparison that a lecture on quantising neural networks (IMT Atlantique) makes and has no table
for: one trained network, on the digits, its weights and activations at fewer and fewer bits.

- *dynamic*: weights rounded to nearest, ranges of activations from each batch, in batches of one
  and of all samples; ``onnxruntime`` is its own ``quantize_dynamic``, which has 8 bits only;
- *static*: ``edgeq calibrate`` on 256 training images, as it comes, and with AdaRound;
- *QAT*: ``edgeq.quantize`` and some epochs of Adam.

The first and the last layer have 8 bits in all of them. Static files and QAT quantise every stored
tensor, as integer runtimes need it; dynamic quantisation only what layers read.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import torch
from torch import nn

import edgeq
from benchmarks.support.command import run
from benchmarks.support.dynamic import dynamic
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.data import load, normalize
from edgeq.deploy.sweep.plot import Panel, write_plot
from edgeq.exporters.torch.lower import lower
from edgeq.machine import fingerprint
from edgeq.metrics.accuracy import wilson
from edgeq.models import zoo

if TYPE_CHECKING:
    from numpy.typing import NDArray

EPOCHS, QAT_EPOCHS, BATCH, SAMPLES = 20, 10, 32, 256
ROWS = (
    "dynamic, batches of 1",
    "dynamic, one batch",
    "onnxruntime, batches of 1",
    "static",
    "static, AdaRound",
    "QAT",
)


class Comparison:
    """One network, trained on the digits, and what becomes of it.

    Args:
        name: of the zoo.
    """

    def __init__(self, name: str) -> None:
        source = load("digits")
        self.images = torch.from_numpy(normalize(source.train.images, source))
        self.labels = torch.from_numpy(source.train.class_labels)
        self.test = normalize(source.test.images, source)
        self.truth = source.test.class_labels
        torch.manual_seed(0)
        torch.set_num_threads(1)
        self.shape = tuple(self.images.shape[1:])
        self.network = zoo.build(name, classes=10, in_channels=self.shape[0])
        self._train(self.network, EPOCHS, 3e-3)
        self.model = fold_onnx(lower(self.network, self.shape))

    def _train(self, network: nn.Module, epochs: int, rate: float) -> None:
        network.train()
        optimizer = torch.optim.Adam(network.parameters(), lr=rate)
        steps = epochs * (len(self.images) // BATCH)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, total_steps=steps)
        for _ in range(epochs):
            order = torch.randperm(len(self.images))[: len(self.images) // BATCH * BATCH]
            for part in order.split(BATCH):
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(network(self.images[part]), self.labels[part])
                torch.autograd.backward(loss)
                optimizer.step()
                schedule.step()
        network.eval()

    def right(self, model: ir.Model, batch: int | None = None) -> int:
        """Right answers of a model on the test images, each operator as ONNX says."""
        session = session_of(model, exact=True)
        entry = session.entries[0]
        size = batch or len(self.test)
        found = [
            np.asarray(session.run((), {entry: self.test[start : start + size]})[0])
            for start in range(0, len(self.test), size)
        ]
        return self._count(np.concatenate(found))

    def _count(self, logits: NDArray[np.float32]) -> int:
        return int((logits.argmax(axis=1) == self.truth).sum())

    def measured(self, row: str, weight_bits: int, act_bits: int) -> int | None:
        """Right answers of a row at some widths; None where it has no such widths."""
        kind, _, how = row.partition(", ")
        if kind == "dynamic":
            made = dynamic(self.model, weight_bits, act_bits)
            return self.right(made, 1 if how == "batches of 1" else None)
        if kind == "onnxruntime":
            return self._onnxruntime() if (weight_bits, act_bits) == (8, 8) else None
        if kind == "static":
            methods = ("adaround",) if how else ()
            config = CalibrationConfig(weight_bits=weight_bits, act_bits=act_bits, methods=methods)
            batches = np.array_split(self.images[:SAMPLES].numpy(), 4)
            return self.right(quantize_onnx(self.model, batches, config))
        torch.manual_seed(1)
        scheme = edgeq.Scheme(weight_bits=weight_bits, act_bits=act_bits)
        quantized = edgeq.quantize(self.network, scheme, self.images[:SAMPLES])
        self._train(quantized, QAT_EPOCHS, 1e-3)
        return self.right(lower(quantized, self.shape))

    def _onnxruntime(self) -> int:
        from onnxruntime.quantization import QuantType, quantize_dynamic

        with tempfile.TemporaryDirectory() as folder:
            source, made = Path(folder) / "float.onnx", Path(folder) / "dynamic.onnx"
            proto = ir.to_proto(self.model)
            del proto.graph.value_info[:]  # its own turning of weights would contradict them
            onnx.save(proto, source)
            # signed weights beside dynamic ranges are not taken by its convolutions
            quantize_dynamic(source, made, per_channel=True, weight_type=QuantType.QUInt8)
            return self.right(ir.load(made), 1)


def main() -> None:
    """Train, measure, print the table, write the plot."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", default="dws-convnet-he", choices=zoo.names())
    parser.add_argument("--bits", default="8/8,6/6,4/8,4/4,3/3,2/4")
    parser.add_argument("--rows", nargs="+", default=ROWS, choices=ROWS)
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    found, widths = Comparison(asked.network), asked.bits.split(",")
    truth, total = found.right(found.model), len(found.truth)
    print(fingerprint().cpu)
    print(f"\n{asked.network}: float {_share(truth, total)}\n")
    names = [f"{each.replace('/', 'W/')}A" for each in widths]
    print(f"| method | {' | '.join(names)} |")
    print(f"|---|{'---|' * len(widths)}", flush=True)
    series = {}
    for row in asked.rows:
        made = [found.measured(row, *map(int, each.split("/"))) for each in widths]
        cells = ("–" if count is None else _share(count, total) for count in made)
        print(f"| {row} | {' | '.join(cells)} |", flush=True)
        points = enumerate(made)
        series[row] = [(float(i), 100 * count / total) for i, count in points if count is not None]
    if asked.plot is not None:
        panel = Panel(
            f"{asked.network}, digits",
            "bits of weights/activations",
            "test images right, %",
            series,
            labels={float(place): each for place, each in enumerate(widths)},
            reference=(100 * truth / total, "float"),
        )
        write_plot(asked.plot, [panel])


def _share(count: int, total: int) -> str:
    low, high = (100 * end for end in wilson(count, total))
    return f"{100 * count / total:.1f} ({low:.1f} to {high:.1f})"


if __name__ == "__main__":
    run(main)
