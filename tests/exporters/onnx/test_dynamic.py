"""Dynamic quantisation: int8 weights beside float activations, the same sums in both formats."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, helper, numpy_helper
from torch.nn import functional as F

import edgeq
from edgeq.deploy.cli import run
from edgeq.errors import ArtefactError, UsageError
from edgeq.exporter import ExportOptions
from edgeq.formats.tflite_file import graph_of
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

RNG = np.random.default_rng(0)
DYNAMIC = ExportOptions(dynamic=True)
BIAS = RNG.normal(size=6).astype(np.float32)


def network(path: Path, node: onnx.NodeProto, weight: Any, shape: tuple[int, ...]) -> Path:
    constants = {"w": np.asarray(weight, np.float32), "b": BIAS[: len(weight)]}
    graph = helper.make_graph(
        [node],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", *shape])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()
         if name in node.input],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path


def on_its_grid(sample: NDArray[np.float32]) -> tuple[NDArray[np.int64], float]:
    """A tensor on the grid of 8 bits of its own range, less its zero point, and the step."""
    low, high = min(float(sample.min()), 0.0), max(float(sample.max()), 0.0)
    step = (high - low) / 255
    zero = int(np.clip(np.rint(-128 - low / step), -128, 127))
    return np.clip(np.rint(sample / step) + zero, -128, 127).astype(np.int64) - zero, step


def in_integers(weight: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    step = np.abs(weight.reshape(len(weight), -1)).max(1) / 127
    return np.rint(weight / step.reshape(-1, *[1] * (weight.ndim - 1))).astype(np.int64), step


CONV = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], strides=[2, 2])
DEPTHWISE = helper.make_node("Conv", ["x", "w", "b"], ["y"], pads=[1, 1, 1, 1], group=6)
GEMM = helper.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)


@pytest.mark.parametrize(
    ("node", "weight", "shape"),
    [
        (CONV, RNG.normal(size=(6, 3, 3, 3)), (3, 8, 8)),
        (DEPTHWISE, RNG.normal(size=(6, 1, 3, 3)), (6, 8, 8)),
        (GEMM, RNG.normal(size=(5, 12)), (12,)),
    ],
    ids=["conv", "depthwise", "dense"],
)
def test_both_files_compute_what_is_documented(
    node: onnx.NodeProto, weight: NDArray[Any], shape: tuple[int, ...], tmp_path: Path
) -> None:
    source = network(tmp_path / "net.onnx", node, weight, shape)
    samples = RNG.normal(0.3, 1, (3, *shape)).astype(np.float32)
    integers, steps = in_integers(weight)
    wanted = []
    for sample in samples:
        read, step = on_its_grid(sample)
        given = torch.tensor(read[None]).double(), torch.tensor(integers).double()
        groups = integers.shape[0] if node is DEPTHWISE else 1
        stride = 2 if node is CONV else 1
        sums = (
            F.linear(*given)
            if node is GEMM
            else F.conv2d(*given, padding=1, stride=stride, groups=groups)
        )
        ones = [1] * (sums.ndim - 2)
        real = sums.numpy() * step * steps.reshape(-1, *ones)
        wanted.append(real[0] + BIAS[: len(weight)].reshape(-1, *ones))
    scale = np.abs(wanted).max()
    for name, targets in (
        ("made.onnx", ("ort-cpu-ref", "ort-cpu")),
        ("made.tflite", ("tflite-ref", "tflite-builtin", *(["tflite"] * (node is not DEPTHWISE)))),
    ):
        made = edgeq.export(source, path=tmp_path / name, options=DYNAMIC)
        assert made.parity.different == ()
        assert (made.parity.weights, made.parity.scales) == (weight.size, len(weight))
        for target in targets:
            with TARGETS.load(target).open(tmp_path / name) as session:
                found = session.run(samples)
            found = found.transpose(0, 3, 1, 2) if found.shape != np.shape(wanted) else found
            # float32 against float64 in the last product and sum
            np.testing.assert_allclose(found, wanted, rtol=0, atol=4e-7 * scale, err_msg=target)


def test_the_command_writes_both_and_the_rest_stays_in_float(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = network(tmp_path / "net.onnx", GEMM, RNG.normal(size=(5, 12)), (12,))
    asked = ["export", str(source), "--dynamic", "--verify", "digits"]
    assert run([*asked, "-o", str(tmp_path / "out")]) == 0
    said = capsys.readouterr()
    assert "nothing was verified" in " ".join(said.err.split())
    assert "nothing in it is quantised" not in said.err
    kinds = [node.op_type for node in onnx.load(tmp_path / "out" / "net.onnx").graph.node]
    assert "MatMulInteger" in kinds
    assert "DynamicQuantizeLinear" in kinds
    graph = graph_of((tmp_path / "out" / "net.tflite").read_bytes())
    assert [tensor.kind for tensor in graph.operators[0].inputs if tensor] == [
        "FLOAT32", "INT8", "FLOAT32",
    ]  # fmt: skip
    assert graph.operators[0].options.asymmetricQuantizeInputs


def test_factors_of_one_axis_stay_in_float(tmp_path: Path) -> None:
    node = helper.make_node("Mul", ["x", "w"], ["y"])
    source = network(tmp_path / "net.onnx", node, np.ones(12), (12,))
    assert edgeq.export(source, path=tmp_path / "made.onnx", options=DYNAMIC).parity.weights == 0


def test_what_it_cannot_be_asked_for_with(tmp_path: Path) -> None:
    source = network(tmp_path / "net.onnx", GEMM, RNG.normal(size=(5, 12)), (12,))
    edgeq.export(source, path=tmp_path / "made.onnx", options=DYNAMIC)
    with pytest.raises((ArtefactError, UsageError), match="DynamicQuantizeLinear"):
        edgeq.export(tmp_path / "made.onnx", path=tmp_path / "again.tflite", options=DYNAMIC)
    for asked in (
        ExportOptions(dynamic=True, weight_storage="int4"),
        ExportOptions(dynamic=True, activation_dtype="int8"),
        ExportOptions(dynamic=True, io_type="uint8"),
    ):
        with pytest.raises(UsageError, match="one form"):
            edgeq.export(source, path=tmp_path / "again.onnx", options=asked)
