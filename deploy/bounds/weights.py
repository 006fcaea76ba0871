"""What rounding the weights can change of any answer, by the norms of the layers.

They know nothing of the data but its size, so they grow with the product of the norms. In
l-infinity, activations in real numbers on both sides; see :mod:`edgeq.bounding.layered`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeq.bounding import layered
from edgeq.bounding.layered import LayerPair
from edgeq.bounding.norms import row_sums
from edgeq.data.batching import fed
from edgeq.deploy.evaluation.chain import load_target, reference_name
from edgeq.deploy.origin.matching import pairs_of_layers
from edgeq.deploy.origin.unrounded import network_of, unrounded
from edgeq.errors import UsageError
from edgeq.files import temporary_folder
from edgeq.formats.artefact import detect
from edgeq.formats.onnx_io import read, serialize
from edgeq.linting import onnx_view
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.tabular import Table, Tabular, counted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.deploy.evaluation.saturation.pair_saturation import Samples
    from edgeq.deploy.origin.unrounded import FloatNetwork, FloatNode
    from edgeq.diffing.rounding import FloatLayer
    from edgeq.linting.model import LintModel

_PROMISED = 0.01
_BATCH = 16
_KEEP_SIZE = frozenset(
    (
        *("Relu", "Clip", "MaxPool", "AveragePool", "GlobalAveragePool", "ReduceMean", "Flatten"),
        *("Reshape", "Transpose", "Squeeze", "Unsqueeze", "Slice", "Split", "Identity", "Concat"),
        *("Sigmoid", "Tanh", "HardSigmoid", "LeakyRelu", "Gather", "Pad"),
    )
)
"""They have Lipschitz constant 1 in l-infinity and make nothing larger than 1 or their input."""
_SUMS = frozenset(("Add", "Sub"))


@dataclass(frozen=True, slots=True)
class WeightBound:
    """One bound.

    Attributes:
        name: what is bounded, and how.
        value: of the answers, in real units; of bits and of a power of ten, the number.
        source: who published its form, or that it is derived here.
        assumes: what it needs to hold.
    """

    name: str
    value: float
    source: str
    assumes: str


@dataclass(frozen=True, slots=True, repr=False)
class WeightBounds(Tabular):
    """What rounding the weights can change.

    Attributes:
        layers: how many layers with weights there are.
        chain: whether they stand in a row, without sums of branches.
        size: the largest magnitude of an input.
        measured: the largest change of an answer on the samples; None without float file or data.
        bounds: each bound that applies.
    """

    layers: int
    chain: bool
    size: float
    measured: float | None
    bounds: tuple[WeightBound, ...]

    def table(self) -> Table:
        """Each bound with what it assumes, above the measured change."""
        told = "" if self.measured is None else f"; measured {self.measured:.3g}"
        return Table(
            f"What rounding the weights of {counted(self.layers, 'layer')} can change of "
            f"an answer, inputs up to {self.size:.4g}{told}",
            ("bound", "value", "source", "assumes"),
            [(each.name, f"{each.value:.4g}", each.source, each.assumes) for each in self.bounds],
        )


def weight_bounds(
    file: Path, origin: Path | None, samples: Samples | None, *, threads: int = 1
) -> WeightBounds:
    """Bound what rounding the weights of a file changes of its answers.

    Args:
        file: a quantised ONNX file.
        origin: the float ONNX file that it was made from; without it each weight is taken to be
            half a step off.
        samples: data on which the change is measured.
        threads: the most threads the runtime may use.

    Raises:
        UsageError: a file is no ONNX file.
        ArtefactError: a file is broken, or has operators that cannot be brought to one form.
    """
    for path in (file, *(() if origin is None else (origin,))):
        if detect(path) != "onnx":
            raise UsageError(
                f"{path} is no ONNX file, and weights are bounded in ONNX",
                hint="give the ONNX file that it was made from",
            )
    quantized = as_qdq(read(file))
    plain = unrounded(quantized)
    other, view = network_of(plain), onnx_view.view(quantized, file.name)
    pairs = _pairs(other, view, None if origin is None else network_of(read(origin)))
    size = _input_size(view, other, samples)
    measured = (
        None if origin is None or samples is None else _measured(plain, origin, samples, threads)
    )
    step = max((largest for _, largest in pairs.values()), default=0.0)
    found = _bounds(other, {key: pair for key, (pair, _) in pairs.items()}, size, step)
    return WeightBounds(len(pairs), _is_chain(other), size, measured, tuple(found))


def _pairs(
    other: FloatNetwork, view: LintModel, real: FloatNetwork | None
) -> dict[int, tuple[LayerPair, float]]:
    """By node the norms of each layer of both, and the largest difference of two parameters."""
    nodes = [node for node in other.nodes if node.layer is not None]
    matched: dict[int, FloatLayer] = {}
    if real is not None:
        reals = [node for node in real.nodes if node.layer is not None]
        matched = {id(b): a.layer for a, b in pairs_of_layers(reals, nodes) if a.layer is not None}
    steps = {
        layer.node: float(np.max(layer.weight_grid.scale)) / 2
        for layer in view.layers
        if layer.weight_grid is not None
    }
    widest = max(steps.values(), default=0.0)
    return {
        id(node): _pair(node.layer, matched.get(id(node)), steps.get(node.name, widest))
        for node in nodes
        if node.layer is not None
    }


def _pair(layer: FloatLayer, real: FloatLayer | None, half: float) -> tuple[LayerPair, float]:
    inputs = layer.weights[0].size
    norm, bias = float(row_sums(layer.weights).max()), float(np.abs(layer.bias).max())
    if real is None or real.weights.size != layer.weights.size:
        apart = half * inputs
        return LayerPair(norm + apart, norm, apart, bias + half, bias, half, inputs), half
    weights = real.weights.reshape(layer.weights.shape)
    apart, biases = np.abs(weights - layer.weights), np.abs(real.bias - layer.bias)
    pair = LayerPair(
        float(row_sums(weights).max()),
        norm,
        float(row_sums(apart).max()),
        float(np.abs(real.bias).max()),
        bias,
        float(biases.max()),
        inputs,
    )
    return pair, float(max(apart.max(), biases.max()))


def _input_size(view: LintModel, other: FloatNetwork, samples: Samples | None) -> float:
    """The largest magnitude of an input: of the samples, else of its grid."""
    if samples is not None:
        return max(
            float(np.abs(each).max())
            for images, _ in fed(samples.part, samples.source, _BATCH)
            for each in (images.values() if isinstance(images, Mapping) else (images,))
        )
    grids = [each.grid for each in view.activations if each.name in other.inputs]
    ends = [
        float(grid.scale) * max(abs(grid.qmin - zero), abs(grid.qmax - zero))
        for grid in grids
        if grid.axis is None
        for zero in [int(grid.zero_point)]
    ]
    return max(ends, default=1.0)


def _bounds(
    other: FloatNetwork, pairs: Mapping[int, LayerPair], size: float, step: float
) -> list[WeightBound]:
    layers = [pairs[id(node)] for node in other.nodes if id(node) in pairs]
    found = []
    reach = _through(other, pairs, size)
    if reach is not None:
        found.append(
            WeightBound(
                "layer after layer, sums of branches added (B1, B6)",
                reach,
                "derived here",
                "operators between layers of Lipschitz constant 1",
            )
        )
    if not layers:
        return found
    if _is_chain(other):
        found += _of_chain(layers, size, step)
    found.append(
        WeightBound(
            "r_mean^(L-1) below r_max^(L-1), powers of ten",
            layered.improvement(layers),
            "Houache et al., arXiv 2502.01156: what they report",
            "radii of all layers, whatever joins them",
        )
    )
    return found


def _of_chain(layers: Sequence[LayerPair], size: float, step: float) -> list[WeightBound]:
    low, high = layered.lipschitz_in_parameters(layers, size)
    largest = max(each.norm for each in layers)
    gonon = "form of Gonon et al., arXiv 2205.11874; constants derived here"
    chain = f"layers in a row, parameters within {step:.3g}"
    return [
        WeightBound(
            "r_mean^(L-1) (B3)",
            layered.geometric(layers, size, step),
            "form of Houache et al., Theorem 3.5; constants derived here",
            f"{chain}, radii of at least 1",
        ),
        WeightBound("r_max^(L-1) (B4)", layered.maximal(layers, size, step), gonon, chain),
        WeightBound("K, at most: a change by parameter", high, gonon, "layers in a row"),
        WeightBound(
            "K, at least, of the worst such network",
            low,
            "form of Gonon et al.",
            "width 1 attains it",
        ),
        WeightBound(
            f"bits a parameter for a change of {_PROMISED:g}",
            layered.bits_needed(layers, size, _PROMISED, largest),
            gonon,
            "by B4; they grow with depth",
        ),
    ]


def _is_chain(other: FloatNetwork) -> bool:
    before: str | None = None
    for node in other.nodes:
        if len(node.inputs) != 1 or (before is not None and node.inputs[0] != before):
            return False
        before = node.outputs[0] if node.outputs else None
    return True


def _through(other: FloatNetwork, pairs: Mapping[int, LayerPair], size: float) -> float | None:
    """The change of the last result, value by value; None where an operator has no bound."""
    sizes = dict.fromkeys(other.inputs, size)
    errors = dict.fromkeys(other.inputs, 0.0)
    last = 0.0
    for node in other.nodes:
        if any(name not in sizes for name in node.inputs):
            return None
        read = [sizes[name] for name in node.inputs]
        error = [errors[name] for name in node.inputs]
        pair = pairs.get(id(node))
        if pair is not None and len(read) == 1:
            made = pair.other * read[0] + pair.other_bias
            last = pair.norm * error[0] + pair.apart * read[0] + pair.bias_apart
        elif node.op_type in _SUMS:
            made, last = sum(read) + _constant(node), sum(error)
        elif node.op_type in _KEEP_SIZE:
            made, last = max(*read, 1.0), max(error)
        else:
            return None
        sizes |= dict.fromkeys(node.outputs, made)
        errors |= dict.fromkeys(node.outputs, last)
    return last if math.isfinite(last) else None


def _constant(node: FloatNode) -> float:
    """The largest magnitude of the constants that a sum adds; it is infinite where none is seen."""
    if len(node.inputs) > 1:
        return 0.0
    known = [abs(each) for values in node.constants for each in values]
    return max(known, default=math.inf)


def _measured(plain: ir.Model, origin: Path, samples: Samples, threads: int) -> float:
    """The largest change of an answer on samples, activations in real numbers."""
    target = load_target(reference_name("onnx"))
    with temporary_folder() as folder:
        path = folder / "unrounded.onnx"
        path.write_bytes(serialize(plain))
        with (
            target.open(origin, threads=threads) as first,
            target.open(path, threads=threads) as second,
        ):
            changes: list[NDArray[np.float32]] = [
                np.abs(first.run(images) - second.run(images))
                for images, _ in fed(samples.part, samples.source, _BATCH)
            ]
    return max(float(each.max()) for each in changes)
