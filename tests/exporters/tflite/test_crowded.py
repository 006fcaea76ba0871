"""Channels whose sums would not fit 32 bits.

The same integers in another form where they give but one, else refused or approximated.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.models.qdq_models import (
    KERNELS,
    Graph,
    Grid,
    onnx_integers,
    operators,
    tflite_outputs,
)

from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.biases import input_ends
from edgeq.exporters.tflite.storage import choose_storage
from edgeq.qdq.ir import QdqConstant
from edgeq.qdq.reader import read_qdq

if TYPE_CHECKING:
    from numpy.typing import NDArray

IN, OUT = Grid(0.02, 100), Grid(0.05, 110)
DEAD = 3
LOWEST = -(2**31)


def layer(
    op: str,
    *,
    scale: Any,
    bias: Any,
    small: int = 8,
    relu: bool = False,
    out: Grid = OUT,
    terms: int = 3,
) -> Graph:
    """A layer of 8 channels: one has small weights, and the scale and int32 bias given."""
    rng, graph = np.random.default_rng(0), Graph()
    image, kernel = (
        op != "Gemm",
        {"Conv": (8, terms, 3, 3), "ConvTranspose": (terms, 8, 3, 3), "Gemm": (8, terms)}[op],
    )
    axis = 1 if op == "ConvTranspose" else 0
    weights = rng.integers(-127, 128, kernel).astype(np.int8)
    np.moveaxis(weights, axis, 0)[DEAD] = rng.integers(
        -small, small + 1, np.moveaxis(weights, axis, 0)[DEAD].shape
    )
    steps, biases = np.full(8, 1e-3, np.float32), rng.integers(-500, 500, 8).astype(np.int32)
    steps[DEAD], biases[DEAD] = scale, bias
    x = graph.input("x", ["N", terms, 5, 5] if image else ["N", terms], IN)
    inputs = [
        x,
        graph.stored("w", weights, steps, axis),
        graph.stored("b", biases, np.float32(IN.scale) * steps),
    ]
    attributes: dict[str, Any] = {"kernel_shape": [3, 3]} if image else {"transB": 1}
    graph.op(op, inputs, "y", out, relu=relu, **attributes)
    return graph


def difference(graph: Graph, content: bytes, kernels: str) -> NDArray[np.int64]:
    """The file's integers less ONNX Runtime's, channels first, on the same random inputs."""
    view = read_qdq(graph.output())
    storages, shape = choose_storage(view), (4, *view.inputs[0].shape[1:])
    images = np.random.default_rng(1).uniform(-2, 3.1, shape).astype(np.float32)
    integers = onnx_integers(
        graph.proto(graph.nodes[-1].output[0]), {"x": images}, ["x_quantized", "y_quantized"]
    )
    fed, wanted = (
        (integers[f"{name}_quantized"].astype(int) + storages[name].shift).astype(np.int8)
        for name in ("x", "y")
    )
    found = tflite_outputs(content, [np.moveaxis(fed, 1, -1)], kernels)[0]
    return np.moveaxis(found, -1, 1).astype(np.int64) - wanted


CASES: dict[str, dict[str, Any]] = {
    "nothing": {"scale": 5.4e-13, "bias": LOWEST},
    "saturated below": {"scale": 1e-6, "bias": LOWEST},
    "saturated above": {"scale": 1e-6, "bias": 2**31 - 1},
    "one integer within": {"scale": 5e-9, "bias": LOWEST, "small": 0},
    "cut off by a relu": {"scale": 3e-8, "bias": LOWEST, "relu": True},
    "a sub-range": {"scale": 1e-6, "bias": 2**31 - 1, "out": Grid(0.3, 128, clip=(120, 135))},
}


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose", "Gemm"])
@pytest.mark.parametrize("case", CASES)
def test_a_channel_that_gives_one_integer_is_said_otherwise_exactly(case: str, op: str) -> None:
    graph = layer(op, **CASES[case])
    exported = exporter.export(graph.output(), ExportOptions())
    assert exported.approximations == ()
    assert exported.parity.different == ()
    (rescaled,) = exported.parity.rescaled
    assert (rescaled.tensor, rescaled.weights) == ("y", "w")
    assert (rescaled.channels, rescaled.max_error_lsb) == ((DEAD,), 0.0)
    assert rescaled.scale == pytest.approx((graph.scales["y_dequantized"] / 2**10 / IN.scale,))
    assert exported.in_float is None
    for kernels in KERNELS:
        moved = difference(graph, exported.content, kernels)
        assert np.abs(moved).max() <= 1
        assert not moved[:, DEAD].any()


def test_other_channels_keep_every_integer() -> None:
    from edgeq.exporters.tflite.legalize import legalize

    before = read_qdq(layer("Conv", **CASES["nothing"]).output())
    legal = legalize(before, approximate=False)
    after = legal.graph
    assert legal.approximations == ()
    for index in (1, 2):
        old, new = before.ops[0].inputs[index], after.ops[0].inputs[index]
        assert isinstance(old, QdqConstant)
        assert isinstance(new, QdqConstant)
        assert np.array_equal(np.delete(old.values, DEAD, 0), np.delete(new.values, DEAD, 0))
        assert not new.values[DEAD].any() or index == 2


def alive(**options: Any) -> Graph:
    """Products and a bias that overflow together, though the result is not constant."""
    return layer(
        "Gemm",
        scale=3e-8,
        bias=2**31 - 2**20,
        small=127,
        terms=20_000,
        out=Grid(0.02, 0),
        **options,
    )


def test_a_channel_that_gives_several_is_refused_with_a_way_out_that_works() -> None:
    with pytest.raises(
        ArtefactError, match=f"the sums of channel {DEAD} may not fit 32 bits"
    ) as caught:
        exporter.export(alive().output(), ExportOptions())
    assert "--requantize" in caught.value.hint
    exported = exporter.export(alive().output(), ExportOptions(requantize=True))
    (told,) = exported.approximations
    assert told.what == (
        f"channel {DEAD} of w got a larger weight scale, so that the sums fit 32 bits"
    )
    (rescaled,) = exported.parity.rescaled
    assert (rescaled.channels, rescaled.max_error_lsb) == ((DEAD,), told.max_error_lsb)
    # a scale twice as large: half of 20,000 weights are off by one step, on inputs up to 155
    assert told.max_error_lsb == pytest.approx(10_000 * 3e-8 * 155, rel=0.02)
    assert np.abs(difference(alive(), exported.content, "reference")[:, DEAD]).max() <= 1


def test_a_float_bias_of_a_dead_channel_finds_a_grid() -> None:
    graph = Graph()
    weights = np.random.default_rng(0).integers(-127, 128, (8, 3, 3, 3)).astype(np.int8)
    weights[DEAD] = 0
    steps = np.full(8, 1e-3, np.float32)
    steps[DEAD] = 1e-20
    bias = np.full(8, 2e-5 * 500, np.float32)
    bias[DEAD] = 0.7
    inputs = [
        graph.input("x", ["N", 3, 5, 5], IN),
        graph.stored("w", weights, steps),
        graph.constant("b", bias),
    ]
    graph.op("Conv", inputs, "y", OUT, kernel_shape=[3, 3])
    exported = exporter.export(graph.output(), ExportOptions(requantize=True))
    assert operators(exported.content) == ["CONV_2D"]
    assert not difference(graph, exported.content, "reference")[:, DEAD].any()


@settings(max_examples=60)
@given(
    op=st.sampled_from(["Conv", "ConvTranspose", "Gemm"]),
    scale=st.floats(-20, -2).map(lambda e: 10.0**e),
    bias=st.sampled_from([LOWEST, 2**31 - 1, -(2**30), 2**29, 12345]),
    small=st.sampled_from([0, 1, 8, 127]),
    relu=st.booleans(),
)
def test_no_scale_and_bias_give_another_integer(
    op: str, scale: float, bias: int, small: int, relu: bool
) -> None:
    graph = layer(op, scale=scale, bias=bias, small=small, relu=relu)
    try:
        exported = exporter.export(graph.output(), ExportOptions())
    except ArtefactError as refusal:
        assert "--requantize" in refusal.hint  # noqa: PT017
        exported = exporter.export(graph.output(), ExportOptions(requantize=True))
    assert np.abs(difference(graph, exported.content, "reference")).max() <= 1


def ones(bias: int, *, relu: bool) -> Graph:
    """Channels of 27 weights of 1; their input is the graph's, or behind a relu."""
    graph = Graph()
    x = graph.input("x", ["N", 3, 7, 7], Grid(0.02, 128))
    if relu:
        x = graph.op("Relu", [x], "r", Grid(0.02, 0))
    weights, steps = np.ones((2, 3, 3, 3), np.int8), np.full(2, 1e-9, np.float32)
    biases = graph.stored("b", np.array([bias, 7], np.int32), np.float32(0.02) * steps)
    inputs = [x, graph.stored("w", weights, steps), biases]
    graph.op("Conv", inputs, "y", Grid(1e-9, 0), kernel_shape=[3, 3])
    return graph


