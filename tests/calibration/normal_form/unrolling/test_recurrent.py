"""Recurrent operators, step by step: the same numbers in float, and near them in integers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper
from tests.support.checks.calibrated import sqnr_db, weights

from edgeq.calibration.normal_form.unrolling.recurrent import GATES
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

INPUTS, HIDDEN = 3, 4


@dataclass(frozen=True)
class Kind:
    """A recurrent operator as a file may hold it."""

    op_type: str
    direction: str = "forward"
    layout: int = 0
    steps: int = 5
    batch: int | str = 1
    bias: bool = True
    before: bool = False  # the linear_before_reset of a GRU
    state: str = "none"  # none, constant or input
    outputs: tuple[int, ...] = (0,)

    @property
    def directions(self) -> int:
        return 2 if self.direction == "bidirectional" else 1


def model_of(kind: Kind) -> tuple[ir.Model, dict[str, NDArray[np.float32]]]:
    """A model of one operator, and samples for its inputs."""
    rng = np.random.default_rng(3)
    gates, size = GATES[kind.op_type], kind.batch if isinstance(kind.batch, int) else 1
    shapes = {"W": (gates * HIDDEN, INPUTS), "R": (gates * HIDDEN, HIDDEN)}
    constants = {
        name: np.stack([weights(*shape, seed=i) for i in range(kind.directions)])
        for name, shape in shapes.items()
    }
    inputs = ["x", "W", "R", "", "", "", ""]
    if kind.bias:
        inputs[3] = "B"
        constants["B"] = weights(kind.directions, 2 * gates * HIDDEN, seed=7)
    x = (kind.steps, kind.batch, INPUTS) if not kind.layout else (kind.batch, kind.steps, INPUTS)
    state = (
        (kind.directions, kind.batch, HIDDEN)
        if not kind.layout
        else (kind.batch, kind.directions, HIDDEN)
    )
    known = tuple(size if isinstance(each, str) else each for each in state)
    ends: dict[str, tuple[int | str, ...]] = {"x": x}
    feeds: dict[str, tuple[int, ...]] = {
        "x": tuple(size if isinstance(each, str) else each for each in x)
    }
    for place in (5, 6) if kind.op_type == "LSTM" else (5,):
        if kind.state != "none":
            inputs[place] = f"state{place}"
        if kind.state == "input":
            ends[f"state{place}"], feeds[f"state{place}"] = state, known
        elif kind.state == "constant":
            constants[f"state{place}"] = weights(*known, seed=place)
    names = [f"y{i}" if i in kind.outputs else "" for i in range(max(kind.outputs) + 1)]
    attributes: dict[str, Any] = {"hidden_size": HIDDEN, "direction": kind.direction}
    if kind.layout:
        attributes["layout"] = 1
    if kind.op_type == "GRU":
        attributes["linear_before_reset"] = int(kind.before)
    while not inputs[-1]:
        inputs.pop()
    node = helper.make_node(kind.op_type, inputs, names, name="cell", **attributes)
    graph = helper.make_graph(
        [node],
        "recurrent",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, list(s)) for n, s in ends.items()],
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names if n],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    samples = {n: rng.standard_normal(s).astype(np.float32) for n, s in feeds.items()}
    return ir.from_proto(onnx.shape_inference.infer_shapes(model)), samples


def run(model: ir.Model, feeds: dict[str, NDArray[np.float32]]) -> list[NDArray[np.float32]]:
    session = ort.InferenceSession(serialize(model), providers=["CPUExecutionProvider"])
    return [np.asarray(each, np.float32) for each in session.run(None, feeds)]


def agree(kind: Kind, model: ir.Model, feeds: dict[str, NDArray[np.float32]]) -> None:
    folded = fold_onnx(model)
    assert not any(node.op_type in GATES for node in folded.graph), kind
    wanted = _reference(kind, model, feeds)
    for one, other in zip(wanted, run(folded, feeds), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-4, atol=1e-5, err_msg=str(kind))


def _reference(
    kind: Kind, model: ir.Model, feeds: dict[str, NDArray[np.float32]]
) -> list[NDArray[np.float32]]:
    """ONNX Runtime has no kernel for ``layout=1``; the same operator without it has."""
    if not kind.layout:
        return run(model, feeds)
    plain, _ = model_of(replace(kind, layout=0))
    for name, value in plain.graph.initializers.items():
        if name.startswith("state") and value.const_value is not None:
            known = model.graph.initializers[name].const_value
            assert known is not None
            value.const_value = ir.tensor(known.numpy().transpose(1, 0, 2), name=name)
    turned = {name: array.transpose(1, 0, 2) for name, array in feeds.items()}
    found = run(plain, turned)
    return [y.transpose(2, 0, 1, 3) if y.ndim == 4 else y.transpose(1, 0, 2) for y in found]


@settings(max_examples=40, deadline=None)
@given(
    op_type=st.sampled_from(sorted(GATES)),
    direction=st.sampled_from(["forward", "reverse", "bidirectional"]),
    layout=st.sampled_from([0, 1]),
    steps=st.sampled_from([1, 2, 5]),
    batch=st.sampled_from([1, 3]),
    bias=st.booleans(),
    before=st.booleans(),
    state=st.sampled_from(["none", "constant", "input"]),
    outputs=st.sampled_from([(0,), (1,), (0, 1)]),
)
def test_every_form_computes_the_same(**chosen: Any) -> None:
    kind = Kind(**chosen)
    model, feeds = model_of(kind)
    agree(kind, model, feeds)


@pytest.mark.parametrize("op_type", sorted(GATES))
def test_the_memory_of_an_lstm_and_all_outputs(op_type: str) -> None:
    outputs = (0, 1, 2) if op_type == "LSTM" else (0, 1)
    kind = Kind(op_type, "bidirectional", state="input", outputs=outputs)
    model, feeds = model_of(kind)
    agree(kind, model, feeds)


class Network(torch.nn.Module):
    """A recurrent layer of PyTorch between two linear ones."""

    def __init__(self, cell: torch.nn.Module, width: int) -> None:
        super().__init__()
        self.first, self.cell = torch.nn.Linear(INPUTS, 6), cell
        self.last = torch.nn.Linear(width, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.last(self.cell(torch.relu(self.first(x)))[0][:, -1])
        return y


CELLS: dict[str, tuple[Any, dict[str, Any]]] = {
    "gru": (torch.nn.GRU, {}),
    "two layers of lstm": (torch.nn.LSTM, {"num_layers": 2}),
    "both ways": (torch.nn.GRU, {"bidirectional": True}),
    "rnn": (torch.nn.RNN, {}),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("batch", ["fixed", "open"])
@pytest.mark.parametrize("name", CELLS)
def test_a_network_of_pytorch_is_calibrated_and_exported(
    name: str, batch: str, tmp_path: Any
) -> None:
    torch.manual_seed(0)
    kind, options = CELLS[name]
    width = 16 if "bidirectional" in options else 8
    network = Network(kind(6, 8, batch_first=True, **options), width).eval()
    x = torch.randn(24, 4, INPUTS)
    torch.onnx.export(
        network,
        (x[:1],),
        tmp_path / "float.onnx",
        input_names=["x"],
        dynamo=False,
        dynamic_axes={"x": {0: "N"}} if batch == "open" else None,
    )
    model = ir.load(tmp_path / "float.onnx")
    quantized = quantize_onnx(model, [x.numpy()])
    wanted = network(x).detach().numpy()
    session = ort.InferenceSession(serialize(quantized), providers=["CPUExecutionProvider"])
    found = np.concatenate(
        [np.asarray(session.run(None, {"x": x[i : i + 1].numpy()})[0]) for i in range(24)]
    )
    assert sqnr_db(wanted, found) > 25
    exported = exporter.export(quantized, ExportOptions())
    assert exported.parity.different == ()
    assert exported.approximations == ()


def refusals() -> Sequence[tuple[str, Any, str]]:
    return (
        ("clip", ir.AttrFloat32("clip", 3.0), "clips"),
        ("input_forget", ir.AttrInt64("input_forget", 1), "couples"),
        ("activations", ir.AttrStrings("activations", ["Affine", "Tanh", "Tanh"]), "activations"),
        ("activation_alpha", ir.AttrFloat32s("activation_alpha", [0.1]), "activations"),
    )


@pytest.mark.parametrize(("attribute", "value", "said"), refusals())
def test_what_no_step_can_say_is_refused_by_name(attribute: str, value: Any, said: str) -> None:
    model, _ = model_of(Kind("LSTM"))
    next(iter(model.graph)).attributes[attribute] = value
    with pytest.raises(ArtefactError, match=said) as caught:
        fold_onnx(model)
    assert "'cell'" in caught.value.what
    assert caught.value.hint


def test_a_state_repeated_for_each_sample_is_the_state_of_one() -> None:
    """As exporters write it for a batch of any size."""
    model, feeds = model_of(Kind("GRU", batch="N", state="constant"))
    graph = model.graph
    shape = ir.node("Shape", [graph.inputs[0]])
    size = ir.node("Gather", [shape.outputs[0], graph_constant(graph, "at", np.array([1]))])
    ends = [graph_constant(graph, name, np.array([n])) for name, n in (("d", 1), ("h", HIDDEN))]
    whole = ir.node("Concat", [ends[0], size.outputs[0], ends[1]], {"axis": 0})
    cell = next(iter(graph))
    repeated = ir.node("Expand", [cell.inputs[5], whole.outputs[0]])
    cell.replace_input_with(5, repeated.outputs[0])
    graph.insert_before(cell, [shape, size, whole, repeated])
    agree(Kind("GRU"), model, {"x": np.repeat(feeds["x"], 3, axis=1)})


def graph_constant(graph: ir.Graph, name: str, numbers: NDArray[np.int64]) -> ir.Value:
    value = ir.Value(name=name, const_value=ir.tensor(numbers, name=name))
    graph.initializers[name] = value
    return value


def test_a_sequence_of_any_length_is_refused() -> None:
    model, _ = model_of(Kind("GRU"))
    model.graph.inputs[0].shape = ir.Shape(["T", 1, INPUTS])
    with pytest.raises(ArtefactError, match="any length"):
        fold_onnx(model)
