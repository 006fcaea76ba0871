"""Which values of a quantised file are a float file's, by their numbers on the same inputs.

Optimisers move, merge and split operators before a file is quantised. Structure then differs where
the function does not. So both networks are run in float on random inputs, the quantised file with
the float file's weights, and values belong together that hold the same numbers, whatever the order
of their axes.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

import numpy as np

from edgeq.brief import brief
from edgeq.calibration.observe import run, session_of
from edgeq.calibration.quantize import fold_onnx
from edgeq.calibration.statistics.stages import part_of
from edgeq.deploy.origin.unrounded import rectified
from edgeq.formats.onnx_io import parse, serialize
from edgeq.qdq.nodes import MOVES, constant_of, rows_picked, title

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.deploy.origin.matching import Matching

    Numbers = Mapping[str, NDArray[np.float32]]

_SAME = 1e-3
"""Of a tensor's length: how far two may be apart that are one, computed in another order."""
_NEAR = 0.03
"""The same of constants, of which one was rounded."""
_SAMPLES = 2
_FREE = 8
"""The size of an axis that a file leaves free, but for the batch."""
_MOST_AXES = 5


@dataclass(frozen=True, slots=True, eq=False)
class Agreement:
    """The values of a quantised file that a float network has.

    Attributes:
        equal: values with the same numbers in the same axes: the float network's, by name.
        right: values that are the float network's in any order of axes, or that are only read for
            such values.
        wrong: values that are not right, whose operator reads right ones alone.
    """

    equal: Mapping[str, str]
    right: frozenset[str]
    wrong: frozenset[str]

    __repr__ = brief


def agreement_of(real: ir.Model, quantized: ir.Model, matching: Matching) -> Agreement:
    """Run both networks on the same inputs.

    Args:
        real: the float model; left as it is.
        quantized: the QDQ model; left as it is.
        matching: which layers are which.

    Raises:
        ArtefactError: one of them cannot be brought to the canonical form, or be run.
    """
    mine, its = fold_onnx(real), fold_onnx(rectified(quantized, _highest(real)))
    _take_weights(mine.graph, its.graph, matching)
    _take_constants((mine.graph, real.graph), its.graph)
    ends = list(zip(mine.graph.inputs, its.graph.inputs, strict=True))
    fed = list(_numbers(ends))
    inputs, others = (
        {pair[i].name or "": one for pair, one in zip(ends, fed, strict=True)} for i in (0, 1)
    )
    numbers = [_run(model, fed) for model, fed in ((_typed(real), inputs), (its, others))]
    equal, turned = {}, set[str]()
    buckets: dict[int, list[str]] = {}
    for name, values in numbers[0].items():
        buckets.setdefault(values.size, []).append(name)
    for name, values in numbers[1].items():
        for other in sorted(buckets.get(values.size, ()), key=lambda each: each != name):
            wanted = numbers[0][other]
            if values.shape == wanted.shape and _is_same(values, wanted):
                equal[name] = other
                break
            if _is_turned(values, wanted):
                turned.add(name)
    moved = {
        value.name
        for node in its.graph
        if node.op_type in MOVES
        for value in node.outputs
        if value.name and equal.get(value.name, value.name) != value.name
    }  # what was not moved has the numbers that it reads
    right = _right(its.graph, {*others, *equal} - moved, turned | moved)
    wrong = {
        value.name or ""
        for node in its.graph
        for value in node.outputs
        if value.name not in right
        and constant_of(value) is None
        and all(
            each is None or constant_of(each) is not None or each.name in right
            for each in node.inputs
        )
    }
    return Agreement(equal, frozenset(right), frozenset(wrong))


def _right(graph: ir.Graph, equal: set[str], turned: set[str]) -> set[str]:
    """The values that are equal, and those that are only read to compute right ones.

    One with its axes in another order is right too where what reads it is wrong for another reason.
    """
    exits = {value.name for value in graph.outputs}
    right, alike = set(equal), equal | turned

    def is_excused(reader: ir.Node, value: ir.Value) -> bool:
        others = [each for each in reader.inputs if each is not None and each is not value]
        return any(each.name not in alike and constant_of(each) is None for each in others)

    for node in reversed(list(graph)):
        for value in node.outputs:
            readers = value.consumers()
            if (
                readers
                and value.name not in exits
                and all(
                    all(made.name in right for made in each.outputs)
                    or (value.name in turned and is_excused(each, value))
                    for each in readers
                )
            ):
                right.add(value.name or "")
    return right


def _typed(real: ir.Model) -> ir.Model:
    """A model with the types of its values written down."""
    import onnx

    proto = onnx.load_from_string(serialize(real))
    return parse(onnx.shape_inference.infer_shapes(proto).SerializeToString(), "the float network")


