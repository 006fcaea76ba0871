"""Takes out of a graph what does not depend on what it is given.

Constants that are computed, and arithmetic on sizes.

``x.view(x.size(0), -1)`` is five operators where an exporter traces it, and more where sizes are
multiplied, sliced or cast. None of it is an operator of an inference. The model is run with two
different batches; what is equal in both is a constant, and of a shape that differs, the one
dimension that does is the batch's, whatever it was made of.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgeq.calibration._nodes import (
    argument,
    constant,
    describe,
    inherit,
    name_of,
    output,
    shape_of,
)
from edgeq.errors import ArtefactError
from edgeq.formats.onnx_io import is_ours
from edgeq.formats.onnx_session import Opening, RuntimeFailed, open_graph
from edgeq.qdq.nodes import BY_CHANCE, SIZES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.calibration.normal_form.draft import Draft

    Runs = Sequence[Mapping[str, NDArray[np.generic]]]

BATCHES = (2, 3)
_FILLED = (ir.DataType.FLOAT, ir.DataType.INT32, ir.DataType.INT64)
_LARGEST = 2**27  # elements of a constant that is folded
_SHAPE = "~shape"


def fold_static(model: ir.Model, draft: Draft) -> None:
    """Fold in place all that depends on sizes only, and note the shape of every value.

    Raises:
        ArtefactError: the model cannot be run, or something is computed from the size of the batch
            that cannot be said without it.
    """
    static = static_nodes(draft.graph)
    if not static and _all_known(draft.graph):
        return
    measured = _measure(model, static)
    if measured is None:
        return
    _fold(draft, static, measured)
    if measured.sized:
        _note_shapes(draft.graph, measured.runs)
        for node in tuple(draft.graph):
            if node.domain == "" and node.op_type in _SHAPED and node not in static:
                _without_sizes(draft, node, measured.runs)


@dataclass(frozen=True, slots=True)
class _Measured:
    """What a model computes from its batch alone.

    Attributes:
        runs: for each size of batch, static values by name, and shapes by name and ``~shape``.
        sized: whether sizes were taken from a model that ran.
    """

    runs: Runs
    sized: bool


def static_nodes(graph: ir.Graph) -> dict[ir.Node, bool]:
    """The nodes whose results depend on constants and sizes only, with whether on sizes."""
    static: dict[ir.Node, bool] = {}
    for node in graph:
        producers = [
            value.producer()
            for value in node.inputs
            if value is not None and constant(value) is None
        ]
        if node.domain != "" or node.op_type in BY_CHANCE or _holds_graph(node):
            continue
        if node.op_type in SIZES:
            static[node] = True
        elif all(producer in static for producer in producers):
            static[node] = any(static[producer] for producer in producers if producer is not None)
    return static


def known_values(
    model: ir.Model, values: Sequence[ir.Value]
) -> dict[ir.Value, NDArray[np.generic]]:
    """Those of some values that neither what a model is given nor its batch decides.

    Raises:
        ArtefactError: the model cannot be run.
    """
    known = {value: array for value in values if (array := constant(value)) is not None}
    static = static_nodes(model.graph)
    computed = [value for value in values if value not in known and value.producer() in static]
    measured = _measure(model, static) if computed else None
    if measured is None:
        return known
    for value in computed:
        found = [run[name_of(value)] for run in measured.runs if name_of(value) in run]
        if found and all(np.array_equal(each, found[0]) for each in found):
            known[value] = found[0]
    return known


def _holds_graph(node: ir.Node) -> bool:
    return any(each.type == ir.AttributeType.GRAPH for each in node.attributes.values())


def _all_known(graph: ir.Graph) -> bool:
    """Whether all sizes but that of the batch are known.

    onnx miscounts windows whose number is rounded up.
    """
    if any(
        "ceil_mode" in node.attributes and node.attributes["ceil_mode"].as_int() for node in graph
    ):
        return False
    shapes = [shape_of(value) for node in graph for value in node.outputs if value.name]
    return all(shape is not None and None not in shape[1:] for shape in shapes)


def _measure(model: ir.Model, static: Mapping[ir.Node, bool]) -> _Measured | None:
    """Run a model with batches of different sizes.

    Only the computed constants where its input leaves other sizes open.
    """
    graph, run = model.graph, partial(_run, ours=is_ours(model))
    wanted = [
        value for node in static for value in node.outputs if value.name and _is_read(value, static)
    ]
    shapes = _input_shapes(graph)
    if shapes is None:
        names = [name_of(value) for value in wanted if not _sized(value, static)]
        return _Measured([run(_part(model, names, []), {}, names)], sized=False) if names else None
    values = [name_of(value) for value in wanted]
    others = [value for node in graph if node not in static for value in node.outputs if value.name]
    probe = _part(model, values, [name_of(value) for value in others])
    names = values + [name_of(value) + _SHAPE for value in others]
    is_open = any(None in shape for shape, _ in shapes.values())
    for sizes in [BATCHES, (1,)] if is_open else [(1,)]:
        try:
            runs = [
                run(probe, {name: _filled(size, *each) for name, each in shapes.items()}, names)
                for size in sizes
            ]
        except ArtefactError:
            if len(sizes) == 1:
                if any(node.domain for node in graph):
                    return None  # an operator of somebody's own, which will be refused by its name
                raise
            continue
        # it can be run with one sample only, whatever its input says
        for value in graph.inputs if is_open and len(sizes) == 1 else ():
            value.shape = ir.Shape([size or 1 for size in shapes[name_of(value)][0]])
        return _Measured(runs, sized=True)
    return None


def _input_shapes(graph: ir.Graph) -> Mapping[str, tuple[tuple[int | None, ...], str]] | None:
    """The shape and type of each input; None where more than the size of the batch is open."""
    known = {
        name_of(value): (shape, value.dtype.numpy().name)
        for value in graph.inputs
        if (shape := shape_of(value)) is not None
        and None not in shape[1:]
        and value.dtype is not None
        and value.dtype in _FILLED
    }
    return known if known and len(known) == len(graph.inputs) else None


def _filled(batch: int, shape: Sequence[int | None], dtype: str) -> NDArray[np.generic]:
    """Numbers for an input; ``batch`` of them where its batch is open."""
    sizes = [batch if size is None else size for size in shape]
    if dtype != "float32":
        return np.zeros(sizes, dtype)  # each table has a first row
    return np.random.default_rng(0).uniform(0.1, 0.9, sizes).astype(np.float32)


def _sized(value: ir.Value, static: Mapping[ir.Node, bool]) -> bool:
    producer = value.producer()
    return producer is not None and static[producer]


def _is_read(value: ir.Value, static: Mapping[ir.Node, bool]) -> bool:
    """Whether something that is not static reads it, so that it is worth a constant."""
    return value.is_graph_output() or any(user not in static for user, _ in value.uses())


def _part(model: ir.Model, values: Sequence[str], shapes: Sequence[str]) -> bytes:
    """The model with some of its values, and the shapes of others, as its outputs."""
    copy = model.clone()
    made = {name_of(value): value for node in copy.graph for value in node.outputs}
    outputs = [made[name] for name in values]
    for name in shapes:
        shape = ir.node("Shape", [made[name]])
        output(shape).name = name + _SHAPE
        copy.graph.append(shape)
        outputs.append(output(shape))
    copy.graph.outputs[:] = outputs
    if not shapes:
        copy.graph.inputs.clear()
        _keep_only(copy.graph, outputs)
    return bytes(ir.to_proto(copy).SerializeToString())


def _keep_only(graph: ir.Graph, outputs: Sequence[ir.Value]) -> None:
    """Remove what the outputs are not computed from."""
    needed: set[ir.Node] = set()
    pending = [value.producer() for value in outputs]
    while pending:
        node = pending.pop()
        if node is not None and node not in needed:
            needed.add(node)
            pending += [value.producer() for value in node.inputs if value is not None]
    for node in reversed(tuple(graph)):
        if node not in needed:
            graph.remove(node)


def _run(
    content: bytes,
    feeds: Mapping[str, NDArray[np.generic]],
    names: Sequence[str],
    *,
    ours: bool,
) -> dict[str, NDArray[np.generic]]:
    try:
        session = open_graph(content, Opening(optimize=False), ours=ours)
        return dict(zip(names, session.run(names, feeds), strict=True))
    except RuntimeFailed as error:
        raise ArtefactError(
            f"ONNX Runtime cannot run the float model: {error}",
            hint="give each input samples of the axes that it takes, or export the model again",
        ) from error


def _fold(draft: Draft, static: Mapping[ir.Node, bool], measured: _Measured) -> None:
    """Make initialisers of what is the same for every batch."""
    for node in static:
        for value in node.outputs:
            found = [run[name_of(value)] for run in measured.runs if name_of(value) in run]
            if not found or found[0].size > _LARGEST or value.is_graph_output():
                continue
            if all(
                np.array_equal(each, found[0], equal_nan=each.dtype.kind == "f")
                for each in found[1:]
            ):
                name = name_of(value)
                value.name = draft.values.fresh(f"{name}_computed")
                folded = ir.Value(
                    name=name,
                    type=ir.TensorType(ir.DataType.from_numpy(found[0].dtype)),
                    shape=ir.Shape(found[0].shape),
                )
                folded.const_value = ir.tensor(found[0], name=name)
                draft.graph.initializers[name] = folded
                value.replace_all_uses_with(folded)


def _note_shapes(graph: ir.Graph, runs: Runs) -> None:
    batches = [value.shape[0] for value in graph.inputs if value.shape]
    batch = next((size for size in batches if not isinstance(size, int)), None)
    for node in graph:
        for value in node.outputs:
            shapes = [
                [int(size) for size in run[name_of(value) + _SHAPE]]
                for run in runs
                if name_of(value) + _SHAPE in run
            ]
            if len(shapes) == len(runs) and len({len(shape) for shape in shapes}) == 1:
                value.shape = ir.Shape(
                    [_dimension(sizes, batch) for sizes in zip(*shapes, strict=True)]
                )


def _dimension(sizes: Sequence[int], batch: int | ir.SymbolicDim | None) -> int | ir.SymbolicDim:
    """A number, the batch, or so many times the batch."""
    if len(set(sizes)) == 1:
        return sizes[0]
    name = (batch.value if isinstance(batch, ir.SymbolicDim) else None) or "N"
    times = {size / count for size, count in zip(sizes, BATCHES, strict=True)}
    if times == {1.0}:
        return batch if isinstance(batch, ir.SymbolicDim) else ir.SymbolicDim(name)
    return ir.SymbolicDim(
        f"{int(times.pop())}*{name}" if len(times) == 1 and sizes[0] % BATCHES[0] == 0 else None
    )


# ---- operators that read sizes -------------------------------------------------------------------


def _without_sizes(draft: Draft, node: ir.Node, runs: Runs) -> None:
    """Give an operator a constant shape instead of one computed from the size of the batch."""
    source, index = argument(node, 0), _SHAPED[node.op_type]
    computed = (
        index < len(node.inputs)
        and node.inputs[index] is not None
        and constant(node.inputs[index]) is None
    )
    silent = node.op_type == "Squeeze" and argument(node, 1) is None
    merging = (
        node.op_type == "Flatten"
        and node.attributes.get("axis", ir.AttrInt64("axis", 1)).as_int() != 1
    )
    if source is None or not (computed or silent or merging):
        return
    name = name_of(output(node)) + _SHAPE
    after = [tuple(int(size) for size in run[name]) for run in runs]
    varying = [axis for axis, sizes in enumerate(zip(*after, strict=True)) if len(set(sizes)) > 1]
    if len(varying) > 1:
        raise ArtefactError(
            f"{describe(node)} makes {len(varying)} dimensions of the size of the batch",
            hint="export the model with its batch fixed, or write that shape with one "
            "dimension for the batch",
        )
    before = _shapes_before(source, runs)
    target = [
        _entry(axis, after, before) if axis in varying else after[0][axis]
        for axis in range(len(after[0]))
    ]
    new = ir.node("Reshape", [source, draft.numbers(node, "shape", target)], name=node.name)
    inherit(new, node)
    result = output(new)
    result.type, result.shape, result.name = (
        output(node).type,
        output(node).shape,
        draft.values.fresh(name_of(output(node))),
    )
    draft.graph.insert_before(node, new)
    made = output(node)
    made.replace_all_uses_with(result, replace_graph_outputs=True)
    made.name, result.name = result.name, made.name
    draft.graph.remove(node, safe=True)


def _shapes_before(source: ir.Value, runs: Runs) -> list[tuple[int, ...]]:
    name = name_of(source) + _SHAPE
    if name in runs[0]:
        return [tuple(int(size) for size in run[name]) for run in runs]
    first, *rest = shape_of(source) or (None,)
    sizes = [size or 1 for size in rest]
    return [(first or batch, *sizes) for batch in (BATCHES if len(runs) > 1 else [1])]


def _entry(axis: int, after: Sequence[Sequence[int]], before: Sequence[Sequence[int]]) -> int:
    """0, which keeps a dimension, where it is that of the input; else -1, which is what is left."""
    kept = all(
        axis < len(old) and old[axis] == new[axis] for old, new in zip(before, after, strict=True)
    )
    return 0 if kept else -1


_SHAPED: Mapping[str, int] = {"Reshape": 1, "Flatten": 1, "Squeeze": 1, "Unsqueeze": 1}
"""Operators that only reshape, with the index of the input that holds the shape."""
