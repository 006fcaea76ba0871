"""A folded model computes the same, in operators that integer kernels have."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from numpy.typing import NDArray
from onnx import helper

from edgeq.calibration.quantize import fold_onnx
from edgeq.errors import ArtefactError

Build = Callable[..., ir.Model]
Run = Callable[..., dict[str, NDArray[np.float32]]]
FLOAT_ERROR = 1e-5  # of the largest magnitude: some hundred additions in float32


def operators(model: ir.Model) -> Counter[str]:
    return Counter(node.op_type for node in model.graph)


def assert_same(run: Run, model: ir.Model, folded: ir.Model, x: NDArray[np.float32]) -> None:
    before, after = run(model, x), run(folded, x)
    assert before.keys() == after.keys()
    for name, values in before.items():
        assert np.abs(after[name] - values).max() <= FLOAT_ERROR * max(np.abs(values).max(), 1.0)


@pytest.mark.parametrize("seed", range(12))
def test_a_random_net_is_folded_without_a_change_beyond_float_error(
    seed: int, build: Build, run: Run
) -> None:
    rng = np.random.default_rng(seed)
    channels, value = 4, "x"
    nodes: list[onnx.NodeProto] = []
    constants: dict[str, NDArray[np.float32]] = {}

    def add(op: str, *inputs: Any, **attributes: Any) -> None:
        nonlocal value
        names = [value]
        for array in inputs:
            names.append(f"c{len(constants)}")
            constants[names[-1]] = np.asarray(array, np.float32)
        result = f"t{len(nodes)}"
        nodes.append(helper.make_node(op, names, [result], **attributes))
        value = result

    for _ in range(3):
        group = int(rng.choice([1, 2, 4]))
        kernel, dilation, out = (
            int(rng.choice([1, 3])),
            int(rng.choice([1, 2])),
            int(rng.choice([4, 8])),
        )
        pad = dilation * (kernel - 1) // 2
        shape = {"pads": [pad] * 4, "dilations": [dilation] * 2, "group": group}
        bias = [rng.normal(size=out)] if rng.random() < 0.5 else []
        if rng.random() < 0.5:
            add("Conv", rng.normal(size=(out, channels // group, kernel, kernel)), *bias, **shape)
        else:
            add(
                "ConvTranspose",
                rng.normal(size=(channels, out // group, kernel, kernel)),
                *bias,
                **shape,
            )
        channels = out
        for step in rng.choice(["norm", "Mul", "Add", "Div", "Sub", "Neg", "Identity"], size=3):
            if step == "norm":
                add(
                    "BatchNormalization",
                    *rng.normal(size=(3, out)),
                    rng.uniform(0.1, 2, out),
                    epsilon=1e-3,
                )
            elif step in ("Neg", "Identity"):
                add(str(step))
            else:
                add(
                    str(step),
                    rng.uniform(0.5, 2, (1, out, 1, 1))
                    if rng.random() < 0.5
                    else rng.uniform(0.5, 2),
                )
        add("Relu")
    nodes[-1].output[0] = "y"
    model = build(nodes, constants, ["n", 4, 9, 9])
    folded = fold_onnx(model)
    assert set(operators(folded)) == {"Conv", "Relu"}
    assert_same(run, model, folded, rng.normal(size=(3, 4, 9, 9)).astype(np.float32))


def test_a_stable_block_becomes_convolutions_and_a_sum(
    stable_net: ir.Model, run: Run, images: NDArray[np.float32]
) -> None:
    before = operators(stable_net)
    folded = fold_onnx(stable_net)
    assert operators(stable_net) == before
    assert operators(folded) == {
        "Conv": 4,
        "Relu": 4,
        "Add": 1,
        "Slice": 1,
        "Concat": 1,
        "AveragePool": 1,
        "GlobalAveragePool": 1,
        "Flatten": 1,
        "Gemm": 1,
    }
    assert_same(run, stable_net, folded, images)


def test_tied_weights_part(stable_net: ir.Model) -> None:
    folded = fold_onnx(stable_net)
    block, transposed = (
        node
        for node in folded.graph
        if node.op_type == "Conv" and node.inputs[0] and node.inputs[0].name in ("u0", "s")
    )
    assert block.inputs[1] is not transposed.inputs[1]
    assert block.name == "block"


@pytest.mark.parametrize("opset", [7, 9, 11, 13, 17, 21, 22])
def test_models_of_old_and_new_opsets_are_read(opset: int, build: Build, run: Run) -> None:
    rng = np.random.default_rng(opset)
    late = opset >= 18
    mean = helper.make_node("ReduceMean", ["r", "axes"] if late else ["r"], ["m"], keepdims=0)
    if not late:
        mean.attribute.append(helper.make_attribute("axes", [2, 3]))
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], auto_pad="SAME_UPPER", strides=[2, 2]),
        helper.make_node("Dropout", ["c"], ["d"]),
        helper.make_node("Relu", ["d"], ["r"]),
        mean,
        helper.make_node("MatMul", ["m", "fc"], ["p"]),
        helper.make_node("Add", ["p", "b"], ["y"]),
    ]
    shapes = {"w": (6, 3, 3, 3), "fc": (6, 5), "b": (5,)}
    constants: dict[str, NDArray[Any]] = {
        name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()
    }
    if late:
        constants["axes"] = np.array([2, 3])
    model = build(nodes, constants, ["n", 3, 8, 8], opset=opset)
    folded = fold_onnx(model)
    assert folded.opset_imports[""] == max(opset, 21)
    assert list(operators(folded)) == ["Conv", "Relu", "GlobalAveragePool", "Flatten", "Gemm"]
    assert_same(run, model, folded, rng.normal(size=(2, 3, 8, 8)).astype(np.float32))


@pytest.mark.parametrize("mode", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize(("size", "stride"), [(8, 1), (8, 2), (9, 2), (7, 3)])
def test_implicit_padding_becomes_explicit(
    mode: str, size: int, stride: int, build: Build, run: Run
) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], auto_pad=mode, strides=[stride, stride]),
        helper.make_node("MaxPool", ["c"], ["y"], kernel_shape=[2, 2], auto_pad=mode),
    ]
    model = build(
        nodes, {"w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32)}, ["n", 3, size, size]
    )
    folded = fold_onnx(model)
    assert all("auto_pad" not in node.attributes for node in folded.graph)
    assert_same(run, model, folded, rng.normal(size=(2, 3, size, size)).astype(np.float32))


def test_gemm_loses_its_factors_and_its_layout(build: Build, run: Run) -> None:
    rng = np.random.default_rng(0)
    node = helper.make_node("Gemm", ["x", "w", "b"], ["y"], alpha=0.5, beta=-2.0)
    model = build(
        [node],
        {"w": rng.normal(size=(6, 4)).astype(np.float32), "b": np.array([[3.0]], np.float32)},
        ["n", 6],
    )
    folded = fold_onnx(model)
    assert {name: attribute.value for name, attribute in folded.graph[0].attributes.items()} == {
        "transB": 1
    }
    assert_same(run, model, folded, rng.normal(size=(2, 6)).astype(np.float32))


def test_padding_with_zeros_joins_the_convolution_behind_it(build: Build, run: Run) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Pad", ["x", "pads"], ["p"]),
        helper.make_node("Conv", ["p", "w"], ["y"], pads=[1, 0, 0, 1]),
    ]
    constants = {
        "pads": np.array([0, 0, 1, 2, 0, 0, 3, 0]),
        "w": rng.normal(size=(4, 3, 3, 3)).astype(np.float32),
    }
    model = build(nodes, constants, ["n", 3, 8, 8])
    folded = fold_onnx(model)
    assert operators(folded) == {"Conv": 1}
    assert_same(run, model, folded, rng.normal(size=(2, 3, 8, 8)).astype(np.float32))


def test_a_factor_on_a_tensor_that_others_read_is_not_folded(build: Build, run: Run) -> None:
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("Mul", ["c", "two"], ["m"]),
        helper.make_node("Add", ["c", "m"], ["y"]),
    ]
    model = build(
        nodes,
        {"w": rng.normal(size=(3, 3, 1, 1)).astype(np.float32), "two": np.float32(2)},
        ["n", 3, 4, 4],
    )
    folded = fold_onnx(model)
    assert operators(folded)["Mul"] == 1
    assert_same(run, model, folded, rng.normal(size=(2, 3, 4, 4)).astype(np.float32))


def test_a_fold_that_leaves_float32_is_refused(build: Build) -> None:
    norm = {
        name: np.full(3, value, np.float32)
        for name, value in (("g", 1.0), ("b", 0.0), ("m", 0.0), ("v", -1.0))
    }
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"]),
        helper.make_node("BatchNormalization", ["c", *norm], ["y"]),
    ]
    model = build(nodes, {"w": np.ones((3, 3, 1, 1), np.float32), **norm}, ["n", 3, 8, 8])
    with pytest.raises(ArtefactError, match="not finite"):
        fold_onnx(model)
