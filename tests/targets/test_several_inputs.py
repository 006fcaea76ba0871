"""Models with several inputs, states and tokens among them, on every kind of session."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.data import DataSource, Preprocessing, Split
from edgeq.data.batching import fed, samples_in
from edgeq.deploy.evaluation.verify import verify
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import serialize
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

SAMPLES = 6


def cell() -> ir.Model:
    """A causal step: an image, and a state that has its layers first, in and out."""
    rng = np.random.default_rng(0)
    node = helper.make_node
    nodes = [
        node("Conv", ["x", "w"], ["c"], pads=[1] * 4, name="conv"),
        node("GlobalAveragePool", ["c"], ["g"], name="mean"),
        node("Flatten", ["g"], ["f"], name="flat"),
        node("Slice", ["state", "zero", "one", "zero"], ["s0"], name="take"),
        node("Reshape", ["s0", "row"], ["h"], name="row_of_state"),
        node("Concat", ["f", "h"], ["fh"], axis=1, name="join"),
        node("Gemm", ["fh", "m"], ["y"], transB=1, name="dense"),
    ]
    constants: dict[str, Any] = {
        "w": rng.normal(0, 0.3, (4, 3, 3, 3)).astype(np.float32),
        "m": rng.normal(0, 0.3, (5, 8)).astype(np.float32),
        "zero": np.array([0]),
        "one": np.array([1]),
        "row": np.array([1, 4]),
    }
    graph = helper.make_graph(
        nodes,
        "cell",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 6, 6]),
            helper.make_tensor_value_info("state", TensorProto.FLOAT, [2, 1, 4]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 5])],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(onnx.shape_inference.infer_shapes(model))


def feeds() -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(1)
    return {
        "x": rng.standard_normal((SAMPLES, 3, 6, 6)).astype(np.float32),
        "state": rng.standard_normal((SAMPLES, 2, 1, 4)).astype(np.float32),
    }


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("files")
    quantized = quantize_onnx(cell(), [feeds()])
    exported = exporter.export(quantized, ExportOptions())
    assert exported.parity.different == ()
    written = {
        "onnx": serialize(quantized),
        "tflite": exported.content,
    }
    for suffix, content in written.items():
        (folder / f"cell.{suffix}").write_bytes(content)
    return {suffix: folder / f"cell.{suffix}" for suffix in written}


@pytest.mark.parametrize(
    ("target", "suffix"),
    [
        ("ort-cpu-ref", "onnx"),
        ("ort-cpu", "onnx"),
        ("emulator", "onnx"),
        ("emulator", "tflite"),
        ("tflite-ref", "tflite"),
        ("tflite", "tflite"),
        ("tflm", "tflite"),
    ],
)
def test_every_session_feeds_all_inputs(files: dict[str, Path], target: str, suffix: str) -> None:
    chosen = TARGETS.load(target)
    if not chosen.probe().usable:
        pytest.skip(chosen.probe().why_not)
    readable = chosen.capabilities.intermediates
    with TARGETS.load("ort-cpu-ref").open(files["onnx"]) as session:
        assert [(spec.name, spec.shape, spec.batched) for spec in session.inputs] == [
            ("x", (3, 6, 6), True),
            ("state", (2, 1, 4), False),
        ]
        wanted = session.run(feeds())
        step = np.ptp(wanted) / 100
    with chosen.open(files[suffix], intermediates=readable) as session:
        found = session.run(feeds())
        assert found.shape == wanted.shape
        assert np.abs(found - wanted).max() <= step
        one = {name: array[:1] for name, array in feeds().items()}
        assert np.array_equal(session.run(one)[0], found[0])
        session.prepare(one)
        session.invoke()
        if readable:
            seen = session.tensors(feeds())
            assert all(len(values) == SAMPLES for name, values in _arrays(seen) if name == "y")


def _arrays(seen: Any) -> Any:
    return [(name, getattr(values, "values", values)) for name, values in seen.items()]


def test_an_export_of_several_inputs_is_verified_operator_by_operator() -> None:
    quantized = quantize_onnx(cell(), [feeds()])
    exported = exporter.export(quantized, ExportOptions())
    checked = verify(quantized, exported, data(), limit=2)
    checked.require()
    assert sum(tensor.compared for tensor in checked.tensors) > 100


def data() -> DataSource:
    arrays = feeds()
    part = Split(dict(arrays), None, np.arange(SAMPLES))
    return DataSource("cells", (), part, part, part, Preprocessing())


def test_data_of_several_inputs_come_as_one_array_each() -> None:
    parts = [batch for batch, _ in fed(data().test, data(), 4)]
    assert [samples_in(part) for part in parts] == [4, 2]
    assert all(isinstance(part, dict) and set(part) == {"x", "state"} for part in parts)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda batch: batch["x"], "the data give none for state|none for x, state"),
        (lambda batch: {"x": batch["x"], "h": batch["state"]}, "none for state; they give x, h"),
        (lambda batch: {**batch, "state": batch["state"][:2]}, "not equally many samples"),
        (lambda batch: {**batch, "state": batch["state"][:, :1]}, "samples of shape"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(
    files: dict[str, Path], change: Any, said: str
) -> None:
    with (
        TARGETS.load("ort-cpu-ref").open(files["onnx"]) as session,
        pytest.raises(ArtefactError, match=said),
    ):
        session.run(change(feeds()))


def tokens(kind: int = TensorProto.INT64) -> bytes:
    table = numpy_helper.from_array(np.arange(20, dtype=np.float32).reshape(5, 4), "table")
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "ids"], ["y"], name="embed")],
        "tokens",
        [helper.make_tensor_value_info("ids", kind, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3, 4])],
        [table],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


@pytest.mark.parametrize("kind", [TensorProto.INT64, TensorProto.INT32])
def test_tokens_are_whole_numbers(tmp_path: Path, kind: int) -> None:
    (tmp_path / "tokens.onnx").write_bytes(tokens(kind))
    ids = np.array([[0, 1, 4], [2, 2, 2]], np.float32)
    with TARGETS.load("ort-cpu-ref").open(tmp_path / "tokens.onnx") as session:
        assert np.array_equal(session.run(ids)[:, :, 0], ids * 4)
        with pytest.raises(ArtefactError, match="whole numbers"):
            session.run(ids + np.float32(0.5))
