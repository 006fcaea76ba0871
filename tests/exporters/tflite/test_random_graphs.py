"""Random QDQ graphs: nothing in them changes on the way to TFLite, and every operator is within 1 LSB."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.qdq_models import KERNELS, Graph, Grid, differences

from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter

SIZE = 6
WINDOW: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}


@st.composite
def grids(draw: st.DrawFn) -> Grid:
    """8-bit and 4-bit grids, signed and unsigned, in both carriers."""
    dtype = draw(st.sampled_from(["uint8", "int8"]))
    base = 0 if dtype == "uint8" else -128
    scale = draw(st.floats(0.005, 0.2))
    match draw(st.sampled_from(["8 bit", "4 bit", "4 bit, signed", "unsigned"])):
        case "4 bit":
            return Grid(scale * 4, base, dtype, (base, base + 15))
        case "4 bit, signed":
            return Grid(scale * 4, base + 128, dtype, (base + 120, base + 135))
        case "unsigned":
            return Grid(scale, base, dtype)
    return Grid(scale, base + draw(st.integers(0, 255)), dtype)


@st.composite
def graphs(draw: st.DrawFn) -> Graph:
    """Up to five operators on images of one size, then perhaps a mean and a fully connected layer."""
    graph = Graph(np.random.default_rng(draw(st.integers(0, 2**32 - 1))))
    first = draw(grids())
    live = {graph.input("image", ["N", 4, SIZE, SIZE], first): (4, first)}
    for i in range(draw(st.integers(1, 5))):
        source = draw(st.sampled_from(sorted(live)))
        name, grid = f"t{i}", draw(grids())
        channels, own = live[source]
        match draw(st.sampled_from(["Conv", "Depthwise", "Add", "Concat", "MaxPool", "AveragePool", "Requantize"])):
            case "Conv" | "Depthwise" as kind:
                result = convolution(draw, graph, source, name, grid, channels, depthwise=kind == "Depthwise")
            case "Add":
                other = draw(st.sampled_from([value for value in sorted(live) if live[value][0] == channels]))
                result = graph.op("Add", [source, other], name, grid, relu=draw(st.booleans()))
            case "Concat":
                other = draw(st.sampled_from(sorted(live)))
                result = graph.op("Concat", [source, other], name, grid, axis=1)
                channels += live[other][0]
            case "MaxPool":
                result = graph.op("MaxPool", [source], name, grid, **WINDOW)
            case "AveragePool":
                grid = replace(own, clip=draw(st.sampled_from([own.clip, None])))
                result = graph.op("AveragePool", [source], name, grid, **WINDOW)
            case _:
                graph.node("Identity", [source], name)
                result = graph.quantize(name, grid)
        live[result] = (channels, grid)
    if draw(st.booleans()):
        source, (channels, _) = live.popitem()
        pooled = graph.op("GlobalAveragePool", [source], "pool", draw(grids()))
        graph.node("Flatten", [pooled], "flat")
        graph.scales["flat"] = graph.scales[pooled]
        graph.weighted("Gemm", "flat", "logits", (5, channels), draw(grids()), transB=1, per_channel=draw(st.booleans()))
    return graph


def convolution(draw: st.DrawFn, graph: Graph, source: str, name: str, grid: Grid, channels: int, *, depthwise: bool) -> str:
    kernel = draw(st.sampled_from([1, 3]))
    return graph.weighted(
        "Conv",
        source,
        name,
        (channels, 1 if depthwise else channels, kernel, kernel),
        grid,
        group=channels if depthwise else 1,
        per_channel=draw(st.booleans()),
        bias=draw(st.booleans()),
        relu=draw(st.booleans()),
        levels=draw(st.sampled_from([1, 7, 127])),
        kernel_shape=[kernel, kernel],
        pads=[kernel // 2] * 4,
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(graphs(), st.sampled_from(sorted(KERNELS)))
def test_every_number_arrives_and_every_operator_is_within_one_lsb(graph: Graph, kernels: str) -> None:
    assert exporter.export(graph.output(), ExportOptions()).parity.different == ()
    for name, difference in differences(graph, kernels, samples=2).items():
        assert np.abs(difference).max() <= 1, name
