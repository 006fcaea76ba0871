"""Float methods: equalisation and bias absorption, on networks whose BatchNorms the file shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from edgeq.calibration._nodes import norm_of
from edgeq.calibration.methods.bias_absorption import BiasAbsorption
from edgeq.calibration.methods.equalize import CrossLayerEqualization
from edgeq.calibration.normal_form.draft import Draft
from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx
from edgeq.errors import UsageError
from edgeq.tabular import counted

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray
    from tests.calibration.conftest import Build


def net(
    build: Build, *, between: str = "Relu", depthwise: bool = True, high: float = 0.0
) -> ir.Model:
    """Layers with BatchNorm: 3x3, perhaps one for each channel, and 1x1; no layer pads."""
    random = np.random.default_rng(11)
    constants: dict[str, NDArray[Any]] = {"low": np.array(0, "f4"), "high": np.array(6, "f4")}
    nodes, value, channels = [], "x", 3
    shapes = [(8, 3, 3, 3), (8, 1, 3, 3), (5, 8, 1, 1)]
    for index, shape in enumerate(shape for shape in shapes if depthwise or shape[1] != 1):
        out = shape[0]
        constants |= {
            f"w{index}": (random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))).astype("f4"),
            f"g{index}": random.uniform(0.2, 1.0, out).astype("f4"),
            f"b{index}": (random.normal(size=out) + high).astype("f4"),
            f"m{index}": random.normal(size=out).astype("f4"),
            f"v{index}": (random.uniform(0.5, 2.0, out) * (1e4 if high else 1.0)).astype("f4"),
        }
        group = channels if shape[1] == 1 else 1
        nodes += [
            helper.make_node("Conv", [value, f"w{index}"], [f"c{index}"], f"l{index}", group=group),
            helper.make_node(
                "BatchNormalization",
                [f"c{index}", *(f"{each}{index}" for each in "gbmv")],
                [f"n{index}"],
            ),
        ]
        value, channels = f"n{index}", out
        if shape is not shapes[-1]:
            bounds = ["low", "high"] if between == "Clip" else []
            nodes.append(helper.make_node(between, [value, *bounds], [f"r{index}"]))
            value = f"r{index}"
    nodes.append(helper.make_node("Identity", [value], ["y"]))
    return build(nodes, constants, ("n", 3, 9, 9))


def answers(model: ir.Model) -> NDArray[np.float32]:
    x = np.random.default_rng(7).normal(size=(16, 3, 9, 9)).astype(np.float32)
    return np.asarray(session_of(model, exact=True).run((), {"x": x})[0])


def off(before: ir.Model, after: ir.Model) -> float:
    """The largest difference of the answers, of the largest answer."""
    wanted = answers(before)
    return float(np.abs(answers(after) - wanted).max() / np.abs(wanted).max())


def test_a_folded_layer_remembers_its_norm_through_equalisation(build: Build) -> None:
    model = fold_onnx(net(build))
    first = next(iter(model.graph))
    beta, gamma = norm_of(first) or (np.zeros(0), np.zeros(0))
    made = answers_of(model, first)
    before = made.mean((0, 2, 3)) - beta, made.std((0, 2, 3)) / gamma
    CrossLayerEqualization().apply(Draft(model.graph))
    beta, gamma = norm_of(first) or (np.zeros(0), np.zeros(0))
    made = answers_of(model, first)
    factor = made.std((0, 2, 3)) / gamma
    assert np.allclose(factor, before[1], rtol=1e-4)
    assert not np.allclose(made.mean((0, 2, 3)), before[0] + beta, rtol=1e-2)


def answers_of(model: ir.Model, layer: ir.Node) -> NDArray[np.float32]:
    copy = model.clone()
    made = next(value for node in copy.graph for value in node.outputs if node.name == layer.name)
    copy.graph.outputs[:] = [made]
    return answers(copy)


@pytest.mark.parametrize("depthwise", [True, False])
def test_absorbed_biases_leave_the_function(build: Build, depthwise: bool) -> None:
    model = net(build, depthwise=depthwise, high=8.0)
    absorbed = fold_onnx(model)
    told = BiasAbsorption().apply(Draft(absorbed.graph))
    pairs = 2 if depthwise else 1
    assert told == f"absorbed the biases of {8 * pairs} channels of {counted(pairs, 'layer')}"
    assert off(model, absorbed) < 1e-5
    first = next(iter(absorbed.graph))
    assert answers_of(absorbed, first).max() < answers_of(fold_onnx(model), first).max() - 3


def test_nothing_is_absorbed_without_high_biases_or_without_norms(build: Build) -> None:
    model = fold_onnx(net(build, high=-8.0))
    assert BiasAbsorption().apply(Draft(model.graph)).startswith("absorbed the biases of 0 ")
    again = fold_onnx(fold_onnx(net(build, high=8.0)))
    for node in again.graph:
        node.meta.clear()
    assert BiasAbsorption().apply(Draft(again.graph)).startswith("absorbed the biases of 0 ")


def test_a_relu6_is_kept_or_becomes_a_relu_where_asked(build: Build) -> None:
    model = net(build, between="Clip")
    kept, made = fold_onnx(model), fold_onnx(model)
    assert CrossLayerEqualization().apply(Draft(kept.graph)) == "equalised 0 pairs of layers"
    told = CrossLayerEqualization("relu").apply(Draft(made.graph))
    assert told == "equalised 2 pairs of layers; made ReLUs of 2 ReLU6"
    assert off(net(build), made) < 1e-5
    with pytest.raises(UsageError, match="relu6=relu"):
        CrossLayerEqualization("relu7")


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(seed=st.integers(0, 10_000), depth=st.integers(2, 5), data=st.data())
def test_equalisation_keeps_random_relu_networks(
    build: Build, seed: int, depth: int, data: st.DataObject
) -> None:
    random = np.random.default_rng(seed)
    constants: dict[str, NDArray[Any]] = {}
    nodes, channels = [], 3
    for index in range(depth):
        depthwise = index > 0 and data.draw(st.booleans())
        out = channels if depthwise else data.draw(st.integers(1, 6))
        shape = (out, 1 if depthwise else channels, 3, 3)
        uneven = np.exp(2 * random.normal(size=(out, 1, 1, 1)))
        constants[f"w{index}"] = (random.normal(size=shape) * uneven).astype("f4")
        constants[f"b{index}"] = random.normal(size=out).astype("f4")
        source = "x" if index == 0 else f"r{index - 1}"
        given_ = [source, f"w{index}", f"b{index}"]
        last = index == depth - 1
        group = channels if depthwise else 1
        nodes.append(
            helper.make_node(
                "Conv",
                given_,
                ["y" if last else f"c{index}"],
                f"l{index}",
                pads=[1] * 4,
                group=group,
            )
        )
        if not last:
            nodes.append(helper.make_node("Relu", [f"c{index}"], [f"r{index}"]))
        channels = out
    model = build(nodes, constants, ("n", 3, 9, 9))
    scaled = fold_onnx(model)
    told = CrossLayerEqualization().apply(Draft(scaled.graph))
    assert told == f"equalised {counted(depth - 1, 'pair')} of layers"
    assert off(model, scaled) <= 1e-5
