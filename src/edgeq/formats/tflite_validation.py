"""A TFLite file is looked through before an interpreter sees it.

LiteRT checks the structure of the FlatBuffer itself, and well. What it takes on trust are the
graph's own outputs and the grids: a zero or negative scale of an activation, or a missing one where
a kernel needs it, ends in an abort of the whole process, which no caller can catch. Both are
checked here, and, by walking there, the structure on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.errors import ArtefactError
from edgeq.formats.tflite_file import BROKEN, is_ours
from edgeq.formats.tflite_schema import TYPE_NAMES, schema

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_QUANTIZED = {"UINT8", "INT8", "INT16"}
_HINT = "export it again; it is truncated or damaged"


def check_model(content: bytes, path: Path) -> None:
    """Look through a TFLite model.

    Args:
        content: the file.
        path: its name, for messages.

    Raises:
        ArtefactError: truncated, damaged, or with a grid that an interpreter would abort on.
    """
    try:
        problem = next(_problems(content), None)
    except BROKEN as error:
        raise ArtefactError(
            f"{path} is no whole TFLite model: {type(error).__name__} while reading its tables",
            hint=_HINT,
        ) from error
    if problem is not None:
        raise ArtefactError(f"{path} is no sound TFLite model: {problem}", hint=_HINT)


def _problems(content: bytes) -> Iterator[str]:
    model, ours = schema.Model.GetRootAs(content, 0), is_ours(content)
    if model.SubgraphsLength() == 0:
        yield "it holds no graph"
    for graph in (model.Subgraphs(i) for i in range(model.SubgraphsLength())):
        count = graph.TensorsLength()
        for name, indices in (("input", graph.InputsAsNumpy()), ("output", graph.OutputsAsNumpy())):
            yield from _out_of_range(f"the graph's {name}", indices, count, least=0)
        for i in range(graph.OperatorsLength()):
            yield from _operator_problems(model, graph, i, ours=ours)


def _operator_problems(model: Any, graph: Any, i: int, *, ours: bool) -> Iterator[str]:
    operator = graph.Operators(i)
    if operator.OpcodeIndex() >= model.OperatorCodesLength():
        yield f"operator {i} is of a kind that the file does not define"
    inputs, outputs = operator.InputsAsNumpy(), operator.OutputsAsNumpy()
    # -1: an optional input left out
    yield from _out_of_range(f"operator {i}", inputs, graph.TensorsLength(), least=-1)
    yield from _out_of_range(f"operator {i}", outputs, graph.TensorsLength(), least=0)
    for index in np.atleast_1d(outputs):
        tensor = graph.Tensors(int(index))
        if TYPE_NAMES[tensor.Type()] in _QUANTIZED:
            yield from _grid_problems(tensor, ours=ours)


def _grid_problems(tensor: Any, *, ours: bool) -> Iterator[str]:
    name = (tensor.Name() or b"").decode(errors="replace")
    grid = tensor.Quantization()
    if grid is None or grid.ScaleLength() == 0:
        if ours:  # others may mean plain integers
            yield f"the integer tensor {name!r} has no scale"
        return
    scales = grid.ScaleAsNumpy()
    if not (np.isfinite(scales).all() and (scales > 0).all()):
        yield f"the integer tensor {name!r} has the scale {scales}"
    if grid.ZeroPointLength() not in (0, 1, grid.ScaleLength()):
        yield (
            f"the integer tensor {name!r} has {grid.ScaleLength()} scales and "
            f"{grid.ZeroPointLength()} zero points"
        )


def _out_of_range(what: str, indices: Any, count: int, *, least: int) -> Iterator[str]:
    indices = np.atleast_1d(indices)
    if ((indices < least) | (indices >= count)).any():
        yield f"{what} names a tensor that is not there"
