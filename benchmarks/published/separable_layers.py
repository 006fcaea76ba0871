"""In which layers do separable networks lose what they lose in quint8, and where does it come from?

    EDGEQ_DATA=DIR python -m benchmarks.published.separable_layers --folder DIR
        [--networks dws-convnet-glorot,regular-convnet-glorot] [--reading values] [--plot FILE.svg]

Figures 1 to 7 of Yun and Wong, *Do all MobileNets quantize poorly?* (2021), for the networks that
``benchmarks.published.separable`` left in ``--folder``, layer by layer: how far activations are
from float (QMSE; QCE and QKL of their histograms), and the ranges and the average precision (their
Eq. 2) of weights as they were trained, of weights with BatchNorm folded in, and of activations.
Histograms have 256 bins over the range of both, of all test images used; 1e-10 is added to those of
the quantised network, since the paper does not say how empty bins are treated.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from torch import nn

from benchmarks.published.separable import average_precision, quint8_file
from benchmarks.support.command import run
from benchmarks.support.plot import Panel, write_plot
from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx
from edgeq.data import load, normalize
from edgeq.formats.onnx_io import read
from edgeq.machine import fingerprint
from edgeq.training.checkpoint import load_model
from edgeq.training.run.run_folder import BEST

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

IMAGES, BINS, EMPTY = 256, 256, 1e-10
KINDS = ("weights as trained", "weights with BatchNorm", "activations")


@dataclass(frozen=True, slots=True)
class LayerRow:
    """One layer of a network.

    Attributes:
        name: of its operator.
        depthwise: whether each channel has a filter of its own.
        qmse: mean squared difference of its activations from float.
        qce: cross-entropy of their histograms, nats.
        qkl: the same less the entropy in float, nats.
        ranges: greatest less least value, by ``KINDS``.
        precisions: average precision, by ``KINDS``.
    """

    name: str
    depthwise: bool
    qmse: float
    qce: float
    qkl: float
    ranges: tuple[float, ...]
    precisions: tuple[float, ...]


def histograms(real: NDArray[np.float32], quantized: NDArray[np.float32]) -> tuple[float, float]:
    """QCE and QKL of two tensors by their histograms, in nats."""
    ends = (
        float(min(real.min(), quantized.min())),
        float(max(real.max(), quantized.max())),
    )
    p, q = (np.histogram(each, BINS, ends)[0].astype(np.float64) for each in (real, quantized))
    p, q = p / p.sum(), q / q.sum() + EMPTY
    q /= q.sum()
    cross = -float((p * np.log(q)).sum())
    seen = p[p > 0]
    return cross, cross + float((seen * np.log(seen)).sum())


def rows_of(folder: Path, reading: str, data: str) -> list[LayerRow]:
    """The convolutions of one trained network."""
    source = load(data)
    images = normalize(source.test.images[:IMAGES], source)
    given = fold_onnx(read(folder / "float.onnx"))
    layers = [node for node in given.graph if node.op_type == "Conv"]
    tensors = [_activation(node) for node in layers]
    quantized = read(quint8_file(folder, reading, 0))
    real = _outputs(given, tensors, images)
    rounded = _outputs(quantized, [f"{name}_dequantized" for name in tensors], images)
    trained = [
        module.weight.detach().numpy()
        for module in load_model(folder / BEST).module.modules()
        if isinstance(module, nn.Conv2d)
    ]
    found = []
    for node, weight, wanted, made in zip(layers, trained, real, rounded, strict=True):
        folded = _constant(node.inputs[1])
        by_channel = np.moveaxis(wanted, 1, 0)
        cross, divergence = histograms(wanted, made)
        kinds = (weight, folded, by_channel)
        found.append(
            LayerRow(
                str(node.name),
                node.attributes.get_int("group", 1) > 1,
                float(np.square(wanted.astype(np.float64) - made).mean()),
                cross,
                divergence,
                tuple(float(np.ptp(each)) for each in kinds),
                tuple(average_precision(each) for each in kinds),
            )
        )
    return found


def _activation(node: ir.Node) -> str:
    """The tensor that a layer makes, through its ReLU where it has one."""
    readers = node.outputs[0].consumers()
    maker = readers[0] if len(readers) == 1 and readers[0].op_type == "Relu" else node
    return str(maker.outputs[0].name)


def _constant(value: ir.Value | None) -> NDArray[np.float32]:
    if value is None or value.const_value is None:
        raise ValueError("a convolution without constant weights")
    return value.const_value.numpy()


def _outputs(
    model: ir.Model, names: Sequence[str], images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    proto = ir.to_proto(model)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = session_of(ir.from_proto(proto), exact=True)
    entry = session.get_inputs()[0].name
    parts = [
        session.run(list(names), {entry: images[start : start + 64]})
        for start in range(0, len(images), 64)
    ]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]


def main() -> None:
    """Print a table for each network, and write the plots."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--networks", default="dws-convnet-glorot,regular-convnet-glorot")
    parser.add_argument("--data", default="cifar10-jpeg", choices=("cifar10-jpeg", "digits"))
    parser.add_argument("--reading", default="values")
    parser.add_argument("--plot", type=Path)
    asked = parser.parse_args()
    names = asked.networks.split(",")
    found = {name: rows_of(asked.folder / name, asked.reading, asked.data) for name in names}
    print(f"{IMAGES} test images of {asked.data}, 5 % of the {asked.reading}; {fingerprint().cpu}")
    for name, rows in found.items():
        print(f"\n{name}\n\n{_table(rows)}")
    if asked.plot is not None:
        write_plot(asked.plot, _panels(found))


def _table(rows: Sequence[LayerRow]) -> str:
    pairs = [f"{what}, {kind}" for what in ("range", "precision") for kind in KINDS]
    head = ["layer", "depthwise", "QMSE", "QCE", "QKL", *pairs]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for number, row in enumerate(rows, 1):
        cells = [
            str(number),
            "yes" if row.depthwise else "",
            f"{row.qmse:.2e}",
            f"{row.qce:.2f}",
            f"{row.qkl:.3f}",
            *(f"{each:.2f}" for each in (*row.ranges, *row.precisions)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _panels(found: dict[str, list[LayerRow]]) -> list[Panel]:
    def by_layer(
        rows: Sequence[LayerRow], of: Callable[[LayerRow], float]
    ) -> list[tuple[float, float]]:
        return [(float(number), of(row)) for number, row in enumerate(rows, 1)]

    measures: dict[str, Callable[[LayerRow], float]] = {
        "QMSE": lambda row: row.qmse,
        "QCE, nats": lambda row: row.qce,
        "QKL, nats": lambda row: row.qkl,
    }
    panels = [
        Panel(
            "activations against float",
            "layer",
            measure,
            {name: by_layer(rows, of) for name, rows in found.items()},
            log=not measure.startswith("QCE"),
        )
        for measure, of in measures.items()
    ]
    for name, rows in found.items():
        for title, values in (
            ("range", [row.ranges for row in rows]),
            ("average precision", [row.precisions for row in rows]),
        ):
            series = {
                kind: [(float(number), each[place]) for number, each in enumerate(values, 1)]
                for place, kind in enumerate(KINDS)
            }
            panels.append(Panel(name, "layer", title, series, log=title == "range"))
    return panels


if __name__ == "__main__":
    run(main)
