"""The parity report finds every kind of number that differs, and counts those that do not."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import flatbuffers
import numpy as np
import pytest
from tests.support.models.qdq_models import S8, U4, Graph, Grid

from edgeq.exporter import ExportOptions, ParityReport
from edgeq.exporters.parity import TensorNumbers, compare, numbers_of
from edgeq.exporters.tflite.parity import expected_numbers, stored_numbers, with_helpers
from edgeq.exporters.tflite.storage import choose_storage
from edgeq.exporters.tflite.writer import write
from edgeq.formats.tflite_schema import schema
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgeq.qdq.ir import QdqGraph


def net() -> Graph:
    """Every operator that holds numbers: convolution, depthwise, without bias, padded.

    A sum with a constant; a Gemm.
    """
    graph = Graph()
    x = graph.input("x", ["N", 4, 8, 8], S8)
    a = graph.weighted(
        "Conv",
        x,
        "a",
        (8, 4, 3, 3),
        U4,
        relu=True,
        per_channel=True,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        strides=[2, 2],
    )
    b = graph.weighted("Conv", a, "b", (8, 1, 3, 3), S8, group=8, kernel_shape=[3, 3], bias=False)
    c = graph.op(
        "Add",
        [b, graph.stored("shift", np.arange(8, dtype=np.int8).reshape(8, 1, 1), 0.05)],
        "c",
        S8,
    )
    graph.op("GlobalAveragePool", [c], "pool", Grid(0.01, 128))
    graph.node("Flatten", ["pool_dequantized"], "flat")
    graph.scales["flat"] = 0.01
    graph.weighted("Gemm", "flat", "y", (5, 8), S8, transB=1)
    return graph


VIEW = read_qdq(net().output())
CONTENT = write(VIEW, ExportOptions()).content


def report(content: bytes, view: QdqGraph = VIEW) -> ParityReport:
    found = stored_numbers(content)
    return compare(with_helpers(expected_numbers(view, choose_storage(view)), found), found)


def mutated(change: Callable[[Any], None]) -> bytes:
    model = schema.ModelT.InitFromPackedBuf(bytearray(CONTENT))
    change(model)
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def tensor(model: Any, name: str) -> Any:
    return next(t for t in model.subgraphs[0].tensors if t.name == name.encode())


def test_nothing_differs_and_everything_is_counted() -> None:
    found = report(CONTENT)
    assert found.different == ()
    assert found.weights == 8 * 4 * 9 + 8 * 9 + 8 + 5 * 8
    assert found.biases == 8 + 8 + 5
    assert found.compared == found.weights + found.biases + found.scales + found.zero_points


def flip_byte(name: str, at: int) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        buffer = model.buffers[tensor(model, name).buffer]
        buffer.data = np.array(buffer.data, np.uint8)
        buffer.data[at] ^= 1

    return change


def next_scale(name: str, at: int = 0) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        quantization = tensor(model, name).quantization
        quantization.scale = np.array(quantization.scale, np.float32)
        quantization.scale[at] = np.nextafter(quantization.scale[at], np.float32(1))

    return change


def next_zero_point(name: str) -> Callable[[Any], None]:
    def change(model: Any) -> None:
        quantization = tensor(model, name).quantization
        quantization.zeroPoint = np.array(quantization.zeroPoint, np.int64) + 1

    return change


def other_axis(model: Any) -> None:
    tensor(model, "a.weight").quantization.quantizedDimension = 3


@pytest.mark.parametrize(
    ("change", "line"),
    [
        (flip_byte("a.weight", 17), r"a/1: weight integer at .* is .*, in the file .*"),
        (flip_byte("b.weight", 3), "b/1: weight integer"),
        (flip_byte("y.weight", 39), "y/1: weight integer"),
        (flip_byte("a.bias", 4), "a/2: bias integer"),
        (flip_byte("b~bias", 0), "b/2: bias integer"),
        (flip_byte("shift", 5), "c/1: weight integer"),
        (next_scale("a.weight", 3), "a/1: weight scale"),
        (next_scale("a.bias", 7), "a/2: bias scale"),
        (next_scale("b"), "b: activation scale"),
        (next_scale("y.weight"), "y/1: weight scale"),
        (next_scale("x~padded_for_a"), "x~padded_for_a: activation scale"),
        (next_zero_point("x"), "x: activation zero point"),
        (next_zero_point("a"), "a: activation zero point"),
        (next_zero_point("y.weight"), "y/1: weight zero point"),
        (next_zero_point("b~bias"), "b/2: bias zero point"),
        (other_axis, "a/1: weight scales have the shape"),
    ],
)
def test_every_kind_of_change_is_found_and_named(change: Callable[[Any], None], line: str) -> None:
    different = report(mutated(change)).different
    assert len(different) == 1
    assert re.match(line, different[0])


def test_every_single_byte_of_a_weight_buffer_counts() -> None:
    at = CONTENT.find(
        np.ascontiguousarray(stored_numbers(CONTENT)["y/1"].centered, np.int8).tobytes()
    )
    assert at > 0
    assert at % 16 == 0
    for offset in range(40):
        content = bytearray(CONTENT)
        content[at + offset] ^= 0x40
        assert len(report(bytes(content)).different) == 1


def test_a_tensor_that_is_not_in_the_file_is_named() -> None:
    def rename(model: Any) -> None:
        tensor(model, "pool").name = b"else"

    assert report(mutated(rename)).different == ("pool: activation is not in the file",)


def test_many_differences_of_a_tensor_are_summed_up() -> None:
    one = TensorNumbers(
        "w", "weight", np.ones(1, np.float32), np.zeros(1, np.int64), np.zeros(100, np.int64)
    )
    other = TensorNumbers(
        "w", "weight", np.ones(1, np.float32), np.zeros(1, np.int64), np.ones(100, np.int64)
    )
    different = compare([one], {"w": other}).different
    assert len(different) == 9
    assert different[-1] == "w: weight integer: 92 more differ"


def test_two_views_of_one_model_are_compared_by_the_same_function() -> None:
    again = {numbers.key: numbers for numbers in numbers_of(read_qdq(net().output()))}
    assert compare(numbers_of(VIEW), again).different == ()
