"""How far the channels of each layer reach, from the file to the integers, and what they hold.

Average precision is Eq. 2 of Yun and Wong, *Do all MobileNets quantize poorly?* (2021): the mean
over the channels of a tensor of the range of the channel over that of the whole tensor. At 1 every
channel needs the whole grid of the tensor; near 0 most of them share a few of its steps.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.calibration._nodes import LAYERS, argument, channel_axis, constant
from edgeq.calibration.inspection.layer_costs import (
    grid_of,
    in_groups,
    numbers_of_tensors,
    seen_on,
    stored_constant,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.calibration.inspection.layer_costs import LayerCost
    from edgeq.target import Batch

    _Weights = dict[str, tuple[NDArray[Any], int]]  # of layers by name, with the axis of channels

IN_FILE, FOLDED, MIGRATED, STORED = "in the file", "folded", "after methods", "stored"
_BINS = 64


@dataclass(frozen=True, slots=True, eq=False)
class Ranges:
    """How far the channels of a tensor reach.

    Attributes:
        low: float64, (channels,), the least value of each.
        high: likewise the greatest.
    """

    low: NDArray[np.float64]
    high: NDArray[np.float64]

    __repr__ = brief

    @classmethod
    def of(cls, values: NDArray[np.floating], axis: int) -> Ranges:
        """Those of a tensor whose channels lie along an axis."""
        rows = np.moveaxis(values, axis, 0).reshape(values.shape[axis], -1).astype(np.float64)
        return cls(rows.min(axis=1), rows.max(axis=1))

    @property
    def average_precision(self) -> float:
        """Eq. 2: the mean of range of channel over range of tensor; 1 for a constant tensor."""
        whole = float(self.high.max() - self.low.min())
        return float((self.high - self.low).mean()) / whole if whole else 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Distribution:
    """How often values occur.

    Attributes:
        edges: float64, (bins + 1,).
        counts: label to int64, (bins,), for each of the things that are shown together.
    """

    edges: NDArray[np.float64]
    counts: Mapping[str, NDArray[np.int64]]

    __repr__ = brief

    @classmethod
    def of(cls, parts: Mapping[str, NDArray[np.floating]]) -> Distribution:
        """That of some arrays, on the same bins."""
        low = min(float(each.min()) for each in parts.values())
        high = max(float(each.max()) for each in parts.values())
        edges = np.linspace(low, high if high > low else low + 1.0, _BINS + 1)
        return cls(edges, {name: np.histogram(each, edges)[0] for name, each in parts.items()})


@dataclass(frozen=True, slots=True, eq=False)
class LayerProfile:
    """One layer, from the file to the integers.

    Attributes:
        cost: what it costs.
        weights: stage to the ranges of its weights by output channel: in the file, with norms
            folded, after methods that rewrite the float network, and as integers are read.
        results: the ranges of what it makes by channel, before it is rounded; None where no tensor
            of it is stored.
        grid: the ends of that tensor's grid in real numbers; None likewise.
        weight_values: how often weights occur, before and after rounding.
        result_values: how often values of its result occur; None likewise.
    """

    cost: LayerCost
    weights: Mapping[str, Ranges]
    results: Ranges | None
    grid: tuple[float, float] | None
    weight_values: Distribution
    result_values: Distribution | None

    __repr__ = brief


def layer_profiles(
    stages: Mapping[str, ir.Model],
    after: ir.Model,
    batches: Sequence[Batch],
    costs: Sequence[LayerCost],
) -> tuple[LayerProfile, ...]:
    """The layers of a calibrated network, in its order.

    Args:
        stages: the float network as it was given, with norms folded, and as it was quantised.
        after: the network quantised from it.
        batches: some samples; a few are used.
        costs: what each layer costs.
    """
    last = list(stages.values())[-1]
    weights = {stage: _weights(model) for stage, model in stages.items()}
    weights = {stage: _named_as(each, weights[FOLDED]) for stage, each in weights.items()}
    stored = {
        str(node.name): (values, channel_axis(node))
        for node in after.graph
        if node.op_type in LAYERS and (values := stored_constant(node, 1)) is not None
    }
    by_name = {cost.layer: cost for cost in costs}
    results = _results(last, {cost.layer: (cost.tensor,) for cost in costs if cost.tensor}, batches)
    found = []
    for name in (str(node.name) for node in last.graph):
        cost = by_name.get(name)
        if cost is None or name not in stored:
            continue
        parts = {stage: each[name] for stage, each in weights.items() if name in each}
        parts[STORED] = stored[name]
        if MIGRATED in parts and np.array_equal(parts[MIGRATED][0], parts[FOLDED][0]):
            del parts[MIGRATED]
        ranges, distribution = results.get(name, (None, None))
        float_weights = list(parts.values())[-2][0] if len(parts) > 1 else parts[STORED][0]
        found.append(
            LayerProfile(
                cost,
                {stage: Ranges.of(*each) for stage, each in parts.items()},
                ranges,
                None if ranges is None else grid_of(after, cost.tensor),
                Distribution.of({"float": float_weights, "rounded": parts[STORED][0]}),
                distribution,
            )
        )
    return tuple(found)


def _results(
    model: ir.Model, tensors: Mapping[str, Sequence[str]], batches: Sequence[Batch]
) -> dict[str, tuple[Ranges, Distribution]]:
    """How far the results of layers reach, and how often their values occur, a few at a time."""
    found = {}
    for layers in in_groups(tensors, numbers_of_tensors(model)):
        names = [name for layer in layers for name in tensors[layer]]
        seen = seen_on(model.clone(), list(dict.fromkeys(names)), batches)
        for layer in layers:
            for values in (seen[name] for name in tensors[layer] if name in seen):
                ranges = Ranges.of(values, min(1, values.ndim - 1))
                found[layer] = ranges, Distribution.of({"float": values})
        del seen  # before the next ones are computed
    return found


def _named_as(weights: _Weights, named: _Weights) -> _Weights:
    """Weights under the names of others, where they are alike; a file may have other names."""
    sizes = [[values.size for values, _ in each.values()] for each in (weights, named)]
    if sizes[0] != sizes[1]:
        return weights
    return dict(zip(named, weights.values(), strict=True))


def _weights(model: ir.Model) -> _Weights:
    """The weights of a float network by the name of their layer, with the axis of channels."""
    found: _Weights = {}
    for node in model.graph:
        if node.op_type not in LAYERS or argument(node, 1) is None:
            continue
        values = constant(argument(node, 1))
        if values is not None and values.size and values.dtype.kind == "f":
            found[str(node.name)] = values, channel_axis(node)
    return found
