"""What ONNX Runtime's optimiser makes of a file on x86.

Operators in integers or in float as they really are, int8 held as uint8.
"""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest
from onnxruntime.quantization import QuantFormat
from tests.support.models.qdq_models import Graph
from tests.support.models.qoperator_models import everything, quantized
from tests.support.models.qoperator_models import residual as residual_network
from tests.support.models.x86_graphs import MAKERS, grid, outputs_of, residual

from edgeq.deploy.evaluation.saturation.pair_saturation import layers_at_risk
from edgeq.qdq.op_traits import traits_of
from edgeq.qdq.ort_x86.forms import X86Kernels, on_x86
from edgeq.qdq.reader import read_qdq
from edgeq.targets.ort import cpu

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

pytestmark = [
    pytest.mark.skipif(
        platform.machine() not in ("x86_64", "AMD64"),
        reason="the optimiser does otherwise on other processors",
    ),
    pytest.mark.filterwarnings(
        "ignore::DeprecationWarning:onnxruntime", "ignore::UserWarning:onnxruntime"
    ),
]
KIND = pytest.mark.parametrize("kind", ["int8", "uint8"])


def checked(path: Path) -> X86Kernels:
    source = ir.load(path)
    graph = read_qdq(source)
    found = on_x86(source, graph)
    computed = {
        op.output.name: op.name
        for op in graph.ops
        if not traits_of(op.op_type).moves and op.op_type != "Requantize"
    }
    expected = {op.name for op in cpu.plan(path).ops if op.arithmetic == "float"} & set(
        computed.values()
    )
    assert {name for result, name in computed.items() if result in found.in_float} == expected
    assert computed
    return found


@KIND
@pytest.mark.parametrize("made", MAKERS, ids=lambda made: made.__name__)
def test_operators_are_in_float_where_the_optimiser_leaves_them(
    made: Callable[[str], Graph], kind: str, tmp_path: Path
) -> None:
    graph = made(kind)
    onnx.save(graph.proto(*outputs_of(graph), opset=18), tmp_path / "net.onnx")
    checked(tmp_path / "net.onnx")


@pytest.mark.parametrize("form", [QuantFormat.QOperator, QuantFormat.QDQ])
@pytest.mark.parametrize(
    ("activations", "weights"), [("uint8", "int8"), ("uint8", "uint8"), ("int8", "int8")]
)
def test_files_by_onnx_runtimes_quantizer_too(
    tmp_path: Path, form: QuantFormat, activations: str, weights: str
) -> None:
    net, output = everything()
    found = checked(
        quantized(
            tmp_path,
            net.model(output),
            net.samples(4),
            activations=activations,
            weights=weights,
            form=form,
        )
    )
    if form is QuantFormat.QOperator:
        assert {found.held[name] for name in found.held if not name.endswith("_dequantized")} == {
            activations
        }


def test_int8_is_held_as_uint8_where_one_operator_reads_it(tmp_path: Path) -> None:
    onnx.save(residual("int8").proto("last_dequantized", opset=17), tmp_path / "net.onnx")
    held = checked(tmp_path / "net.onnx").held
    assert held == {
        "x": "uint8",
        "stem": "int8",
        "branch": "uint8",
        "total": "uint8",
        "last": "uint8",
    }


def test_integer_ends_stay_as_they_are(tmp_path: Path) -> None:
    graph = Graph()
    x = graph.input("x", [1, 4, 8, 8], grid("int8", zero=128))
    graph.weighted("Conv", x, "y", (4, 4, 1, 1), grid("int8", zero=128))
    model = graph.proto("y_quantized", opset=17)
    model.graph.output[0].type.tensor_type.elem_type = onnx.TensorProto.INT8
    onnx.save(model, tmp_path / "net.onnx")
    assert checked(tmp_path / "net.onnx").held == {"x": "uint8", "y": "int8"}


@pytest.mark.parametrize("op_type", ["Conv", "Gemm", "MatMul"])
@KIND
def test_results_without_a_quantiser(op_type: str, kind: str, tmp_path: Path) -> None:
    """Products of rows have integer kernels that give real numbers, and they add pairs too."""
    shape, weights = ([1, 8, 4, 4], (8, 8, 1, 1)) if op_type == "Conv" else ([1, 8], (8, 8))
    graph = Graph()
    x = graph.input("x", shape, grid(kind, zero=128))
    graph.node(op_type, [x, graph.small("weight", weights, 0.01)], "y")
    onnx.save(graph.proto("y", opset=17), tmp_path / "net.onnx")
    source = ir.load(tmp_path / "net.onnx")
    found = on_x86(source, read_qdq(source, float_fallback=True))
    assert (
        (op_type == "Conv")
        == ("y" in found.in_float)
        == all(op.arithmetic == "float" for op in cpu.plan(tmp_path / "net.onnx").ops)
    )
    assert bool(layers_at_risk(tmp_path / "net.onnx", cpu.capabilities)) == (op_type != "Conv")


def test_layers_of_int8_and_of_floats_add_no_pairs(tmp_path: Path) -> None:
    """Pairs that a rewrite with +128 puts at risk are exact in a QOperator file.

    In float too, where two operators read the tensor.
    """
    net, output = residual_network()
    alarms = {}
    for form, kind in (
        (QuantFormat.QOperator, "uint8"),
        (QuantFormat.QOperator, "int8"),
        (QuantFormat.QDQ, "int8"),
    ):
        path = quantized(tmp_path, net.model(output), net.samples(4), activations=kind, form=form)
        alarms[form.name, kind] = [layer.layer for layer in layers_at_risk(path, cpu.capabilities)]
    assert alarms["QOperator", "uint8"]
    assert alarms["QOperator", "int8"] == []
    # these alone read tensors that nothing else reads
    assert set(alarms["QDQ", "int8"]) == {"conv6", "gemm11"}
