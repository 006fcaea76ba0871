"""Functions of one tensor and arithmetic on activations, calibrated.

Near the float model, and 1 LSB at most between the runtimes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper
from tests.support.checks.calibrated import CHANNELS, SIZE, between, hold, weights

if TYPE_CHECKING:
    import onnx

node, single = helper.make_node, np.float32
LINE = np.linspace(0.1, 0.5, CHANNELS).astype(np.float32)


@pytest.mark.parametrize(
    ("operator", "attributes"),
    [
        *(
            (name, {})
            for name in (
                "Sigmoid",
                "Tanh",
                "HardSwish",
                "Elu",
                "Selu",
                "Celu",
                "Softplus",
                "Softsign",
                "Gelu",
                "Mish",
            )
        ),
        *((name, {}) for name in ("Abs", "Erf", "Exp")),
        ("HardSigmoid", {"alpha": 0.3}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("Gelu", {"approximate": "tanh"}),
        ("Softmax", {"axis": 1}),
        ("Softmax", {"axis": 3}),
    ],
)
def test_a_function_has_grids_of_its_own(operator: str, attributes: dict[str, Any]) -> None:
    held = hold(between([node(operator, ["c"], ["t"], **attributes)]))
    held.require()
    assert held.computing == ["Conv", operator, "Conv"]


SPELT: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "x sigmoid(x)": ([node("Sigmoid", ["c"], ["s"]), node("Mul", ["c", "s"], ["t"])], {}),
    "gelu by erf": (
        [
            node("Div", ["c", "root"], ["a"]),
            node("Erf", ["a"], ["b"]),
            node("Add", ["b", "one"], ["d"]),
            node("Mul", ["c", "d"], ["e"]),
            node("Mul", ["e", "half"], ["t"]),
        ],
        {"root": single(2**0.5), "one": single(1), "half": single(0.5)},
    ),
    "x relu6(x + 3) / 6": (
        [
            node("Add", ["c", "three"], ["a"]),
            node("Clip", ["a", "zero", "six"], ["b"]),
            node("Mul", ["c", "b"], ["d"]),
            node("Div", ["d", "six"], ["t"]),
        ],
        {"three": single(3), "zero": single(0), "six": single(6)},
    ),
    "square": ([node("Pow", ["c", "two"], ["t"])], {"two": single(2)}),
}


@pytest.mark.parametrize("name", SPELT)
def test_nothing_is_stored_within_a_function_of_several_nodes(name: str) -> None:
    nodes, constants = SPELT[name]
    held = hold(between(nodes, constants))
    held.require()
    # of input, convolution, function, output
    assert [each.op_type for each in held.quantized.graph].count("QuantizeLinear") == 4


CLIPPED: dict[str, tuple[list[onnx.NodeProto], dict[str, Any], list[str]]] = {
    "both signs": (
        [node("Clip", ["c", "low", "high"], ["t"])],
        {"low": single(-1), "high": single(1)},
        ["Clip"],
    ),
    "above zero": (
        [node("Clip", ["c", "low", "high"], ["t"])],
        {"low": single(0.2), "high": single(1)},
        ["Clip"],
    ),
    "maximum with a number": ([node("Max", ["c", "low"], ["t"])], {"low": single(0.5)}, ["Clip"]),
    "maximum with zero": ([node("Max", ["low", "c"], ["t"])], {"low": single(0)}, ["Relu"]),
    "relu6 in two": (
        [node("Relu", ["c"], ["m"]), node("Min", ["m", "high"], ["t"])],
        {"high": single(1)},
        ["Relu"],
    ),
}


@pytest.mark.parametrize("name", CLIPPED)
def test_bounds_are_one_clip(name: str) -> None:
    nodes, constants, expected = CLIPPED[name]
    held = hold(between(nodes, constants))
    held.require()
    assert held.computing == ["Conv", *expected, "Conv"]


ARITHMETIC: dict[str, tuple[list[onnx.NodeProto], dict[str, Any]]] = {
    "slope for each channel": (
        [node("PRelu", ["c", "slope"], ["t"])],
        {"slope": LINE.reshape(-1, 1, 1)},
    ),
    "one slope": ([node("PRelu", ["c", "slope"], ["t"])], {"slope": np.array([0.25], single)}),
    "difference": ([node("Relu", ["c"], ["a"]), node("Sub", ["a", "c"], ["t"])], {}),
    "product": ([node("Relu", ["c"], ["a"]), node("Mul", ["a", "c"], ["t"])], {}),
    "quotient": ([node("Softplus", ["c"], ["a"]), node("Div", ["c", "a"], ["t"])], {}),
    "sum of three": (
        [
            node("Relu", ["c"], ["a"]),
            node("Tanh", ["c"], ["b"]),
            node("Sum", ["a", "b", "c"], ["t"]),
        ],
        {},
    ),
    "sum with an image": (
        [node("Relu", ["c"], ["r"]), node("Add", ["r", "map"], ["t"])],
        {"map": weights(1, CHANNELS, SIZE, SIZE)},
    ),
    "product with an image": (
        [node("Relu", ["c"], ["r"]), node("Mul", ["r", "map"], ["t"])],
        {"map": weights(1, 1, SIZE, SIZE)},
    ),
    "one less": (
        [node("Relu", ["c"], ["r"]), node("Sub", ["one", "r"], ["t"])],
        {"one": single(1)},
    ),
    "squeeze and excite": (
        [
            node("GlobalAveragePool", ["c"], ["g"]),
            node("Conv", ["g", "excite"], ["e"]),
            node("HardSigmoid", ["e"], ["s"]),
            node("Mul", ["c", "s"], ["t"]),
        ],
        {"excite": weights(CHANNELS, CHANNELS, 1, 1, seed=4)},
    ),
    "attention": (
        [
            node("Reshape", ["c", "flat"], ["q"]),
            node("Transpose", ["q"], ["k"], perm=[0, 2, 1]),
            node("MatMul", ["q", "k"], ["l"]),
            node("Div", ["l", "eight"], ["scaled"]),
            node("Softmax", ["scaled"], ["p"]),
            node("MatMul", ["p", "q"], ["o"]),
            node("Reshape", ["o", "image"], ["t"]),
        ],
        {
            "flat": np.array([0, CHANNELS, 64]),
            "image": np.array([0, CHANNELS, SIZE, SIZE]),
            "eight": single(8),
        },
    ),
}


@pytest.mark.parametrize("name", ARITHMETIC)
def test_arithmetic_of_activations(name: str) -> None:
    nodes, constants = ARITHMETIC[name]
    hold(between(nodes, constants)).require()


@pytest.mark.parametrize(
    "operator",
    [
        "ReduceSum",
        "ReduceMax",
        "ReduceMin",
        "ReduceL1",
        "ReduceL2",
        "ReduceSumSquare",
        "ReduceMean",
    ],
)
def test_reductions(operator: str) -> None:
    hold(
        between([node(operator, ["c", "axes"], ["t"], keepdims=1)], {"axes": np.array([2, 3])})
    ).require()


def test_a_softmax_of_an_old_opset_is_over_all_that_follows_its_axis() -> None:
    held = hold(between([node("Softmax", ["c"], ["t"], axis=1)], opset=11))
    held.require()
    assert "Flatten" in held.computing


def test_a_logarithm_of_a_softmax_at_the_end_stays_in_float() -> None:
    last = [
        node("GlobalAveragePool", ["c"], ["g"]),
        node("Flatten", ["g"], ["f"]),
        node("Gemm", ["f", "w"], ["l"], transB=1),
    ]
    model = between([], {"w": weights(5, CHANNELS)}, last=[*last, node("LogSoftmax", ["l"], ["y"])])
    held = hold(model)
    held.require()
    assert held.quantized.graph[-1].op_type == "LogSoftmax"


@pytest.mark.parametrize(
    ("operator", "scale", "zero"), [("Sigmoid", 2.0**-8, 0), ("Tanh", 2.0**-7, 128)]
)
def test_the_grid_that_kernels_write_is_taken_where_the_range_fills_it(
    operator: str, scale: float, zero: int
) -> None:
    wide = {"first": weights(CHANNELS, 3, 3, 3) * 4}
    made = hold(between([node(operator, ["c"], ["t"])], wide)).quantized
    assert _number(made, "t_scale") == scale
    assert _number(made, "t_zero_point") == zero
    narrow = {"first": weights(CHANNELS, 3, 3, 3) / 50}
    if operator == "Tanh":
        assert (
            _number(hold(between([node(operator, ["c"], ["t"])], narrow)).quantized, "t_scale")
            < scale / 4
        )


def _number(model: Any, name: str) -> float:
    return float(model.graph.initializers[name].const_value.numpy())