def _run(model: ir.Model, fed: Numbers) -> Numbers:
    """All values that a model computes."""
    names = [
        value.name or ""
        for node in model.graph
        for value in node.outputs
        if value.name and constant_of(value) is None and _is_real(value)
    ]
    session = session_of(part_of(model, names))
    return {name: each for name, each in run(session, names, fed).items() if name not in fed}


def _is_real(value: ir.Value) -> bool:
    import onnx_ir as ir

    return value.dtype in (None, ir.DataType.FLOAT)


def _numbers(ends: Iterable[tuple[ir.Value, ir.Value]]) -> Iterator[NDArray[np.float32]]:
    """Random numbers for each input; whole ones where they pick rows of a table.

    None is below zero, as grids of inputs may begin there.
    """
    random = np.random.default_rng(0)
    for pair in ends:
        dims = [[] if value.shape is None else list(value.shape) for value in pair]
        sizes = [
            next((each for each in both if isinstance(each, int)), _FREE if place else _SAMPLES)
            for place, both in enumerate(zip(*dims, strict=True))
        ]
        rows = rows_picked(pair[0])
        numbers = random.integers(0, rows, sizes) if rows else random.normal(0, 1, sizes)
        yield np.abs(numbers).astype(np.float32)


def _highest(real: ir.Model) -> list[float]:
    """Where the float network cuts values off at the top."""
    ends = (
        constant_of(node.inputs[2])
        for node in real.graph
        if node.op_type == "Clip" and len(node.inputs) > 2
    )
    return sorted(float(each) for each in ends if each is not None and each.size == 1)


def _take_weights(real: ir.Graph, other: ir.Graph, matching: Matching) -> None:
    """Give the layers of the other network the weights of the float one's."""
    mine, its = ({title(node): node for node in graph} for graph in (real, other))
    for a, b in matching.pairs:
        if a.layer is None or b.layer is None:
            continue
        source, made = mine.get(a.layer.node), its.get(b.layer.node)
        if source is None or made is None:
            continue
        for place in range(1, min(len(source.inputs), len(made.inputs))):
            wanted, held = (constant_of(node.inputs[place]) for node in (source, made))
            if wanted is not None and held is not None and wanted.size == held.size:
                turned = wanted.T if wanted.T.shape == held.shape != wanted.shape else wanted
                _replace(other, made, place, turned.reshape(held.shape))


def _take_constants(real: Iterable[ir.Graph], other: ir.Graph) -> None:
    """Give other constants, which may be rounded, the numbers of the nearest float one's."""
    known = [
        numbers
        for graph in real
        for value in _constants(graph)
        if (numbers := constant_of(value)) is not None and numbers.dtype.kind == "f"
    ]
    for node in list(other):
        for place, value in enumerate(node.inputs):
            held = None if value is None else constant_of(value)
            if held is None or held.dtype.kind != "f" or node.op_type == "Clip":
                continue
            able = [each for each in known if each.shape == held.shape]
            apart = [float(np.linalg.norm(np.subtract(each, held))) for each in able]
            if able and 0 < min(apart) <= _NEAR * float(np.linalg.norm(held)):
                _replace(other, node, place, able[int(np.argmin(apart))])


def _constants(graph: ir.Graph) -> list[ir.Value]:
    found = {id(value): value for node in graph for value in node.inputs if value is not None}
    return [value for value in found.values() if constant_of(value) is not None]


def _replace(graph: ir.Graph, node: ir.Node, place: int, numbers: NDArray[np.generic]) -> None:
    """Let a node read other numbers."""
    import onnx_ir as ir

    name = f"{title(node)}_taken_{place}"
    real = np.ascontiguousarray(numbers.astype(np.float32))
    value = ir.Value(name=name, const_value=ir.tensor(real, name=name))
    value.shape, value.type = ir.Shape(real.shape), ir.TensorType(ir.DataType.FLOAT)
    graph.initializers[name] = value
    node.replace_input_with(place, value)


def _is_same(values: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    length = float(np.linalg.norm(wanted))
    return float(np.linalg.norm(values.reshape(-1) - wanted.reshape(-1))) <= _SAME * length


def _is_turned(values: NDArray[np.float32], wanted: NDArray[np.float32]) -> bool:
    """Whether a value is another one with its axes in another order, or none, or more of one."""
    sums = [float(np.linalg.norm(each)) for each in (values, wanted)]
    if abs(sums[0] - sums[1]) > _SAME * sums[1]:
        return False
    if _is_same(values, wanted):
        return True
    mine, its = (_axes(each.shape) for each in (values, wanted))
    if sorted(mine) != sorted(its) or len(mine) > _MOST_AXES:
        return False
    plain = wanted.reshape(its)
    return any(
        _is_same(values, plain.transpose(order))
        for order in permutations(range(len(its)))
        if tuple(its[axis] for axis in order) == mine
    )


def _axes(shape: Sequence[int]) -> tuple[int, ...]:
    return tuple(size for size in shape if size != 1)
