"""How much noise each layer adds by itself: its rounded weights, and the grid of its result.

So do operators between layers whose results are stored, such as those of a LayerNormalization.
Every layer is run once more on the float inputs with the weights that are stored, all of them in
one graph. So a figure is about one layer and not about those before it; the powers of noises that
have nothing to do with one another add up.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    LAYERS,
    argument,
    channel_axis,
    constant,
    name_of,
    output,
)
from edgeq.calibration.feeds.samples import feeds
from edgeq.calibration.observe import run, session_of
from edgeq.calibration.operators import KINDS
from edgeq.calibration.statistics.stages import numbers_of
from edgeq.data.batching import samples_in
from edgeq.tabular import counted

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.target import Batch

_Thing = TypeVar("_Thing")

_SAMPLES = 16
_MOST_NUMBERS = 2**26  # that are kept at a time, where one tensor has no more: 256 MiB
_IN_A_GROUP = 2**25  # of one sample; a run needs about three times their memory
_NEW_NUMBERS = (None, "layer", "norm", "add", "mul", "function", "mean")  # kinds; None is unary
_TWIN = "/edgeq_twin"
_OUTLIERS = 0.1  # percent of the values on either side
_WIDE = 4.0  # how many times the range of all but those a grid has to be to be named for it
_UNEVEN = 16.0  # how far apart the ranges of channels under one scale may be


@dataclass(frozen=True, slots=True)
class LayerCost:
    """One layer of a calibrated network, or an operator between layers whose result is stored.

    Attributes:
        layer: its name, or that of its result where it has none.
        op_type: its operator.
        tensor: the stored tensor that it makes, perhaps through an activation function; empty for
            none.
        sqnr_db: of its result against float, rounded weights and grid together, infinite where
            nothing differs.
        weight_sqnr_db: of its weights; infinite for an operator without.
        activation_sqnr_db: of the stored tensor on its grid alone.
        clipped: the share of the tensor's values that lie outside its grid.
        saturated: the share of its values at either end of its grid.
        dead: how many output channels are constant on the samples.
        channels: how many there are.
        reason: what costs most, in words.
    """

    layer: str
    op_type: str
    tensor: str
    sqnr_db: float
    weight_sqnr_db: float
    activation_sqnr_db: float
    clipped: float
    saturated: float
    dead: int
    channels: int
    reason: str


def layer_costs(
    before: ir.Model, after: ir.Model, batches: Sequence[Batch]
) -> tuple[LayerCost, ...]:
    """The layers of a calibrated network, the most costly first.

    Args:
        before: the canonical float network.
        after: the network quantised from it.
        batches: some samples; a few are used.
    """
    layers = {
        node.name: node
        for node in after.graph
        if node.op_type in LAYERS
        and (stored := stored_constant(node, 1)) is not None
        and stored.size
    }
    twins = before.clone()
    pairs = dict(_twins(twins.graph, layers))
    grids = {_source(node): node for node in after.graph if node.op_type == "QuantizeLinear"}
    tensors = {name: _behind(node, grids) for name, node in pairs.items()}
    others = _others(twins.graph, pairs.values(), set(tensors.values()), grids)
    needed = {
        **{
            node: (name_of(output(node)), name_of(output(node)) + _TWIN, *filter(None, [tensor]))
            for node, tensor in zip(pairs.values(), tensors.values(), strict=True)
        },
        **{node: (tensor,) for tensor, node in others.items()},
    }
    stored_as = {node: (layers[name], tensors[name]) for name, node in pairs.items()}
    made = numbers_of_tensors(twins)
    numbers = {name: made[name.removesuffix(_TWIN)] for names in needed.values() for name in names}
    found = []
    for nodes in in_groups(needed, numbers):
        wanted = [name for node in nodes for name in needed[node]]
        seen = seen_on(twins, list(dict.fromkeys(wanted)), batches)
        for node in nodes:
            if node not in stored_as:
                found.append(_of_result(node, needed[node][0], grids, seen))
            elif name_of(output(node)) in seen:
                found.append(_cost(node, *stored_as[node], grids, seen))
        del seen  # before the next ones are computed
    return tuple(sorted(found, key=lambda each: each.sqnr_db))


def in_groups(
    needed: Mapping[_Thing, Sequence[str]], numbers: Mapping[str, int]
) -> Iterator[list[_Thing]]:
    """Operators, in their order, whose tensors of one sample fit into memory together.

    Args:
        needed: operator to its tensors.
        numbers: how many numbers each tensor has for one sample.
    """
    group: list[_Thing] = []
    names: set[str] = set()
    for node, tensors in needed.items():
        if group and sum(numbers[name] for name in names.union(tensors)) > _IN_A_GROUP:
            yield group
            group, names = [], set()
        group.append(node)
        names.update(tensors)
    if group:
        yield group


def numbers_of_tensors(model: ir.Model) -> dict[str, int]:
    """How many numbers each tensor has for one sample; 0 where its shape is not known."""
    made = (value for node in model.graph for value in node.outputs)
    return {name_of(value): numbers_of(value) or 0 for value in made}


def _others(
    graph: ir.Graph,
    layers: Collection[ir.Node],
    known: Collection[str],
    grids: Mapping[str, ir.Node],
) -> dict[str, ir.Node]:
    """Further tensors that are stored, each with the operator that makes its numbers."""
    found = {}
    for node in graph:
        new = KINDS.get(node.op_type) in _NEW_NUMBERS and node not in layers
        if not new or name_of(output(node)).endswith(_TWIN):
            continue
        tensor = _behind(node, grids)
        if tensor and tensor not in known:
            found[tensor] = node
    return found


def _twins(graph: ir.Graph, layers: Mapping[str | None, ir.Node]) -> Iterator[tuple[str, ir.Node]]:
    """Each float layer, once another with the stored weights stands beside it."""
    for node in tuple(graph):
        if node.name not in layers or constant(argument(node, 1)) is None:
            continue
        inputs = [node.inputs[0]]
        for index in range(1, len(node.inputs)):
            stored = stored_constant(layers[node.name], index)
            value = ir.Value(
                name=f"{node.name}{_TWIN}/{index}",
                const_value=None if stored is None else ir.tensor(stored),
            )
            if stored is not None:
                graph.register_initializer(value)
            inputs.append(value if stored is not None else node.inputs[index])
        twin = ir.Node("", node.op_type, inputs, list(node.attributes.values()))
        twin.outputs[0].name = name_of(output(node)) + _TWIN
        graph.insert_after(node, twin)
        yield str(node.name), node


def seen_on(
    model: ir.Model, wanted: Sequence[str], batches: Sequence[Batch]
) -> dict[str, NDArray[np.float32]]:
    """Some tensors of a model on a few samples."""
    made = {name_of(value): value for node in model.graph for value in node.outputs}
    kept = [name for name in wanted if name in made]
    model.graph.outputs[:] = [made[name] for name in kept]
    for value in model.graph.outputs:
        value.type = ir.TensorType(ir.DataType.FLOAT)
    session, inputs = session_of(model, keeps_memory=False), tuple(model.graph.inputs)
    parts: dict[str, list[NDArray[np.float32]]] = {}
    left = _SAMPLES
    for batch in batches:
        for fed in feeds(batch, inputs, most=left, at_once=1):
            for name, values in run(session, kept, fed).items():
                if name in wanted:
                    parts.setdefault(name, []).append(values)
            numbers = sum(each.size for made in parts.values() for each in made)
            runs = len(next(iter(parts.values()), ()))
            if numbers * (runs + 1) > _MOST_NUMBERS * runs:  # one more would be too many
                left = 0
                break
        left -= samples_in(batch)
        if left <= 0:
            break
    # each is given up once it is put together
    return {name: np.concatenate(parts.pop(name)) for name in tuple(parts)}


def _cost(
    node: ir.Node,
    stored: ir.Node,
    tensor: str,
    grids: Mapping[str, ir.Node],
    seen: Mapping[str, NDArray[np.float32]],
) -> LayerCost:
    real = seen[name_of(output(node))].astype(np.float64)
    by_weights = _ratio(real, seen[name_of(output(node)) + _TWIN])
    weight = np.asarray(constant(node.inputs[1]), np.float64)
    held = stored_constant(stored, 1)
    of_weights = 0.0 if held is None else _ratio(weight, held)
    channels = real.shape[1] if real.ndim > 1 else 1
    flat = np.moveaxis(real, 1, 0).reshape(channels, -1) if real.ndim > 1 else real[None]
    dead = _constant(flat)
    result = _Result(0.0, 0.0, 0.0, "")
    reason = _of_weights(stored, weight, node)
    if tensor:
        values = seen[tensor].astype(np.float64)
        result = _Result.of(values, grids[tensor])
        rows = np.moveaxis(values, 1, 0).reshape(values.shape[1], -1) if values.ndim > 1 else None
        if rows is not None and values.ndim == real.ndim and len(rows) == channels:
            dead = _constant(rows)
        if result.lost > by_weights:
            reason = result.reason
    if dead:
        reason += f"; {counted(dead, 'channel', 'are', of=channels)} dead"
    return LayerCost(
        str(node.name),
        node.op_type,
        tensor,
        _db(by_weights + result.lost),
        _db(of_weights),
        _db(result.lost),
        result.clipped,
        result.saturated,
        dead,
        channels,
        reason,
    )


def _of_result(
    node: ir.Node,
    tensor: str,
    grids: Mapping[str, ir.Node],
    seen: Mapping[str, NDArray[np.float32]],
) -> LayerCost:
    """What an operator costs that has no weights: the grid of its result."""
    values = seen[tensor].astype(np.float64)
    result = _Result.of(values, grids[tensor])
    return LayerCost(
        node.name or name_of(output(node)),
        node.op_type,
        tensor,
        _db(result.lost),
        float("inf"),
        _db(result.lost),
        result.clipped,
        result.saturated,
        0,
        values.shape[1] if values.ndim > 1 else 1,
        result.reason,
    )


@dataclass(frozen=True, slots=True)
class _Result:
    """A stored tensor on its grid: noise to signal, shares clipped and saturated, and why."""

    lost: float
    clipped: float
    saturated: float
    reason: str

    @classmethod
    def of(cls, values: NDArray[np.float64], grid: ir.Node) -> _Result:
        scale, low, high = _ends(grid)
        rounded = np.clip(np.rint(values / scale), low, high) * scale
        outside = (values < (low - 0.5) * scale) | (values > (high + 0.5) * scale)
        at_ends = (rounded <= low * scale) & (low < 0) | (rounded >= high * scale)
        clipped, saturated = float(outside.mean()), float(at_ends.mean())
        reason = _of_activation(values, rounded, scale, (low, high), outside, saturated)
        return cls(_ratio(values, rounded), clipped, saturated, reason)


def _constant(rows: NDArray[np.float64]) -> int:
    """How many rows hold one number again and again; a single value tells nothing."""
    return int((rows.max(axis=1) == rows.min(axis=1)).sum()) if rows.shape[1] > 1 else 0


def _of_activation(
    values: NDArray[np.float64],
    rounded: NDArray[np.float64],
    scale: float,
    ends: tuple[float, float],
    outside: NDArray[np.bool_],
    saturated: float,
) -> str:
    """Why the grid of a tensor costs what it does."""
    error = (rounded - values) ** 2
    if error[outside].sum() > error[~outside].sum():
        if saturated > 0.01:
            return f"saturation: {100 * saturated:.1f} % of its values lie at an end of its range"
        return f"clipping: {100 * outside.mean():.2f} % of its values lie outside its range"
    low, high = np.percentile(values, [_OUTLIERS, 100 - _OUTLIERS])
    width = (ends[1] - ends[0]) * scale
    inner = max(high, 0.0) - min(low, 0.0)
    if inner == 0.0 or width / inner >= _WIDE:
        share = "nearly all" if inner == 0.0 else f"{100 - 2 * _OUTLIERS:.1f} %"
        times = "" if inner == 0.0 else f", {width / inner:.0f} times as wide as they need"
        return f"range: {share} of its values share few steps of its range{times}"
    steps = int(ends[1] - ends[0])
    return f"rounding: its values have {steps} steps"


def _of_weights(stored: ir.Node, weight: NDArray[np.float64], node: ir.Node) -> str:
    """Why the weights of a layer cost what they do."""
    maker = argument(stored, 1)
    producer = None if maker is None else maker.producer()
    scale = None if producer is None else constant(producer.inputs[1])
    axis = channel_axis(node)
    largest = np.abs(np.moveaxis(weight, axis, 0)).reshape(weight.shape[axis], -1).max(axis=1)
    used = largest[largest > 0]
    if scale is not None and scale.size == 1 and used.size and used.max() > _UNEVEN * used.min():
        return f"weights: channels under one scale reach from {used.min():.2g} to {used.max():.2g}"
    integers = None if producer is None else constant(producer.inputs[0])
    most = 0 if integers is None else int(np.abs(integers.astype(np.int64)).max(initial=0))
    return f"weights: rounded to {2 * most + 1} steps"


def _behind(node: ir.Node, grids: Mapping[str, ir.Node]) -> str:
    """The stored tensor that a layer makes, perhaps through functions of one tensor."""
    value = output(node)
    while name_of(value) not in grids:
        users = [user for user, _ in value.uses() if _TWIN not in name_of(output(user))]
        if len(users) != 1 or users[0].op_type not in ("Relu", "Clip"):
            return ""
        value = output(users[0])
    return name_of(value)


def _source(node: ir.Node) -> str:
    """The float tensor that is quantised, as it is called in the float network."""
    return name_of(node.inputs[0]).removesuffix("_float") if node.inputs[0] is not None else ""


def _ends(node: ir.Node) -> tuple[float, int, int]:
    """The scale of a grid, and its ends in steps from zero."""
    scale, zero = (np.asarray(constant(node.inputs[index])).reshape(-1) for index in (1, 2))
    limits = np.iinfo(zero.dtype)
    low, high = int(limits.min), int(limits.max)
    for user, _ in output(node).uses():
        if user.op_type == "Clip":  # fewer bits than are stored
            low, high = (int(np.asarray(constant(user.inputs[index]))) for index in (1, 2))
    return float(scale[0]), low - int(zero[0]), high - int(zero[0])


def grid_of(model: ir.Model, tensor: str) -> tuple[float, float] | None:
    """The ends of a tensor's grid in a quantised model, in real numbers; None where it has none."""
    for node in model.graph:
        if node.op_type == "QuantizeLinear" and _source(node) == tensor:
            scale, low, high = _ends(node)
            return scale * low, scale * high
    return None


def stored_constant(node: ir.Node, index: int) -> NDArray[np.float32] | None:
    """A constant of a quantised layer, dequantised; None for what is computed or in float."""
    value = argument(node, index)
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    arrays = [constant(each) for each in producer.inputs]
    if any(array is None for array in arrays):
        return None
    integers, scale, zero = (np.asarray(array) for array in arrays)
    attribute = producer.attributes.get("axis")
    axis = 1 if attribute is None else attribute.as_int()
    shape = [1] * integers.ndim
    if scale.ndim and scale.size > 1:
        shape[axis] = -1
    centered = integers.astype(np.int64) - zero.astype(np.int64).reshape(shape)
    return np.asarray(centered * scale.reshape(shape), np.float32)


def _ratio(real: NDArray[np.floating], other: NDArray[np.floating]) -> float:
    """The power of the difference, of that of the signal."""
    signal = float((real.astype(np.float64) ** 2).sum())
    noise = float(((other.astype(np.float64) - real) ** 2).sum())
    return noise / signal if signal else float(noise > 0)


def _db(ratio: float) -> float:
    return float(-10 * np.log10(ratio)) if ratio > 0 else float("inf")
