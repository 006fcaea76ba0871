"""In which layers separable networks lose what they lose in quint8, and where it comes from.

Figures 1 to 7 of Yun and Wong (2021), layer by layer: how far activations are from float (QMSE; QCE
and QKL of their histograms), and the ranges and the average precision (their Eq. 2) of weights as
they were trained, of weights with BatchNorm folded in, and of activations. Histograms have 256 bins
over the range of both, of all images used; 1e-10 is added to those of the quantised network, since
the paper does not say how empty bins are treated.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from torch import nn

from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx
from edgeq.errors import EdgeqError
from edgeq.formats.onnx_io import read

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

IMAGES, BINS, EMPTY = 256, 256, 1e-10
KINDS = ("trained", "folded", "activations")
"""Weights as trained, weights with BatchNorm folded in, and activations."""


def by_layer(
    trained: nn.Module, model: ir.Model, quantized: Path, images: NDArray[np.float32]
) -> dict[str, float]:
    """The convolutions of one network, ``qmse/1`` and so on; and means over depthwise and others.

    Args:
        trained: the network.
        model: the same in ONNX.
        quantized: the file that was made of it.
        images: float32, (n, channels, height, width).
    """
    given = fold_onnx(model)
    layers = [node for node in given.graph if node.op_type == "Conv"]
    tensors = [_activation(node) for node in layers]
    real = _outputs(given, tensors, images)
    rounded = _outputs(read(quantized), [f"{name}_dequantized" for name in tensors], images)
    weights = [
        module.weight.detach().numpy()
        for module in trained.modules()
        if isinstance(module, nn.Conv2d)
    ]
    found: dict[str, float] = {}
    precisions: dict[bool, list[float]] = {True: [], False: []}
    rows = zip(layers, weights, real, rounded, strict=True)
    for place, (node, weight, wanted, made) in enumerate(rows, start=1):
        cross, divergence = histograms(wanted, made)
        found[f"qmse/{place}"] = float(np.square(wanted.astype(np.float64) - made).mean())
        found |= {f"qce/{place}": cross, f"qkl/{place}": divergence}
        kinds = (weight, _constant(node.inputs[1]), np.moveaxis(wanted, 1, 0))
        for kind, each in zip(KINDS, kinds, strict=True):
            found[f"range_{kind}/{place}"] = float(np.ptp(each))
            found[f"precision_{kind}/{place}"] = average_precision(each)
        depthwise = node.attributes.get_int("group", 1) > 1
        precisions[depthwise].append(found[f"precision_folded/{place}"])
    for depthwise, values in precisions.items():
        if values:
            name = "depthwise" if depthwise else "others"
            found[f"precision_{name}"] = float(np.mean(values))
    return found


def average_precision(weight: NDArray[np.float32]) -> float:
    """The share of the tensor's range that a channel uses, mean over output channels.

    Yun and Wong, Eq. 2.

    Args:
        weight: (out, ...), BatchNorm folded in.
    """
    channels = weight.reshape(len(weight), -1)
    ranges = channels.max(axis=1) - channels.min(axis=1)
    return float(ranges.mean() / (weight.max() - weight.min()))


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


def _activation(node: ir.Node) -> str:
    """The tensor that a layer makes, through its ReLU where it has one."""
    readers = node.outputs[0].consumers()
    maker = readers[0] if len(readers) == 1 and readers[0].op_type == "Relu" else node
    return str(maker.outputs[0].name)


def _constant(value: ir.Value | None) -> NDArray[np.float32]:
    if value is None or value.const_value is None:
        raise EdgeqError("a convolution has no constant weights", hint="export the network again")
    return value.const_value.numpy()


def _outputs(
    model: ir.Model, names: Sequence[str], images: NDArray[np.float32]
) -> list[NDArray[np.float32]]:
    proto = ir.to_proto(model)
    del proto.graph.output[:]
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = session_of(ir.from_proto(proto), exact=True)
    entry = session.entries[0]
    parts = [
        session.run(list(names), {entry: images[start : start + 64]})
        for start in range(0, len(images), 64)
    ]
    return [np.concatenate(each) for each in zip(*parts, strict=True)]
