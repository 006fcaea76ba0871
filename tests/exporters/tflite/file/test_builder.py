"""The file itself: alignment, operator codes, versions, identifier."""

from __future__ import annotations

import numpy as np
import pytest

from edgeq.errors import ArtefactError
from edgeq.exporters.tflite.file.builder import Builder, StoredGrid
from edgeq.formats.tflite_schema import schema


def small(builder: Builder) -> bytes:
    x = builder.activation("x", (1, 2, 2, 3), StoredGrid.of(0.1, 5))
    weights = builder.constant(
        "w", np.arange(12, dtype=np.int8).reshape(4, 1, 1, 3), StoredGrid.of(np.ones(4, np.float32))
    )
    bias = builder.constant("b", np.arange(4, dtype=np.int32), StoredGrid.of(0.1))
    y = builder.activation("y", (1, 2, 2, 4), StoredGrid.of(0.2, -3))
    builder.operator(
        schema.BuiltinOperator.CONV_2D, 3, [x, weights, bias], [y], schema.Conv2DOptionsT()
    )
    builder.operator(
        schema.BuiltinOperator.QUANTIZE,
        1,
        [y],
        [builder.activation("z", (1, 2, 2, 4), StoredGrid.of(0.3))],
    )
    return builder.finish([x], [y], "test", {"of": "edgeq"})


def test_every_buffer_starts_at_a_multiple_of_sixteen() -> None:
    content = small(Builder())
    model = schema.Model.GetRootAs(content, 0)
    for i in range(model.BuffersLength()):
        data = model.Buffers(i).DataAsNumpy()
        if isinstance(data, np.ndarray) and data.size:
            start = (
                data.__array_interface__["data"][0]
                - np.frombuffer(content, np.uint8).__array_interface__["data"][0]
            )
            assert start % 16 == 0


def test_the_first_buffer_is_empty_and_the_identifier_is_there() -> None:
    content = small(Builder())
    assert content[4:8] == b"TFL3"
    model = schema.ModelT.InitFromPackedBuf(content)
    assert model.version == 3
    assert model.buffers[0].data is None


def test_operator_codes_above_127_and_below_are_written_for_old_and_new_readers() -> None:
    builder = Builder()
    builder.operator(schema.BuiltinOperator.GELU, 1, [], [])
    content = small(builder)
    codes = {
        (c.builtinCode, c.deprecatedBuiltinCode, c.version)
        for c in schema.ModelT.InitFromPackedBuf(content).operatorCodes
    }
    assert codes == {(150, 127, 1), (3, 3, 3), (114, 114, 1)}


def test_equal_parameter_vectors_are_one_tensor() -> None:
    builder = Builder()
    assert builder.numbers([1, 2]) == builder.numbers([1, 2])
    assert builder.numbers([1, 2]) != builder.numbers([2, 1])


def test_an_open_batch_is_marked_on_activations_only() -> None:
    tensors = (
        schema.ModelT.InitFromPackedBuf(small(Builder(dynamic_batch=True))).subgraphs[0].tensors
    )
    signatures = {
        t.name.decode(): None if t.shapeSignature is None else list(t.shapeSignature)
        for t in tensors
    }
    assert signatures["x"] == [-1, 2, 2, 3]
    assert signatures["w"] is None


def test_the_same_parts_make_the_same_bytes() -> None:
    assert small(Builder()) == small(Builder())


def test_a_model_that_no_file_could_hold_is_refused_before_it_is_built() -> None:
    builder = Builder()
    # each below the size from which on constants are compared; none of them takes memory
    for i in range(2101):
        builder.constant(f"w{i}", np.broadcast_to(np.int8(1), ((1 << 20) - 1,)))
    with pytest.raises(
        ArtefactError, match=r"take 2\d{9} bytes, more than the 2147483648 of one TFLite file"
    ):
        builder.finish([], [], "too large", {})
