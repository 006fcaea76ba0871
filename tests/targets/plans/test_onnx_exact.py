"""QOperator files on the targets.

The reference exact on every processor, the others as they are or in their QDQ form.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import QuantFormat
from tests.support.models.qoperator_models import everything, one_operator, quantized, residual, run
from tests.support.runtimes.worker_targets import WORKERS

from edgeq.errors import TargetError
from edgeq.plan import Planner
from edgeq.quant import QuantizedTensor
from edgeq.target import TARGETS
from edgeq.targets.ort import cpu, cpu_reference
from edgeq.targets.plans.onnx_exact import exact_form

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.plan import Plan

pytestmark = pytest.mark.filterwarnings(
    "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
)
TYPES = pytest.mark.parametrize(
    ("activations", "weights"), [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")]
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """A network of all operators, by the types of its activations and weights."""
    net, output = everything()
    folder, kinds = (
        tmp_path_factory.mktemp("qoperator"),
        (("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")),
    )
    return {
        (a, w): quantized(folder, net.model(output), net.samples(8), activations=a, weights=w)
        for a, w in kinds
    }


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    onnx.save(model, folder / "model.onnx")
    return folder / "model.onnx"


def plan(target: str, path: Path) -> Plan:
    planner = TARGETS.load(target)
    assert isinstance(planner, Planner)
    return planner.plan(path)


# ---- exact on every processor --------------------------------------------------------------------


def strong(op_type: str) -> onnx.ModelProto:
    """uint8 inputs and int8 weights whose pairs leave 16 bits, between Q and DQ."""
    rng = np.random.default_rng(0)
    shape: tuple[int, ...] = (1, 16, 8, 8) if op_type == "QLinearConv" else (1, 64)
    weights = rng.integers(
        -127, 128, (8, 16, 1, 1) if op_type == "QLinearConv" else (64, 8)
    ).astype(np.int8)
    constants = {
        "xs": np.float32(0.02),
        "xz": np.uint8(0),
        "w": weights,
        "ws": np.float32(0.01),
        "wz": np.int8(0),
        "ys": np.float32(0.5),
        "yz": np.uint8(128),
    }
    order = ["q", "xs", "xz", "w", "ws", "wz", *([""] if op_type == "QGemm" else []), "ys", "yz"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "xs", "xz"], ["q"]),
        helper.make_node(
            op_type, order, ["c"], name="node", domain="com.microsoft" if op_type == "QGemm" else ""
        ),
        helper.make_node("DequantizeLinear", ["c", "ys", "yz"], ["y"]),
    ]
    ends = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, shape),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, None),
    )
    stored = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    model: onnx.ModelProto = helper.make_model(
        helper.make_graph(nodes, "strong", [ends[0]], [ends[1]], stored),
        opset_imports=opsets,
        ir_version=8,
    )
    return model


@pytest.mark.parametrize("op_type", ["QLinearConv", "QLinearMatMul", "QGemm"])
def test_the_reference_is_exact_where_kernels_add_pairs_in_16_bits(
    tmp_path: Path, op_type: str
) -> None:
    model = strong(op_type)
    weights = numpy_helper.to_array(
        next(each for each in model.graph.initializer if each.name == "w")
    ).astype(np.int64)
    images = (
        np.random.default_rng(1)
        .uniform(
            0, 5.1, (4, *[d.dim_value for d in model.graph.input[0].type.tensor_type.shape.dim][1:])
        )
        .astype(np.float32)
    )
    stored = np.clip(np.rint(images / np.float32(0.02)), 0, 255).astype(np.int64)
    sums = (
        np.einsum("oc,nchw->nohw", weights[:, :, 0, 0], stored)
        if op_type == "QLinearConv"
        else stored @ weights
    )
    position = sums * (0.02 * 0.01 / 0.5)
    expected = (np.clip(np.rint(position) + 128, 0, 255) - 128) * 0.5
    tie = np.abs(position - np.floor(position) - 0.5) < 1e-4
    with cpu_reference.open(saved(tmp_path, model)) as session:
        assert np.array_equal(session.run(images)[~tie], expected[~tie].astype(np.float32))


def test_dynamic_quantisation_is_exact_on_the_reference(tmp_path: Path) -> None:
    """127 times 255 twice leaves 16 bits; the same weights as uint8 do not."""
    weights = np.full((8, 4), 127, np.int8)
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["x"], ["q", "s", "z"]),
        helper.make_node("MatMulInteger", ["q", "w", "z"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "s"], ["y"]),
    ]
    ends = (
        helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8]),
        helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4]),
    )
    graph = helper.make_graph(
        nodes, "dynamic", [ends[0]], [ends[1]], [numpy_helper.from_array(weights, "w")]
    )
    path = saved(
        tmp_path,
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
    )
    images = np.ones((1, 8), np.float32)
    with cpu_reference.open(path) as session, cpu.open(path) as fast:
        assert np.allclose(session.run(images), 8 * 127, rtol=1e-6)
        assert fast.run(images).shape == (1, 4)  # as the processor computes it
    assert [op.macs for op in plan("ort-cpu", path).ops if op.macs] == [32]


def integers(low: int, *shape: int, seed: int = 0) -> NDArray[np.int64]:
    return np.random.default_rng(seed).integers(low, low + 256, shape)


def dynamic_lstm() -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    data = {"x": np.random.default_rng(2).standard_normal((5, 1, 16)).astype(np.float32)}
    weights = {"w": integers(-128, 1, 16, 32), "r": integers(-128, 1, 8, 32, seed=1)}
    inputs: list[tuple[str, Any]] = [
        ("x", None),
        *((name, value.astype(np.int8)) for name, value in weights.items()),
    ]
    inputs += [(name, np.zeros((1, 64), np.float32) if name == "b" else 0.0) for name in ("b",)]
    inputs += [("", None)] * 4
    for name in ("w", "r"):
        inputs += [
            (f"{name}_scale", np.array([0.01], np.float32)),
            (f"{name}_zero", np.array([0], np.int8)),
        ]
    return one_operator("DynamicQuantizeLSTM", inputs, data, hidden_size=8), data


def attention() -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    data = {"x": integers(0, 1, 4, 16).astype(np.uint8)}
    inputs = [
        ("x", None), ("w", integers(-128, 16, 48).astype(np.int8)), ("b", np.zeros(48, np.float32)),
        ("xs", np.float32(0.01)), ("ws", np.float32(0.01)), ("", None),
        ("xz", np.uint8(7)), ("wz", np.int8(0)),
    ]  # fmt: skip
    return one_operator("QAttention", inputs, data, output=TensorProto.FLOAT, num_heads=2), data


def dynamic_product() -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    data = {"x": np.random.default_rng(2).standard_normal((5, 16)).astype(np.float32)}
    inputs = [
        ("x", None),
        ("w", integers(-128, 16, 8).astype(np.int8)),
        ("ws", np.float32(0.01)),
        ("wz", np.int8(3)),
    ]
    return one_operator("DynamicQuantizeMatMul", inputs, data), data


def scaled_product() -> tuple[onnx.ModelProto, dict[str, NDArray[Any]]]:
    data = {"x": integers(0, 5, 16).astype(np.uint8)}
    inputs = [
        ("x", None), ("w", integers(-128, 16, 8).astype(np.int8)), ("xs", np.float32(0.02)),
        ("ws", np.full(8, 0.01, np.float32)),
        ("xz", np.uint8(9)), ("wz", np.full(8, 2, np.int8)),
    ]  # fmt: skip
    return one_operator("MatMulIntegerToFloat", inputs, data, output=TensorProto.FLOAT), data


@pytest.mark.parametrize("made", [dynamic_lstm, attention, dynamic_product, scaled_product])
def test_operators_without_a_qdq_form_get_the_same_weights_as_uint8(made: Any) -> None:
    """Halved weights cannot saturate, so the file shows that nothing else has changed."""
    model, data = made()
    found = exact_form(model)
    kinds = {each.name: each.data_type for each in found.graph.initializer}
    assert any(
        kinds[name] == TensorProto.UINT8 for name in found.graph.node[0].input if name in kinds
    )
    for each in model.graph.initializer:
        if each.data_type == TensorProto.INT8 and len(each.dims) > 1:
            each.CopyFrom(
                numpy_helper.from_array(
                    (numpy_helper.to_array(each) // 2).astype(np.int8), each.name
                )
            )
    assert np.allclose(run(exact_form(model), data)[0], run(model, data)[0], rtol=1e-6, atol=1e-6)


def test_products_of_two_computed_operands_that_may_saturate_are_refused_by_the_reference() -> None:
    data = {"x": integers(0, 2, 8).astype(np.uint8), "w": integers(-128, 8, 4).astype(np.int8)}
    model = one_operator(
        "MatMulInteger", [("x", None), ("w", None)], data, domain="", output=TensorProto.INT32
    )
    with pytest.raises(
        TargetError,
        match="MatMulInteger 'node' multiplies uint8 by int8 numbers that are computed at run time",
    ):
        exact_form(model)


def test_what_is_exact_already_is_left_alone() -> None:
    data = {"x": integers(-128, 2, 8).astype(np.int8)}
    model = one_operator(
        "MatMulInteger",
        [("x", None), ("w", integers(-128, 8, 4).astype(np.int8))],
        data,
        domain="",
        output=TensorProto.INT32,
    )
    assert np.array_equal(run(exact_form(model), data)[0], run(model, data)[0])
    assert exact_form(model).graph.node[0].input[1] == "w"
    float_model = onnx.ModelProto()
    assert exact_form(float_model) is float_model


# ---- every target --------------------------------------------------------------------------------


@TYPES
def test_the_emulator_gives_every_integer_of_the_reference(
    files: dict[tuple[str, str], Path], activations: str, weights: str
) -> None:
    path, images = files[activations, weights], everything()[0].samples(6)
    with (
        cpu_reference.open(path, intermediates=True) as reference,
        TARGETS.load("emulator").open(path, intermediates=True) as emulated,
    ):
        expected, found = reference.tensors(images), emulated.tensors(images)
        assert np.array_equal(reference.run(images), emulated.run(images))
    assert len(expected) == 15  # those that a quantiser makes; the others only move
    for name, tensor in expected.items():
        assert isinstance(tensor, QuantizedTensor)
        other = found[name]
        assert isinstance(other, QuantizedTensor)
        assert np.array_equal(other.centered(), tensor.centered()), name


@TYPES
def test_the_optimised_target_runs_the_file_as_it_is_and_shows_the_same_tensors(
    files: dict[tuple[str, str], Path], activations: str, weights: str
) -> None:
    path, images = files[activations, weights], everything()[0].samples(3)
    with (
        cpu.open(path, intermediates=True) as fast,
        cpu_reference.open(path, intermediates=True) as slow,
    ):
        assert "QLinearConv 4" in fast.facts["operators"]
        assert "QLinear" not in slow.facts["operators"]
        shown, expected = fast.tensors(images), slow.tensors(images)
        assert set(shown) <= set(expected)
        assert {name: fast.grids[name] for name in shown} == {
            name: slow.grids[name] for name in shown
        }
        assert np.array_equal(fast.run(images), cpu.open(path).run(images))


@pytest.mark.parametrize("target", ["ort-cpu", "ort-cpu-ref", "emulator"])
def test_the_multiplications_are_those_of_the_same_network_as_qdq(
    tmp_path: Path, files: dict[tuple[str, str], Path], target: str
) -> None:
    net, output = everything()
    same = quantized(tmp_path, net.model(output), net.samples(4), form=QuantFormat.QDQ)
    found, expected = plan(target, files["uint8", "int8"]), plan(target, same)
    assert (
        [op.macs for op in found.ops if op.macs]
        == [op.macs for op in expected.ops if op.macs]
        == [13824, 4608, 4096, 9216, 12800, 80]
    )
    if target == "ort-cpu":
        assert {op.arithmetic for op in found.ops} == {"integer"}


def test_a_worker_gets_the_form_that_its_runtime_has_kernels_for(
    files: dict[tuple[str, str], Path],
) -> None:
    able = WORKERS["worker-ort"]
    unable = replace(
        able, capabilities=replace(able.capabilities, qoperator=False), options={"optimize": False}
    )
    path, images = files["uint8", "int8"], everything()[0].samples(2)
    with (
        able.open(path) as as_written,
        unable.open(path) as in_qdq,
        cpu.open(path) as fast,
        cpu_reference.open(path) as exact,
    ):
        assert np.array_equal(as_written.run(images), fast.run(images))
        assert np.array_equal(in_qdq.run(images), exact.run(images))


def test_a_real_network_keeps_its_accuracy(data_dir: Path, tmp_path: Path) -> None:
    """MLPerf Tiny's ResNet-8, quantised by ONNX Runtime: 439 of 500 in float."""
    test = np.load(data_dir / "cifar10-lossless" / "test.npz")
    images = test["images"].astype(np.float32).transpose(0, 3, 1, 2)
    source = onnx.version_converter.convert_version(
        onnx.load(data_dir / "models" / "resnet8-float.onnx"), 17
    )
    path = quantized(tmp_path, source, images[:32], name=source.graph.input[0].name)
    with cpu_reference.open(path) as session, TARGETS.load("emulator").open(path) as emulated:
        found = session.run(images)
        assert np.array_equal(found[:100], emulated.run(images[:100]))
    assert (found.argmax(1) == test["labels"]).sum() >= 434


def test_residual_networks_too(tmp_path: Path) -> None:
    net, output = residual()
    path = quantized(tmp_path, net.model(output), net.samples(8), per_channel=True)
    with cpu_reference.open(path) as session, TARGETS.load("emulator").open(path) as emulated:
        assert np.array_equal(session.run(net.samples(20)), emulated.run(net.samples(20)))
    assert onnxruntime.__version__ == cpu.probe().versions["onnxruntime"]
