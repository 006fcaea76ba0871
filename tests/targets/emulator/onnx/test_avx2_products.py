"""The products of the AVX2 profile against ONNX Runtime's own AVX2 kernels, integer by integer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models.qoperator_models import LEAST
from tests.support.runtimes.avx2 import (
    OPSETS,
    PROCESSORS,
    SCALE,
    answers,
    between,
    in_qdq,
    predicted,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    Case = tuple[onnx.ModelProto, NDArray[np.float32]]
pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)


# ---- products ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Layer:
    """A convolution, or a product of matrices where ``kernel`` is 0, of random integers.

    Attributes:
        inputs: its channels, or the length of a row.
        outputs: its filters, or columns.
        kernel: the width of its filters.
        zero: the zero point of the input, counted from the type's least integer.
        groups: of channels.
        kind: the type of activations.
        stored: the type of weights.
        weight_zero: their zero point.
        channels: whether weights have a scale for each output channel.
        form: how the file is written.
        op: the operator, where ``kernel`` is 0.
    """

    inputs: int
    outputs: int
    kernel: int
    zero: int
    groups: int = 1
    kind: str = "uint8"
    stored: str = "int8"
    weight_zero: int = 0
    channels: bool = True
    form: str = "qoperator"
    op: str = "QGemm"

    @property
    def name(self) -> str:
        parts = (
            self.inputs,
            self.outputs,
            self.kernel,
            self.zero,
            self.groups,
            self.kind,
            self.stored,
            self.weight_zero,
            self.form,
            self.op[1:],
        )
        return "-".join(str(part) for part in parts)

    @property
    def pairs(self) -> bool:
        """Whether MLAS adds pairs: uint8 by int8, and not in depthwise convolutions.

        The optimiser makes uint8 of a QDQ file's int8 activations, and leaves a QOperator file's.
        """
        unsigned = self.kind == "uint8" or self.form == "qdq"
        return (
            unsigned
            and self.stored == "int8"
            and not (self.kernel and self.inputs == self.outputs == self.groups)
        )

    def case(self) -> Case:
        random = np.random.default_rng(self.inputs + self.outputs)
        taps = (
            (self.inputs // self.groups, self.kernel, self.kernel)
            if self.kernel
            else (self.inputs,)
        )
        weights = (
            np.clip(np.rint(random.normal(0, 70, (self.outputs, *taps))), -128, 127).astype(
                np.int64
            )
            - LEAST[self.stored]
            - 128
        )
        weights = weights.astype(self.stored)
        scales = random.uniform(0.005, 0.01, self.outputs).astype(np.float32)
        shape = (
            (self.inputs, 6, 6)
            if self.kernel
            else (5, self.inputs)
            if self.op == "QLinearMatMul"
            else (self.inputs,)
        )
        bias = random.integers(-3000, 3000, self.outputs).astype(np.int32)
        ends = [
            ("ws", scales if self.channels else scales[0]),
            ("wz", np.full(self.outputs if self.channels else (), self.weight_zero, self.stored)),
        ]
        grid: list[tuple[str, Any]] = [("ys", None), ("yz", None)]
        out = float(SCALE * 0.008 * 90 * np.sqrt(np.prod(taps))), 101
        if self.kernel:
            operands = [("w", weights), *ends, *grid, ("b", bias)]
            kind, attributes = (
                "QLinearConv",
                {
                    "pads": [self.kernel // 2] * 4,
                    "group": self.groups,
                    "kernel_shape": [self.kernel] * 2,
                },
            )
        elif self.op == "QLinearMatMul":
            operands, kind, attributes = [("w", weights.T.copy()), *ends, *grid], self.op, {}
        else:
            operands, kind, attributes = (
                [("w", weights), *ends, ("b", bias), *grid],
                self.op,
                {"transB": 1},
            )
        model = between(kind, self.kind, shape, operands, out, self.zero, **attributes)
        stored = random.integers(0, 256, (3, *shape))
        return model if self.form == "qoperator" else in_qdq(model), (
            (stored - self.zero) * SCALE
        ).astype(np.float32)


_SHAPES = [
    *(Layer(16, 16, 3, zero) for zero in (0, 117, 255)),
    # other kernels where the channels are no multiple of four
    *(Layer(inputs, 8, 3, 120) for inputs in (3, 5)),
    Layer(512, 8, 1, 120),
    *(Layer(inputs, 24, 1, 3) for inputs in (7, 32)),
    Layer(16, 32, 3, 9, groups=4),
    Layer(6, 6, 2, 9, groups=2),
    Layer(8, 16, 3, 11, groups=8),
    Layer(16, 16, 3, 11, groups=16),
    Layer(5, 5, 3, 11, groups=5),
    Layer(1, 1, 3, 11),
    Layer(1, 3, 3, 11),
    *(Layer(inputs, 10, 0, 13) for inputs in (63, 64, 512)),
    *(Layer(inputs, 9, 0, 200, op="QLinearMatMul") for inputs in (7, 32)),
]
_TYPES: list[dict[str, Any]] = [
    {"form": "qdq"},
    {"kind": "int8"},
    {"kind": "int8", "form": "qdq"},
    {"stored": "uint8", "weight_zero": 128},
    {"stored": "uint8", "weight_zero": 97, "form": "qdq", "channels": False},
    {"kind": "int8", "form": "qdq", "channels": False},
    {"weight_zero": -3},
]
LAYERS = {
    layer.name: layer
    for layer in (*_SHAPES, *(replace(shape, **kind) for shape in _SHAPES for kind in _TYPES))
}


@pytest.fixture(scope="module", params=PROCESSORS)
def products(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, NDArray[np.float32]]:
    """What the kernels answer, by layer."""
    return answers(
        request.param,
        tmp_path_factory.mktemp("products"),
        {name: layer.case() for name, layer in LAYERS.items()},
    )


@pytest.mark.parametrize("layer", LAYERS.values(), ids=lambda layer: layer.name)
def test_every_integer_of_a_product_is_predicted(
    layer: Layer, products: dict[str, NDArray[np.float32]], tmp_path: Path
) -> None:
    found, stats = predicted(tmp_path, *layer.case())
    assert np.array_equal(found, products[layer.name])
    assert (stats.pairs > 0) == layer.pairs


def two_activations(reads: int) -> Case:
    """A product of a tensor with itself, turned, as int8.

    Read twice it stays int8, and its pairs saturate.
    """
    integers = {
        "xs": np.float32(SCALE),
        "xz": np.uint8(100),
        "ts": np.float32(SCALE),
        "tz": np.int8(3),
        "ys": np.float32(0.11),
        "yz": np.uint8(99),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "xs", "xz"], ["d"]),
        helper.make_node("Transpose", ["d"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("QuantizeLinear", ["turned", "ts", "tz"], ["tq"]),
        helper.make_node("DequantizeLinear", ["tq", "ts", "tz"], ["td"]),
    ]
    for i in range(reads):
        nodes += [
            helper.make_node("MatMul", ["d", "td"], [f"m{i}"], name=f"product{i}"),
            helper.make_node("QuantizeLinear", [f"m{i}", "ys", "yz"], [f"mq{i}"]),
            helper.make_node("DequantizeLinear", [f"mq{i}", "ys", "yz"], [f"y{i}"]),
        ]
    if reads > 1:
        nodes += [helper.make_node("Concat", [f"y{i}" for i in range(reads)], ["joined"], axis=1)]
        nodes += [
            helper.make_node("QuantizeLinear", ["joined", "ys", "yz"], ["jq"]),
            helper.make_node("DequantizeLinear", ["jq", "ys", "yz"], ["y"]),
        ]
    last = "y0" if reads == 1 else "y"
    ends = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 9, 6]),
        helper.make_tensor_value_info(last, TensorProto.FLOAT, None),
    )
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in integers.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "g", [ends[0]], [ends[1]], stored),
        opset_imports=OPSETS,
        ir_version=8,
    )
    return model, (np.random.default_rng(3).integers(-100, 156, (4, 9, 6)) * SCALE).astype(
        np.float32
    )


@pytest.mark.parametrize("processor", PROCESSORS)
@pytest.mark.parametrize("reads", [1, 2])
def test_products_of_two_activations_are_predicted(
    processor: Sequence[str], reads: int, tmp_path: Path
) -> None:
    case = two_activations(reads)
    found, stats = predicted(tmp_path, *case)
    assert np.array_equal(found, answers(processor, tmp_path, {"case": case})["case"])
    assert (stats.pairs > 0) == (reads > 1)
