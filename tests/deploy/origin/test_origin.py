"""A quantised file against the float network that it was made from, names and folds aside."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.faults.networks import SHAPES, network, samples
from tests.support.faults.origins import origin
from tests.support.faults.running import asked_of_float, complaint, places, planted
from tests.support.models.qdq_models import Graph, Grid

from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.origin.differences import origin_of
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter as tflite
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.deploy.origin.differences import Origin

STATIC = (
    "a weight off by 40",
    "channel zeroed",
    "outputs swapped",
    "bias of a channel +40",
    "BatchNorm folded otherwise",
    "another epsilon",
    "activation scale x1.03",
    "another activation",
    "pads on one side",
    "sums become differences",
)
"""Kinds that are found, a few of each family; the slow test has all."""


@pytest.mark.parametrize("kind", STATIC)
def test_a_fault_is_found_from_the_float_side(kind: str, tmp_path: Path) -> None:
    clean = network("small")
    layer = places(clean, kind, 1)[0]
    made = planted(clean, kind, layer)
    assert made is not None
    (causes,) = asked_of_float(origin(clean), [made[0]], samples(SHAPES["small"]), tmp_path)
    assert complaint(causes, made[1]) == ""


def test_a_clean_file_has_no_cause(tmp_path: Path) -> None:
    clean = network("small")
    assert asked_of_float(origin(clean), [clean], samples(SHAPES["small"]), tmp_path) == [[]]


def test_sixteen_levels_in_front_of_256_finer_ones_reach_as_far(tmp_path: Path) -> None:
    clean = network("stable-resnet8", 4, 4)
    real, file = tmp_path / "real.onnx", tmp_path / "file.onnx"
    real.write_bytes(origin(clean).SerializeToString())
    file.write_bytes(clean.SerializeToString())
    known = {name for node in clean.graph.node for name in node.output}
    assert origin_of(real, file, known).differences == ()


def joined() -> onnx.ModelProto:
    """A Concat of fine values and of coarse ones, which are put on a grid or two of their own."""
    graph = Graph()
    pads: dict[str, Any] = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}
    coarse, fine = Grid(0.4, 8, clip=(0, 15)), Grid(0.025, 128)

    def again(name: str, result: str, grid: Grid) -> str:
        return graph.quantize(graph.node("Identity", [name], result), grid)

    x = graph.input("x", [1, *SHAPES["small"]], Grid(0.03, 120))
    a = graph.weighted("Conv", x, "a", (8, 4, 3, 3), fine, **pads)
    b = graph.weighted("Conv", x, "b", (8, 4, 3, 3), Grid(0.05, 128), **pads)
    short = again(b, "short", coarse)
    part = graph.node("Slice", [short, *(graph.ints(f"p{i}", [i]) for i in (0, 8, 1))], "p")
    ends = again(short, "short_end", fine), again(graph.quantize(part, coarse), "part_end", fine)
    c = graph.op("Concat", [a, *ends], "c", fine, axis=1)
    graph.weighted("Conv", c, "d", (4, 24, 3, 3), Grid(0.1, 128), **pads)
    return graph.proto("d_dequantized")


def test_a_concat_passes_on_what_its_inputs_lost(tmp_path: Path) -> None:
    clean = joined()
    assert asked_of_float(origin(clean), [clean], samples(SHAPES["small"]), tmp_path) == [[]]


def unfolded() -> onnx.ModelProto:
    """A convolution with BatchNormalization and Relu, as many channels as rows and columns."""
    rng = np.random.default_rng(0)
    stored = {
        "w": rng.normal(0, 0.3, (8, 8, 3, 3)),
        "gamma": rng.uniform(0.5, 2, 8),
        "beta": rng.normal(0, 1, 8),
        "mean": rng.normal(0, 1, 8),
        "variance": rng.uniform(0.5, 2, 8),
        "w2": rng.normal(0, 0.3, (4, 512)),
    }
    norm = ["c", "gamma", "beta", "mean", "variance"]
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("BatchNormalization", norm, ["n"]),
        helper.make_node("Relu", ["n"], ["r"]),
        helper.make_node("Flatten", ["r"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 8, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [numpy_helper.from_array(each.astype(np.float32), name) for name, each in stored.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


@pytest.mark.parametrize("ending", [".onnx", ".tflite"])
def test_folds_and_the_order_of_axes_are_undone(ending: str, tmp_path: Path) -> None:
    real = unfolded()
    rng = np.random.default_rng(1)
    batches = [rng.normal(0, 1, (1, 8, 8, 8)).astype(np.float32) for _ in range(4)]
    quantized = quantize_onnx(ir.from_proto(real), batches)

    def found(model: ir.Model) -> Origin:
        paths = tmp_path / "float.onnx", tmp_path / f"quantized{ending}"
        paths[0].write_bytes(real.SerializeToString())
        content = serialize(model) if ending == ".onnx" else tflite.export(model, ExportOptions())
        paths[1].write_bytes(content if isinstance(content, bytes) else content.content)
        return origin_of(*paths, {"r"})

    assert found(quantized).differences == ()
    assert found(quantized).layers == 2
    stored = next(
        each
        for name, each in quantized.graph.initializers.items()
        if each.dtype == ir.DataType.INT8 and each.shape is not None and len(each.shape) == 4
    )
    integers = stored.const_value
    assert integers is not None
    changed = integers.numpy().copy()
    changed[5] = -changed[5] - 1
    stored.const_value = ir.tensor(changed, name=stored.name)
    (difference,) = found(quantized).differences
    assert (difference.kind, difference.channels) == ("weights", (5,))


def tokens() -> onnx.ModelProto:
    """What calibration writes with other operators: a normalisation of tokens, and attention."""
    random = np.random.default_rng(4)
    nodes = [
        helper.make_node("LayerNormalization", ["x", "gain", "shift"], ["n"], "norm", axis=-1),
        *(helper.make_node("MatMul", ["n", f"w{name}"], [name], name) for name in "qkv"),
        helper.make_node("Transpose", ["k"], ["kt"], "turn", perm=[0, 2, 1]),
        helper.make_node("MatMul", ["q", "kt"], ["scores"], "scores"),
        helper.make_node("Softmax", ["scores"], ["share"], "share", axis=-1),
        helper.make_node("MatMul", ["share", "v"], ["mixed"], "mixed"),
        helper.make_node("Add", ["mixed", "x"], ["y"], "sum"),
    ]
    constants = {
        "gain": random.uniform(0.5, 1.5, 16),
        "shift": random.normal(size=16),
        **{f"w{name}": random.normal(size=(16, 16)) / 4 for name in "qkv"},
    }
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", 7, 16]) for n in "xy")
    stored = [numpy_helper.from_array(v.astype("f4"), n) for n, v in constants.items()]
    graph = helper.make_graph(nodes, "tokens", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("moved", [0, 40])
def test_what_calibration_writes_with_other_operators_is_no_difference(
    moved: int, tmp_path: Path
) -> None:
    """And a weight that was moved is still found, alone."""
    real, file = tmp_path / "real.onnx", tmp_path / "file.onnx"
    onnx.save(tokens(), real)
    batch = {"x": np.random.default_rng(5).normal(size=(8, 7, 16)).astype(np.float32)}
    made = ir.to_proto(quantize_onnx(ir.from_proto(tokens()), [batch]))
    stored = {each.name: each for each in made.graph.initializer}
    weights = stored["v_product/MatMul.weight_quantized"]
    integers = numpy_helper.to_array(weights).copy()
    integers.flat[3] += moved if integers.flat[3] < 0 else -moved
    weights.CopyFrom(numpy_helper.from_array(integers, weights.name))
    onnx.save(made, file)
    known = {name for node in made.graph.node for name in node.output}
    found = origin_of(real, file, known)
    assert not found.remark
    assert [each.kind for each in found.differences] == (["weights"] if moved else [])


@pytest.mark.parametrize(
    ("op_type", "said", "changed", "told"),
    [
        ("LeakyRelu", {"alpha": 0.2}, {"alpha": 0.01}, "alpha: 0.2 became 0.01"),
        ("LeakyRelu", {}, {"alpha": 0.2}, "alpha: 0.01 became 0.2"),
        ("HardSigmoid", {"alpha": 0.2}, {}, ""),
        ("HardSigmoid", {"beta": 0.4}, {}, "beta: 0.4 became 0.5"),
    ],
)
def test_real_attributes_are_compared(
    op_type: str, said: dict[str, float], changed: dict[str, float], told: str, tmp_path: Path
) -> None:
    real, file = tmp_path / "real.onnx", tmp_path / "file.onnx"
    model = activated(op_type, said)
    onnx.save(model, real)
    batch = {"x": np.random.default_rng(5).normal(size=(8, 3, 6, 6)).astype(np.float32)}
    made = ir.to_proto(quantize_onnx(ir.from_proto(model), [batch]))
    node = next(each for each in made.graph.node if each.op_type == op_type)
    del node.attribute[:]
    node.attribute.extend(helper.make_attribute(name, value) for name, value in changed.items())
    onnx.save(made, file)
    found = origin_of(real, file, {name for each in made.graph.node for name in each.output})
    assert [each.detail for each in found.differences] == ([told] if told else [])


def activated(op_type: str, attributes: dict[str, float]) -> onnx.ModelProto:
    activation = helper.make_node(op_type, ["a"], ["b"], "activation")
    activation.attribute.extend(helper.make_attribute(*each) for each in attributes.items())
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["a"], "conv"),
        activation,
        helper.make_node("Conv", ["b", "v"], ["y"], "last"),
    ]
    random = np.random.default_rng(6)
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, 6, 6])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 4, 2, 2])
    stored = [
        numpy_helper.from_array(random.normal(size=(4, each, 3, 3)).astype("f4"), name)
        for name, each in (("w", 3), ("v", 4))
    ]
    graph = helper.make_graph(nodes, "net", [x], [y], stored)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
