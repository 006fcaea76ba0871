"""ONNX Runtime: accuracy of real models, names and grids of tensors, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from tests.support.models import onnx_models, x86_graphs

from edgeq.errors import ArtefactError, TargetError
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.formats.dialect import CANONICAL
from edgeq.quant import QuantizedTensor, QuantParams
from edgeq.target import ShowingSession
from edgeq.targets.ort import cpu, cpu_reference

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.targets.ort import OrtTarget

BOTH = pytest.mark.parametrize("target", [cpu, cpu_reference], ids=["cpu", "reference"])


def saved(tmp_path: Path, model: onnx.ModelProto) -> Path:
    return onnx_models.save(model, tmp_path / "model.onnx")


@BOTH
@pytest.mark.parametrize(("name", "right"), [("resnet8-float", 439), ("resnet8-qdq", 441)])
def test_real_models_have_their_published_accuracy(
    data_dir: Path, target: OrtTarget, name: str, right: int
) -> None:
    test = np.load(data_dir / "cifar10-lossless" / "test.npz")
    images = test["images"].astype(np.float32).transpose(0, 3, 1, 2)
    with target.open(data_dir / "models" / f"{name}.onnx") as session:
        assert (session.run(images).argmax(1) == test["labels"]).sum() == right


@pytest.mark.parametrize(
    ("bits", "activation_dtype"), [(8, "uint8"), (4, "uint8"), (8, "int8"), (4, "int8")]
)
def test_quantised_tensors_carry_canonical_names_and_grids(
    tmp_path: Path, bits: int, activation_dtype: str
) -> None:
    path = saved(tmp_path, onnx_models.qdq_model(bits=bits, activation_dtype=activation_dtype))
    with cpu_reference.open(path, intermediates=True) as session:
        inside = session.tensors(onnx_models.images(3))
    assert list(inside) == ["input", "first", "second", "sum", "pool"]
    first = inside["first"]
    assert isinstance(first, QuantizedTensor)
    zero = -128 if activation_dtype == "int8" else 0
    assert first.params == QuantParams.of(
        0.02, zero, activation_dtype, qmin=zero, qmax=zero + 2**bits - 1
    )
    assert first.values.shape == (3, 8, 8, 8)
    assert first.values.dtype == np.dtype(activation_dtype)
    assert first.values.max() == zero + 2**bits - 1


def test_the_optimised_graph_shows_the_same_tensors_within_one_step(tmp_path: Path) -> None:
    portable = ir.to_proto(to_dialect(ir.from_proto(onnx_models.qdq_model(bits=4)), CANONICAL))
    path, images = saved(tmp_path, portable), onnx_models.images(20)
    with (
        cpu.open(path, intermediates=True) as fast,
        cpu_reference.open(path, intermediates=True) as slow,
    ):
        assert "QLinearConv 2" in fast.facts["operators"]
        assert "QLinearConv" not in slow.facts["operators"]
        seen, expected = fast.tensors(images), slow.tensors(images)
    assert list(seen) == list(expected)
    for name, tensor in expected.items():
        found = seen[name]
        assert isinstance(tensor, QuantizedTensor)
        assert isinstance(found, QuantizedTensor)
        assert found.params == tensor.params
        assert np.abs(found.centered() - tensor.centered()).max() <= 1


@pytest.mark.parametrize("activation_dtype", ["uint8", "int8"])
@pytest.mark.parametrize("bits", [8, 4])
def test_reading_optimised_tensors_leaves_operators_and_answers_alone(
    tmp_path: Path, activation_dtype: str, bits: int
) -> None:
    """With int8, naming every tensor an output makes ONNX Runtime fuse differently.

    There, fewer are shown.
    """
    path, images = (
        saved(tmp_path, onnx_models.qdq_model(bits=bits, activation_dtype=activation_dtype)),
        onnx_models.images(20),
    )
    with cpu.open(path) as plain, cpu.open(path, intermediates=True) as reading:
        assert np.array_equal(plain.run(images), reading.run(images))
        shown = reading.tensors(images)
        assert reading.facts["readable"] == f"{len(shown)} of 5 tensors"
        assert len(shown) == (5 if activation_dtype == "uint8" else 1)


def test_a_graph_of_which_nothing_can_be_read_shows_nothing(tmp_path: Path) -> None:
    """In int8, asking for any tensor keeps operators from being fused.

    Seen where an x86 processor runs it.
    """
    graph = x86_graphs.chain("int8")
    path = tmp_path / "model.onnx"
    onnx.save(graph.proto(graph.nodes[-1].output[0], opset=17), path)
    images = np.zeros((2, 4, 8, 8), np.float32)
    with cpu.open(path, intermediates=True) as session, cpu.open(path) as plain:
        assert set(session.tensors(images)) == set(session.grids)
        assert np.array_equal(session.run(images), plain.run(images))


def test_a_float_model_shows_every_float_tensor_of_the_reference(tmp_path: Path) -> None:
    path, images = saved(tmp_path, onnx_models.float_model()), onnx_models.images(4)
    with cpu_reference.open(path, intermediates=True) as session:
        inside = session.tensors(images)
        answer = session.run(images)
    assert list(inside) == ["sum", "first", "pool", "flat", "output"]
    values = {name: tensor for name, tensor in inside.items() if isinstance(tensor, np.ndarray)}
    assert np.array_equal(values["output"], answer)
    assert np.array_equal(np.maximum(values["sum"], 0), values["first"])


def test_a_float_model_shows_what_outlives_optimisation(tmp_path: Path) -> None:
    path, images = saved(tmp_path, onnx_models.float_model()), onnx_models.images(4)
    with cpu.open(path, intermediates=True) as session, cpu.open(path) as plain:
        inside = session.tensors(images)
        assert session.facts["operators"] == plain.facts["operators"]
        assert np.array_equal(session.run(images), plain.run(images))
    assert "sum" not in inside
    assert "output" in inside


@BOTH
def test_a_free_batch_gives_the_answers_of_a_fixed_one(tmp_path: Path, target: OrtTarget) -> None:
    fixed = onnx_models.save(onnx_models.qdq_model(batch=1), tmp_path / "fixed.onnx")
    free = onnx_models.save(onnx_models.qdq_model(batch="n"), tmp_path / "free.onnx")
    images = onnx_models.images(7)
    with target.open(fixed) as one, target.open(free) as any_number:
        assert np.array_equal(one.run(images), any_number.run(images))


def test_opening_writes_nothing_next_to_the_model(tmp_path: Path) -> None:
    path = saved(tmp_path, onnx_models.qdq_model())
    before = path.read_bytes()
    with cpu.open(path, intermediates=True):
        pass
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == before


def boundary_model(
    *, kind: int = TensorProto.INT8, grid: bool = True, batch: int = 1
) -> onnx.ModelProto:
    """An integer input into DequantizeLinear, doubled, and quantised to an integer output."""
    scales = {"s": np.array(0.5, np.float32), "t": np.array(0.25, np.float32)}
    zeros = {"z": np.array(3, np.int8), "u": np.array(-7, np.int8)}
    constants = [
        numpy_helper.from_array(value, name)
        for table in (scales, zeros)
        for name, value in table.items()
    ]
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["d"])
        if grid
        else helper.make_node("Cast", ["x"], ["d"], to=1),
        helper.make_node("Add", ["d", "d"], ["e"]),
        helper.make_node("QuantizeLinear", ["e", "t", "u"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, [batch, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT8, [batch, 4])],
        constants,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@BOTH
def test_integer_boundaries_take_and_give_real_numbers(tmp_path: Path, target: OrtTarget) -> None:
    with target.open(saved(tmp_path, boundary_model())) as session:
        assert session.inputs[0].params == QuantParams.of(0.5, 3, "int8")
        assert session.output.params == QuantParams.of(0.25, -7, "int8")
        assert session.run(np.array([[0.0, 1.2, -2.0, 1e6]], np.float32)).tolist() == [
            [0.0, 2.0, -4.0, 33.5]
        ]


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (boundary_model(grid=False), "without a scale"),
        (boundary_model(batch=4), "not a batch of one"),
    ],
)
def test_models_that_cannot_be_fed_are_refused(
    tmp_path: Path, model: onnx.ModelProto, message: str
) -> None:
    with pytest.raises(ArtefactError, match=message):
        cpu_reference.open(saved(tmp_path, model))


def test_a_free_dimension_beyond_the_batch_is_refused(tmp_path: Path) -> None:
    model = onnx_models.float_model()
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "height"
    with pytest.raises(ArtefactError, match=r"--input_shape 1,\d+,SIZE,"):
        cpu_reference.open(saved(tmp_path, model))


def one_node(
    node: onnx.NodeProto, shape: list[int], constants: list[onnx.TensorProto]
) -> onnx.ModelProto:
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)]
    graph = helper.make_graph([node], "g", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def test_an_operator_without_a_kernel_is_the_target_s_fault(tmp_path: Path) -> None:
    node = helper.make_node("BitShift", ["i", "i"], ["y"], direction="LEFT")
    model = one_node(node, [1, 4], [numpy_helper.from_array(np.zeros((1, 4), np.uint16), "i")])
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.UINT16
    with pytest.raises(TargetError, match="no CPU kernel"):
        cpu_reference.open(saved(tmp_path, model))


def test_an_invalid_graph_is_the_file_s_fault(tmp_path: Path) -> None:
    model = onnx_models.float_model()
    model.graph.node[1].op_type = "NoSuchOperator"
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtefactError, match="no valid ONNX model") as caught:
        cpu_reference.open(path)
    assert "\n" not in caught.value.what


def test_quantisers_of_qonnx_are_named_with_the_command_that_writes_them_as_onnx(
    tmp_path: Path,
) -> None:
    node = helper.make_node("Quant", ["x", *"szb"], ["y"], domain="qonnx.custom_op.general")
    numbers = {"s": 0.1, "z": 0.0, "b": 8.0}
    model = one_node(
        node,
        [1, 4],
        [numpy_helper.from_array(np.array(v, np.float32), k) for k, v in numbers.items()],
    )
    model.opset_import.append(helper.make_opsetid("qonnx.custom_op.general", 1))
    with pytest.raises(ArtefactError, match="has quantisers of QONNX") as caught:
        cpu_reference.open(saved(tmp_path, model))
    assert "edgeq export --for ort-cpu" in (caught.value.hint or "")


def test_a_failure_while_running_is_told_without_a_traceback(tmp_path: Path) -> None:
    node = helper.make_node("Gather", ["x", "index"], ["y"], axis=1)
    path = saved(
        tmp_path, one_node(node, [1, 1], [numpy_helper.from_array(np.array([99]), "index")])
    )
    with pytest.raises(TargetError, match="failed while running") as caught:
        cpu_reference.open(path)
    assert "\n" not in caught.value.what


def test_weights_outside_the_model_s_folder_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "secret.bin").write_bytes(bytes(4 * 80))
    model = onnx_models.float_model()
    tensor = next(t for t in model.graph.initializer if t.name == "head_weight")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../secret.bin")
    path = tmp_path / "inner" / "model.onnx"
    path.parent.mkdir()
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ArtefactError, match="hint: "):
        cpu.open(path)


def test_another_provider_than_the_cpu_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        onnxruntime.InferenceSession, "get_providers", lambda _self: ["SomeGPUExecutionProvider"]
    )
    with pytest.raises(TargetError, match="SomeGPUExecutionProvider"):
        cpu.open(saved(tmp_path, onnx_models.float_model()))


@BOTH
def test_answers_and_tensors_of_one_run_are_those_of_two(tmp_path: Path, target: OrtTarget) -> None:
    path, images = saved(tmp_path, onnx_models.qdq_model(bits=8)), onnx_models.images(3)
    with target.open(path, intermediates=True) as session:
        assert isinstance(session, ShowingSession)
        answers, shown = session.run_and_show(images)
        for name, values in session.run_all(images).items():
            np.testing.assert_array_equal(answers[name], values)
        for name, tensor in session.tensors(images).items():
            mine, its = shown[name], tensor
            assert isinstance(mine, QuantizedTensor)
            assert isinstance(its, QuantizedTensor)
            np.testing.assert_array_equal(mine.values, its.values)
