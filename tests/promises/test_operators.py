"""An operator is known everywhere or nowhere: its checklist in CONTRIBUTING is complete.

A made-up operator is missing at each place by name, and one that is added to each of them goes from
a QDQ file to the same integers in TFLite and in the emulator.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import EdgeqError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.exporters.tflite.operators import LOWERINGS
from edgeq.exporters.tflite.ops.shape import lower_reshape
from edgeq.numerics.pointwise import UNARY
from edgeq.qdq.op_traits import TRAITS, OpTraits
from edgeq.qdq.reader import read_qdq
from edgeq.target import TARGETS
from edgeq.targets.emulator.hardware.profiles import profile_of
from edgeq.targets.emulator.onnx import operators as emulated
from edgeq.targets.emulator.onnx.program import read_onnx
from edgeq.targets.emulator.session import EmulatorSession

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    import onnx

SHAPE = [1, 3, 4, 5]
STEP = 0.125
FAKE = "Echo"

IN_FLOAT_ONLY = {
    *("BatchNormalization", "Clip", "Div", "LayerNormalization", "Pow", "Relu", "ScatterElements")
}
"""What the emulator leaves out: it computes no float regions, and no graph networks."""

OF_THE_VIEW = {"Embedding", "Lookup", "Pick", "Requantize", "ResizeNearest"}
"""Words of the integer view, which no file has."""


def named_in(*sources: str) -> set[str]:
    """The operators that some source files of the project name."""
    root = Path(__file__).parents[2]
    text = "".join(path.read_text() for source in sources for path in root.glob(source))
    return {name for name in TRAITS if f'"{name}"' in text} | set(UNARY) | OF_THE_VIEW


def places() -> Mapping[str, Collection[str]]:
    """What each place of the checklist knows."""
    return {
        "exporters/tflite/operators.py": LOWERINGS,
        "targets/emulator/onnx/operators.py": {*emulated.known(), *IN_FLOAT_ONLY},
        "calibration/": {
            *named_in("calibration/*.py", "calibration/normal_form/*.py"),
            "ScatterElements",  # of graph networks, which are trained
        },
        "tests/support/models/corners/": {
            *named_in("tests/support/models/corners/*.py"),
            *("LayerNormalization", "Div", "Pow"),  # in integers they are others, or a table
        },
    }


def missing() -> dict[str, set[str]]:
    """For each place, the operators of the table that it does not know."""
    return {place: set(TRAITS) - set(known) for place, known in places().items()}


def quantized() -> onnx.ModelProto:
    """The made-up operator between two equal grids."""
    pair = ["scale", "zero"]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", *pair], ["x_quantized"]),
        helper.make_node("DequantizeLinear", ["x_quantized", *pair], ["a"]),
        helper.make_node(FAKE, ["a"], ["b"], name="echo"),
        helper.make_node("QuantizeLinear", ["b", *pair], ["b_quantized"]),
        helper.make_node("DequantizeLinear", ["b_quantized", *pair], ["y"]),
    ]
    constants = [
        numpy_helper.from_array(np.array(STEP, np.float32), "scale"),
        numpy_helper.from_array(np.array(3, np.int8), "zero"),
    ]
    return model(nodes, constants, ["a", "b"])


def model(
    nodes: list[onnx.NodeProto], constants: list[onnx.TensorProto], inner: list[str]
) -> onnx.ModelProto:
    x, y, *infos = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, SHAPE) for name in ("x", "y", *inner)
    )
    graph = helper.make_graph(nodes, "net", [x], [y], constants, value_info=infos)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def emulate(images: np.ndarray) -> np.ndarray:
    profile = profile_of("onnx-reference")
    program = read_onnx(quantized(), Path("net.onnx"), profile)
    with EmulatorSession(program, profile, threads=1, intermediates=False) as session:
        return session.run(images)


def test_every_place_knows_every_operator() -> None:
    assert missing() == {place: set() for place in places()}
    assert set(LOWERINGS) == set(TRAITS)
    assert set(emulated.known()) <= set(TRAITS)


def test_a_new_operator_is_missing_by_name_at_each_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(TRAITS, FAKE, OpTraits(moves=True, data=1))
    assert missing() == {place: {FAKE} for place in places()}


def test_what_no_place_knows_is_refused_by_name() -> None:
    float_model = model([helper.make_node(FAKE, ["x"], ["y"], name="echo")], [], [])
    with pytest.raises(EdgeqError, match=FAKE):
        exporter.export(ir.from_proto(quantized()), ExportOptions())
    with pytest.raises(EdgeqError, match=FAKE):
        emulate(np.zeros(SHAPE, np.float32))
    with pytest.raises(EdgeqError, match=FAKE):
        quantize_onnx(ir.from_proto(float_model), [np.zeros(SHAPE, np.float32)])


def test_one_that_every_place_knows_ends_where_it_should(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setitem(TRAITS, FAKE, OpTraits(moves=True, data=1, keeps_axes=True))
    monkeypatch.setitem(LOWERINGS, FAKE, lower_reshape)
    monkeypatch.setitem(emulated.KERNELS, FAKE, emulated.KERNELS["Reshape"])
    (op,) = read_qdq(ir.from_proto(quantized())).ops
    assert (op.op_type, op.output.name) == (FAKE, "b")

    images = np.random.default_rng(0).normal(0, 8, SHAPE).astype(np.float32)
    expected = (np.clip(np.rint(images / STEP) + 3, -128, 127) - 3) * STEP
    path = tmp_path / "net.tflite"
    path.write_bytes(exporter.export(ir.from_proto(quantized()), ExportOptions()).content)
    with TARGETS.load("tflite-ref").open(path) as session:
        np.testing.assert_array_equal(session.run(images), expected)
    np.testing.assert_array_equal(emulate(images), expected)
