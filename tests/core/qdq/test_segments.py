"""A cut model computes what the whole one does when it is fed the whole one's own integers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from tests.support.models import onnx_models

from edgeq.qdq.segments import Segments, cut

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray


def run(
    model: onnx.ModelProto, names: list[str], feeds: Mapping[str, NDArray[Any]]
) -> list[NDArray[Any]]:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return cast("list[NDArray[Any]]", session.run(names, feeds))


def integers(
    model: onnx.ModelProto, segments: Segments, images: NDArray[np.float32]
) -> dict[str, NDArray[np.integer]]:
    """Of the whole model, with every quantised tensor made an output."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    shown.graph.output.extend(onnx.ValueInfoProto(name=one.output) for one in segments.cuts)
    names = [one.output for one in segments.cuts]
    return dict(zip(names, run(shown, names, {"input": images}), strict=True))


@pytest.mark.parametrize("bits", [4, 8])
def test_fed_its_own_integers_a_cut_model_repeats_them(bits: int) -> None:
    model = onnx_models.qdq_model(bits=bits)
    segments = cut(ir.from_proto(model))
    images = onnx_models.images(1)
    whole = integers(model, segments, images)
    feeds = {one.feed: whole[one.output] for one in segments.cuts if one.feed is not None}
    found = run(ir.to_proto(segments.model), [*whole, "output"], {"input": images, **feeds})
    for name, value in zip(whole, found, strict=False):
        assert np.array_equal(value, whole[name]), name
    assert np.array_equal(found[-1], run(model, ["output"], {"input": images})[0])


def test_a_change_at_one_cut_reaches_the_next_and_no_further() -> None:
    model = onnx_models.qdq_model()
    segments = cut(ir.from_proto(model))
    images = onnx_models.images(1)
    whole = integers(model, segments, images)
    feeds = {one.feed: whole[one.output] for one in segments.cuts if one.feed is not None}
    feeds["first_quantized_fed"] = 255 - feeds["first_quantized_fed"]
    found = dict(
        zip(
            whole,
            run(ir.to_proto(segments.model), list(whole), {"input": images, **feeds}),
            strict=True,
        )
    )
    assert {name for name in whole if not np.array_equal(found[name], whole[name])} == {
        "second_quantized",
        "sum_quantized",
    }


def test_the_cuts_say_where_they_are() -> None:
    segments = cut(ir.from_proto(onnx_models.qdq_model(bits=4)))
    assert [(one.name, one.output, one.producer) for one in segments.cuts] == [
        ("input", "input_quantized", "input"),
        ("first", "first_quantized", "first"),
        ("second", "second_quantized", "second"),
        ("sum", "sum_quantized", "sum"),
        ("pool", "pool_quantized", "pool"),
    ]
    first = segments.cuts[1].params
    assert (first.qmin, first.qmax, first.dtype) == (0, 15, "uint8"), "behind the integer Clip"


def test_the_model_is_left_as_it_is_and_the_cut_one_is_valid() -> None:
    model = ir.from_proto(onnx_models.qdq_model())
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    segments = cut(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before
    onnx.checker.check_model(ir.to_proto(segments.model), full_check=True)


def test_a_float_model_has_nothing_to_cut() -> None:
    assert cut(ir.from_proto(onnx_models.float_model())).cuts == ()