@pytest.mark.parametrize("relu", [False, True])
def test_sums_are_bounded_exactly_before_a_channel_is_refused(relu: bool) -> None:
    largest = 27 * 127  # of inputs from -128 to 127, or from 0 to 127 behind the ReLU
    room = 2**11  # for the rounding of scales
    fits = ones(2**31 - 1 - largest - room, relu=relu).output()
    report = exporter.export(fits, ExportOptions()).parity
    assert (report.different, report.rescaled) == ((), ())
    # its result is the largest integer, whatever comes in: as another operator
    report = exporter.export(ones(2**31 - largest, relu=relu).output(), ExportOptions()).parity
    assert [each.channels for each in report.rescaled] == [(0,)]


def test_an_input_that_is_a_sub_range_may_still_be_any_integer() -> None:
    source = read_qdq(layer("Conv", scale=1e-3, bias=0).output()).inputs[0]
    assert input_ends(source) == (-100, 155)
    narrow = replace(source, params=replace(source.params, qmin=90, qmax=110), low=90, high=110)
    assert input_ends(narrow) == (-255, 255)
    assert input_ends(replace(narrow, graph_input="")) == (-10, 10)
    assert input_ends(replace(narrow, graph_input="", low=105)) == (0, 10)


@settings(max_examples=40)
@given(
    scale=st.floats(-30, -5).map(lambda e: 10.0**e),
    real=st.floats(-200, 200),
    small=st.sampled_from([1, 8, 127]),
)
def test_float_biases_on_the_scale_of_next_to_nothing_are_within_the_error_that_is_told(
    scale: float, real: float, small: int
) -> None:
    graph, rng = Graph(), np.random.default_rng(0)
    weights = rng.integers(-small, small + 1, (8, 3, 3, 3)).astype(np.int8)
    bias = np.full(8, real * OUT.scale, np.float32)
    inputs = [
        graph.input("x", ["N", 3, 5, 5], IN),
        graph.stored("w", weights, np.full(8, scale, np.float32)),
        graph.constant("b", bias),
    ]
    graph.op("Conv", inputs, "y", OUT, kernel_shape=[3, 3])
    exported = exporter.export(graph.output(), ExportOptions(requantize=True))
    assert exported.in_float is None
    told = max((each.max_error_lsb for each in exported.parity.rescaled), default=0.0)
    assert told < 1
    assert np.abs(difference(graph, exported.content, "reference")).max() <= 1 + told
