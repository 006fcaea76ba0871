"""The AVX2 profile against the real thing, ONNX Runtime's own AVX2 kernels.

Every integer of products, sums, means and networks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from tests.support.models.qdq_models import Graph, Grid
from tests.support.models.qoperator_models import LEAST, everything, quantized, residual
from tests.support.models.x86_graphs import MAKERS, outputs_of
from tests.support.runtimes.avx2 import PROCESSORS, answers

from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import load, normalize
from edgeq.errors import TargetError
from edgeq.exporters.torch.lower import lower
from edgeq.formats.onnx_io import serialize
from edgeq.models import zoo
from edgeq.qdq.qoperator.convert import as_qdq
from edgeq.target import TARGETS
from edgeq.targets.emulator.arithmetic.numerics import OverflowStats

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.targets.emulator.session import EmulatorSession

    Case = tuple[onnx.ModelProto, NDArray[np.float32]]

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)
_OPSETS = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
SCALE = 0.0371


def predicted(
    folder: Path, model: onnx.ModelProto, samples: NDArray[np.float32]
) -> tuple[NDArray[np.float32], OverflowStats]:
    onnx.save(model, folder / "model.onnx")
    with cast(
        "EmulatorSession", TARGETS.load("emulator:avx2").open(folder / "model.onnx")
    ) as session:
        found = session.run(samples)
        return found, sum((layer.stats for layer in session.layers()), OverflowStats())


def in_qdq(model: onnx.ModelProto) -> onnx.ModelProto:
    found: onnx.ModelProto = ir.to_proto(as_qdq(ir.from_proto(model)))
    return found


def between(
    op_type: str,
    kind: str,
    shape: Sequence[int],
    operands: Sequence[tuple[str, Any]],
    out: tuple[float, int],
    zero: int,
    **attributes: Any,
) -> onnx.ModelProto:
    """A QOperator between a quantiser of real numbers and a dequantiser.

    Args:
        op_type: its operator.
        kind: the type of activations.
        shape: of one sample.
        operands: what stands behind the first operand's grid, a grid of the result among them as
            ``ys`` and ``yz``.
        out: scale of the result, and its zero point counted from the type's least integer.
        zero: of the input, likewise.
        attributes: of the node.
    """
    constants = {
        "xs": np.float32(SCALE),
        "xz": np.array(zero + LEAST[kind], kind),
        "ys": np.float32(out[0]),
        "yz": np.array(out[1] + LEAST[kind], kind),
    }
    constants |= {name: value for name, value in operands if value is not None}
    own = [name for name, _ in operands]
    domain = "" if op_type in ("QLinearConv", "QLinearMatMul") else "com.microsoft"
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node(
            op_type, ["q", "xs", "xz", *own], ["c"], name="node", domain=domain, **attributes
        ),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]
    ends = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, *shape]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    )
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "g", [ends[0]], [ends[1]], stored),
        opset_imports=_OPSETS,
        ir_version=8,
    )
    return model


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
        """Whether MLAS adds pairs: uint8 by int8, and not where each channel has a filter of its own.

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
_TYPES = [
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
    for layer in (*_SHAPES, *(replace(shape, **kind) for shape in _SHAPES for kind in _TYPES))  # type: ignore[arg-type]
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
        opset_imports=_OPSETS,
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


# ---- sums, means and functions -------------------------------------------------------------------


def _elementwise() -> dict[str, Case]:
    """Whole ranges; scales that put many results on ties, and zero points of both kinds, since they are added before rounding."""
    cases: dict[str, Case] = {}
    grid: list[tuple[str, Any]] = [("ys", None), ("yz", None)]
    for kind in ("uint8", "int8"):
        whole = (np.arange(256) + LEAST[kind]).astype(kind)
        first = ((np.repeat(np.arange(256), 256).reshape(1, 256, 256) - 17) * SCALE).astype(
            np.float32
        )
        second = np.tile(whole, 256).reshape(1, 256, 256)
        small = (np.random.default_rng(5).integers(0, 256, (2, 3, 9, 8)) - 17) * SCALE
        for number, (b, out, zero) in enumerate(
            (
                (SCALE, 2 * SCALE, 100),
                (SCALE, 2 * SCALE, 101),
                (3 * SCALE, 4 * SCALE, 7),
                (0.021, 0.063, 200),
            )
        ):
            other = [
                ("b", second),
                ("bs", np.float32(b)),
                ("bz", np.array(130 + LEAST[kind], kind)),
            ]
            one = [("b", np.array([77 + LEAST[kind]], kind)), *other[1:]]
            built = {
                "add": between("QLinearAdd", kind, (256, 256), [*other, *grid], (out, zero), 17),
                "add-one": between("QLinearAdd", kind, (256, 256), [*one, *grid], (out, zero), 17),
                "mul": between(
                    "QLinearMul", kind, (256, 256), [*other, *grid], (out * SCALE * 30, zero), 17
                ),
            }
            for form in ("qoperator", "qdq"):
                cases |= {
                    f"{name}-{kind}-{number}-{form}": (
                        model if form == "qoperator" else in_qdq(model),
                        first,
                    )
                    for name, model in built.items()
                }
            pools = {
                "pool": between(
                    "QLinearAveragePool",
                    kind,
                    (3, 9, 8),
                    grid,
                    (out / 2, zero),
                    17,
                    kernel_shape=[2, 2],
                    pads=[1, 1, 0, 0],
                ),
                "pool-steps": between(
                    "QLinearAveragePool",
                    kind,
                    (3, 9, 8),
                    grid,
                    (out / 2, zero),
                    17,
                    kernel_shape=[3, 2],
                    strides=[2, 1],
                ),
                "mean": between(
                    "QLinearGlobalAveragePool", kind, (3, 9, 8), grid, (out / 16, zero), 17
                ),
            }
            for form in ("qoperator", "qdq"):
                cases |= {
                    f"{name}-{kind}-{number}-{form}": (
                        model if form == "qoperator" else in_qdq(model),
                        small.astype(np.float32),
                    )
                    for name, model in pools.items()
                }
        functions = {
            "leaky": between(
                "QLinearLeakyRelu", kind, (256,), grid, (SCALE / 3, 11), 17, alpha=0.13
            ),
            "sigmoid": between("QLinearSigmoid", kind, (256,), grid, (1 / 256, 0), 17),
            **{
                f"softmax-{scale}": between(
                    "QLinearSoftmax", kind, (256,), grid, (scale, 0), 200, axis=-1, opset=17
                )
                for scale in (1 / 256, 0.0007)
            },
        }
        line = ((np.arange(256)[None] - 17) * SCALE).astype(np.float32)
        cases |= {f"{name}-{kind}": (model, line) for name, model in functions.items()}
        cases |= {f"{name}-{kind}-qdq": (in_qdq(model), line) for name, model in functions.items()}
    return cases


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_integer_of_sums_means_and_functions_is_predicted(
    processor: Sequence[str], tmp_path: Path
) -> None:
    cases = _elementwise()
    expected = answers(processor, tmp_path, cases)
    wrong = {
        name: int((predicted(tmp_path, *case)[0] != expected[name]).sum())
        for name, case in cases.items()
    }
    assert {name: count for name, count in wrong.items() if count} == {}


# ---- networks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("processor", PROCESSORS)
def test_every_output_of_a_network_is_predicted(processor: Sequence[str], tmp_path: Path) -> None:
    """Networks of 8-bit weights, their residual sums, concatenation and pooling included."""
    source = load("digits")
    images = normalize(source.test.images[:40], source)
    cases: dict[str, Case] = {}
    for name in ("resnet8", "stable-resnet8"):
        torch.manual_seed(1)
        module = lower(zoo.build(name, classes=10, in_channels=1), (1, 8, 8))
        network = quantize_onnx(
            module,
            [normalize(source.train.images[:64], source)],
            CalibrationConfig(pair_safe=False),
        )
        cases[name] = onnx.load_model_from_string(serialize(network)), images
    expected = answers(processor, tmp_path, cases)
    for name, case in cases.items():
        found, stats = predicted(tmp_path, *case)
        assert np.array_equal(found, expected[name]), name
        assert stats.pairs > 0


@pytest.mark.parametrize("processor", PROCESSORS)
def test_files_by_onnx_runtimes_quantizer_are_predicted(
    processor: Sequence[str], tmp_path: Path
) -> None:
    cases: dict[str, Case] = {}
    for name, (net, output) in {"everything": everything(), "residual": residual()}.items():
        for form in (QuantFormat.QOperator, QuantFormat.QDQ):
            for activations, weights in (("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")):
                if form is QuantFormat.QDQ and activations == "int8":
                    continue  # float, since residual sums read them too
                path = quantized(
                    tmp_path,
                    net.model(output),
                    net.samples(8),
                    activations=activations,
                    weights=weights,
                    form=form,
                )
                cases[f"{name}-{path.stem}"] = onnx.load(path), 2 * net.samples(5)
    expected = answers(processor, tmp_path, cases)
    wrong = {
        name: int((predicted(tmp_path, *case)[0] != expected[name]).sum())
        for name, case in cases.items()
    }
    assert wrong == dict.fromkeys(cases, 0)


@pytest.mark.parametrize("processor", PROCESSORS)
def test_graphs_of_which_some_operators_stay_in_float_are_predicted_or_refused_by_name(
    processor: Sequence[str], tmp_path: Path
) -> None:
    cases: dict[str, Case] = {}
    for made in MAKERS:
        for kind in ("uint8", "int8"):
            graph = made(kind)
            model = graph.proto(outputs_of(graph)[0], opset=18)
            shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
            cases[f"{made.__name__}-{kind}"] = (
                model,
                np.random.default_rng(1).uniform(-7, 7, (6, *shape[1:])).astype(np.float32),
            )
    expected, refused = answers(processor, tmp_path, cases), set()
    for name, case in cases.items():
        try:
            found, _ = predicted(tmp_path, *case)
        except TargetError as error:
            assert "ONNX Runtime computes Conv" in error.what  # noqa: PT017
            refused.add(name)
        else:
            assert np.array_equal(found, expected[name]), name
    assert refused == {"residual-int8", "mixed-uint8", "clipped-int8", "clipped-uint8"}


def test_convolutions_that_onnx_runtime_leaves_in_float_are_refused_by_name(tmp_path: Path) -> None:
    net, output = residual()
    path = quantized(
        tmp_path, net.model(output), net.samples(8), activations="int8", form=QuantFormat.QDQ
    )
    with pytest.raises(
        TargetError,
        match="ONNX Runtime computes Conv 'conv0' in float on this machine: it reads uint8 and "
        "gives int8",
    ) as caught:
        TARGETS.load("emulator:avx2").open(path)
    assert "edgeq export FILE --for emulator:avx2" in caught.value.hint


def test_interpolation_of_integers_is_refused(tmp_path: Path) -> None:
    """Between equal grids ONNX Runtime drops the quantisers, and its kernel for bytes has an arithmetic of its own."""
    graph = Graph()
    x = graph.input("x", [1, 4, 6, 6], Grid(0.05, 128))
    graph.op(
        "Resize",
        [x, "", graph.scales_of("factors", [1, 1, 2, 2])],
        "y",
        Grid(0.05, 128),
        mode="linear",
    )
    onnx.save(graph.proto("y_dequantized", opset=18), tmp_path / "net.onnx")
    with pytest.raises(TargetError, match="no arithmetic of avx2 for Resize"):
        TARGETS.load("emulator:avx2").open(tmp_path / "net.onnx")
