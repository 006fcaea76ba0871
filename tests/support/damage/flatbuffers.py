"""TFLite files whose tables point anywhere; each is a function of its random generator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
from tests.support.checks.hostile import ACTING, binary, pick

from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    Rng = np.random.Generator

_PLACES = (-2, -1, 0, 1, 7, 1_000, 2**31 - 1)
_SIZES = (-1, 0, 1, 7, 2**31 - 1)
_SCALES = (0.0, -1.0, np.nan, np.inf, 1e-45, 3e38)


def tables(content: bytes, rng: Rng) -> bytes:
    """A whole file of which some tables mean nothing; or one whose bytes are others."""
    if rng.random() < 0.3:
        return binary(content, rng)
    model: Any = schema.ModelT.InitFromPackedBuf(content)
    for _ in range(int(rng.integers(1, 4))):
        pick(rng, (_wiring, _tensor, _grid, _codes, _storage))(model, rng)
    if rng.random() < 0.2:
        _graphs(model, rng)  # the last, since nothing may be left
    builder = flatbuffers.Builder(len(content))
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _wiring(model: Any, rng: Rng) -> None:
    operator = pick(rng, model.subgraphs[0].operators)
    name = pick(rng, ("inputs", "outputs"))
    numbers = np.array(getattr(operator, name), np.int32)
    if rng.random() < 0.3:
        numbers = numbers[:-1]
    elif numbers.size:
        numbers[int(rng.integers(numbers.size))] = pick(rng, _PLACES)
    setattr(operator, name, numbers)
    if rng.random() < 0.3:
        operator.builtinOptions = None


def _tensor(model: Any, rng: Rng) -> None:
    tensor = pick(rng, model.subgraphs[0].tensors)
    which = int(rng.integers(4))
    if which == 0:
        tensor.shape = np.array([pick(rng, _SIZES) for _ in range(rng.integers(7))], np.int32)
    elif which == 1:
        tensor.type = int(pick(rng, (*range(20), 127)))
    elif which == 2:
        tensor.buffer = int(pick(rng, (0, 1, 5, 10_000, 2**32 - 1)))
    else:
        tensor.name = pick(rng, (ACTING, "", None, "a" * 100_000, "../../x", b"\xff\xfe"))


def _grid(model: Any, rng: Rng) -> None:
    tensors = [each for each in model.subgraphs[0].tensors if each.quantization is not None]
    grid = pick(rng, tensors).quantization
    which = int(rng.integers(4))
    if which == 0:
        grid.scale = np.full(int(rng.integers(0, 4)), pick(rng, _SCALES), np.float32)
    elif which == 1:
        grid.zeroPoint = np.full(int(rng.integers(0, 4)), pick(rng, (1, -129, 2**40, -(2**63))))
    elif which == 2:
        grid.quantizedDimension = int(pick(rng, (-1, 1, 4, 2**31 - 1)))
    else:
        grid.scale = grid.zeroPoint = None


def _codes(model: Any, rng: Rng) -> None:
    if rng.random() < 0.5:
        pick(rng, model.subgraphs[0].operators).opcodeIndex = int(pick(rng, (0, 1, 99, 2**32 - 1)))
        return
    code = pick(rng, model.operatorCodes)
    code.builtinCode = int(pick(rng, (-1, 0, 3, 32, 110, 118, 125, 2**31 - 1)))
    code.deprecatedBuiltinCode = int(pick(rng, (-128, 0, 3, 32, 127)))
    code.customCode = pick(rng, (None, ACTING, "", "Flex"))
    code.version = int(pick(rng, (-1, 0, 1, 99)))


def _storage(model: Any, rng: Rng) -> None:
    buffers = [each for each in model.buffers if each.data is not None and len(each.data)]
    buffer = pick(rng, buffers)
    data = np.array(buffer.data, np.uint8)
    buffer.data = pick(rng, (data[:-1], data[:0], np.concatenate([data, data]), None))
    if rng.random() < 0.2:
        buffer.offset, buffer.size = int(pick(rng, (1, 2, 2**40))), int(pick(rng, (1, 2**40)))


def _graphs(model: Any, rng: Rng) -> None:
    graph = model.subgraphs[0]
    which = int(rng.integers(5))
    if which == 0:
        name = pick(rng, ("inputs", "outputs"))
        setattr(graph, name, np.array([pick(rng, _PLACES) for _ in range(rng.integers(4))]))
    elif which == 1:
        graph.operators = pick(rng, ([], graph.operators[::-1], graph.operators * 2))
    elif which == 2:
        model.subgraphs = pick(rng, ([], model.subgraphs * 2))
    elif which == 3:
        del graph.tensors[int(rng.integers(len(graph.tensors))) :]
    else:
        model.version = int(pick(rng, (0, 2, 99)))
        for each in model.metadata or ():
            each.buffer = int(pick(rng, (0, 1, 10_000)))
            each.name = pick(rng, (each.name, ACTING, None))
