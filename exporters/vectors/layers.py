"""The layers of a TFLite file, with what the reference kernels answer for one input."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.brief import brief
from edgeq.errors import ArtefactError, first_line
from edgeq.exporters.vectors.arithmetic import arithmetic_of
from edgeq.formats.tflite_file import operators_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.exporters.vectors.arithmetic import LayerArithmetic
    from edgeq.formats.tflite_file import FileOperator, FileTensor

SEED = 0
GRID_PER_DEVIATION = 8  # how many standard deviations of the input make its whole grid


@dataclass(frozen=True, slots=True, eq=False)
class Recorded:
    """A tensor with its integers.

    Attributes:
        name: as in the file.
        values: in the layout of the file.
        scale: its step; 0 where it has none.
        zero_point: the integer that stands for zero.
    """

    name: str
    values: NDArray[Any]
    scale: float
    zero_point: int

    __repr__ = brief


@dataclass(frozen=True, slots=True, eq=False)
class RecordedLayer:
    """One operator of the file, replayed by the reference kernels.

    Attributes:
        index: its place in the order of execution.
        operator: the TFLite operator.
        inputs: the operands that are data.
        output: the answer.
        arithmetic: everything else that it computes with; None for what the C program does not
            replay.
    """

    index: int
    operator: str
    inputs: tuple[Recorded, ...]
    output: Recorded
    arithmetic: LayerArithmetic | None


def record(content: bytes, seed: int = SEED) -> tuple[RecordedLayer, ...]:
    """Run a TFLite file once on random integers over each input's grid, and keep every tensor.

    Args:
        content: a TFLite file.
        seed: of numpy's default generator, which draws each input in the order of the file.

    Raises:
        ArtefactError: the reference kernels do not run the file.
    """
    operators = operators_of(content)
    values = _run(
        content,
        seed,
        sorted(
            {
                t.index
                for o in operators
                for t in (*o.inputs, o.output)
                if t is not None and t.data is None
            }
        ),
    )
    return tuple(_layer(i, operator, values) for i, operator in enumerate(operators))


def _run(content: bytes, seed: int, wanted: Sequence[int]) -> dict[int, NDArray[Any]]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    generator = np.random.default_rng(seed)
    try:
        interpreter = Interpreter(
            model_content=content,
            experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
            experimental_preserve_all_tensors=True,
        )
        interpreter.allocate_tensors()
        for detail in interpreter.get_input_details():
            interpreter.set_tensor(
                detail["index"], _drawn(generator, detail["shape"], detail["dtype"])
            )
        interpreter.invoke()
    except (RuntimeError, ValueError) as error:
        raise ArtefactError(
            f"TensorFlow Lite's reference kernels do not run the model: {first_line(error)}",
            hint="leave out --to vectors",
        ) from error
    return {index: interpreter.get_tensor(index).copy() for index in wanted}


def _drawn(
    generator: np.random.Generator, shape: Sequence[int], dtype: type[np.signedinteger]
) -> NDArray[np.signedinteger]:
    """Normally distributed integers about the middle of the grid.

    Even ones would drive most layers into saturation.
    """
    limits = np.iinfo(dtype)
    middle, spread = (
        (int(limits.max) + int(limits.min) + 1) / 2,
        (int(limits.max) - int(limits.min) + 1) / GRID_PER_DEVIATION,
    )
    return np.clip(
        np.rint(generator.normal(middle, spread, tuple(shape))), limits.min, limits.max
    ).astype(dtype)


def _layer(index: int, operator: FileOperator, values: Mapping[int, NDArray[Any]]) -> RecordedLayer:
    present = [tensor for tensor in operator.inputs if tensor is not None]
    computed = [
        values[tensor.index] for tensor in (*present, operator.output) if tensor.data is None
    ]
    arithmetic = (
        arithmetic_of(operator) if all(array.dtype == np.int8 for array in computed) else None
    )
    data = present if arithmetic is None else [present[position] for position in arithmetic.data]
    return RecordedLayer(
        index,
        operator.name,
        tuple(_recorded(tensor, values) for tensor in data),
        _recorded(operator.output, values),
        arithmetic,
    )


def _recorded(tensor: FileTensor, values: Mapping[int, NDArray[Any]]) -> Recorded:
    stored = values[tensor.index] if tensor.data is None else tensor.data
    scale = float(tensor.scale[0]) if tensor.scale.size else 0.0
    return Recorded(
        tensor.name, stored, scale, int(tensor.zero_point[0]) if tensor.zero_point.size else 0
    )
