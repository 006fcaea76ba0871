"""Names of tensors change nothing: every dialect stays valid and computes the same."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.checks.renaming import bad_names, made_by, renamed
from tests.support.models.qdq_models import S4, S8, U4, U8, Graph
from tests.support.runtimes.devices import reference

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.onnx import exporter
from edgeq.formats import dialect

if TYPE_CHECKING:
    from numpy.typing import NDArray

DIALECTS = {
    "int8": dialect.Dialect(activation_dtype="int8", opset=13),
    "uint8": dialect.Dialect(opset=13),
    **{
        name.lower(): each
        for name, each in vars(dialect).items()
        if isinstance(each, dialect.Dialect)
    },
}


def _proto(content: bytes) -> onnx.ModelProto:
    found: onnx.ModelProto = onnx.ModelProto.FromString(content)
    return found


def model() -> onnx.ModelProto:
    """What dialects rewrite: sub-ranges, data movement, padding, shared grids, all weights."""
    graph = Graph()
    x = graph.input("x", ["N", 3, 8, 8], U8)
    first = graph.weighted("Conv", x, "first", (4, 3, 3, 3), U4, relu=True, kernel_shape=[3, 3])
    second = graph.weighted(
        "Conv", first, "second", (4, 4, 3, 3), S4, per_channel=True, kernel_shape=[3, 3]
    )
    padded = graph.op("Pad", [second, graph.ints("pads", [0, 0, 1, 1, 0, 0, 1, 1])], "padded", S4)
    third = graph.weighted("Conv", padded, "third", (4, 4, 3, 3), S8, levels=7, kernel_shape=[3, 3])
    flat = graph.op("Flatten", [third], "flat", S8)
    graph.weighted("Gemm", flat, "y", (5, 64), S8, transB=1)
    return graph.proto("y_dequantized")


PLAIN = model()


def written(source: onnx.ModelProto, name: str) -> bytes | str:
    """The file in a dialect, or why there is none."""
    try:
        return exporter.export(ir.from_proto(source), ExportOptions(dialect=DIALECTS[name])).content
    except ArtefactError as refusal:
        return refusal.hint


NAMES = sorted(
    {
        name
        for each in DIALECTS
        if isinstance(file := written(PLAIN, each), bytes)
        for name in made_by(PLAIN, _proto(file))
    }
)


@cache
def answer(name: str) -> NDArray[np.float32] | str:
    """What the model computes under its own names, in a dialect."""
    return computed(written(PLAIN, name))


def computed(file: bytes | str) -> NDArray[np.float32] | str:
    """The answers of a file; where there is none, why."""
    x = np.random.default_rng(0).normal(0, 2, (3, 3, 8, 8)).astype(np.float32)
    return file if isinstance(file, str) else reference(file, {"x": x}, ["y_dequantized"])[0]


@settings(max_examples=60)
@given(names=bad_names(PLAIN, NAMES), name=st.sampled_from(sorted(DIALECTS)))
def test_a_dialect_computes_the_same_under_any_names(names: dict[str, str], name: str) -> None:
    assert np.array_equal(answer(name), computed(written(renamed(PLAIN, names), name)))
