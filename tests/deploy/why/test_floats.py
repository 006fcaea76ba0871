"""A float file that is not the first one's network is named, at the operator where it begins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper
from torch import nn

import edgeq

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Change = Callable[[onnx.ModelProto], str]

pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore:Exporting a model to ONNX with a batch_size"),
    pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning"),
]

SHAPE = (3, 8, 8)


class Mixed(nn.Module):
    """What converters get wrong: gates, norms, square weights, and the order of flat tensors."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.b = nn.Conv2d(8, 16, 3, padding=1, groups=8)
        self.flat, self.square = nn.Linear(16 * 4 * 4, 16), nn.Linear(16, 16)
        self.norm = nn.LayerNorm(4)
        self.gru, self.lstm = (kind(64, 16, batch_first=True) for kind in (nn.GRU, nn.LSTM))
        self.last = nn.Linear(16, 5)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.norm(torch.relu(self.b(torch.relu(self.a(x)))))
        steps = y.permute(0, 2, 1, 3).flatten(2)
        gated = self.gru(steps)[0][:, -1] + self.lstm(steps)[0][:, -1]
        flat = torch.tanh(self.square(torch.tanh(self.flat(y.flatten(1)))))
        result: torch.Tensor = torch.softmax(self.last(gated + flat), -1)
        return result


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    path = tmp_path_factory.mktemp("float") / "net.onnx"
    torch.manual_seed(0)
    net = Mixed().eval()
    example = torch.zeros(1, *SHAPE)
    torch.onnx.export(net, (example,), str(path), opset_version=17, dynamo=False, input_names=["x"])
    return onnx.load(path)


def weights(layer: str, how: Callable[[np.ndarray], np.ndarray], at: int = 1) -> Change:
    """Another constant of the node of a module."""

    def change(model: onnx.ModelProto) -> str:
        node = next(each for each in model.graph.node if f"/{layer}/" in each.name and made(each))
        stored = {each.name: each for each in model.graph.initializer}[node.input[at]]
        before = numpy_helper.to_array(stored)
        after = np.ascontiguousarray(how(before.copy()), np.float32)
        assert after.shape == before.shape
        stored.CopyFrom(numpy_helper.from_array(after, stored.name))
        return str(node.name)

    return change


def made(node: onnx.NodeProto) -> bool:
    return node.op_type in ("Conv", "Gemm", "GRU", "LSTM", "LayerNormalization")


def attribute(op_type: str, name: str, value: Any, place: int = 0) -> Change:
    def change(model: onnx.ModelProto) -> str:
        node = [each for each in model.graph.node if each.op_type == op_type][place]
        kept = [each for each in node.attribute if each.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])
        return str(node.name)

    return change


def gates(order: list[int]) -> Callable[[np.ndarray], np.ndarray]:
    return lambda a: a.reshape(1, len(order), -1, a.shape[-1])[:, order].reshape(a.shape)


FAULTS: dict[str, tuple[Change, str]] = {
    "gates of an LSTM in another order": (weights("lstm", gates([0, 2, 1, 3])), "conversion"),
    "gates of a GRU in another order": (weights("gru", gates([1, 0, 2])), "conversion"),
    "reset before the product": (attribute("GRU", "linear_before_reset", 0), "conversion"),
    "flattened with channels last": (
        weights("flat", lambda a: a.reshape(-1, 16, 16).swapaxes(1, 2).reshape(a.shape)),
        "conversion",
    ),
    "square weights transposed": (weights("square", np.transpose), "conversion"),
    "BGR for RGB": (weights("a", lambda a: a[:, ::-1]), "conversion"),
    "depthwise channels in another order": (
        weights("b", lambda a: a.reshape(8, 2, -1).swapaxes(0, 1).reshape(a.shape)),
        "conversion",
    ),
    "pads on the other side": (attribute("Conv", "pads", [0, 0, 2, 2]), "padding"),
    "epsilon": (attribute("LayerNormalization", "epsilon", 0.5), "conversion"),
    "no bias": (weights("b", np.zeros_like, 2), "conversion"),
    "softmax over another axis": (attribute("Softmax", "axis", 0), "layout"),
}


@pytest.mark.parametrize("name", FAULTS)
def test_the_operator_is_named(model: onnx.ModelProto, name: str, tmp_path: Path) -> None:
    change, kind = FAULTS[name]
    other = onnx.ModelProto()
    other.CopyFrom(model)
    operator = change(other)
    paths = [tmp_path / "net.onnx", tmp_path / "other.onnx"]
    for path, each in zip(paths, (model, other), strict=True):
        onnx.save(each, path)
    source = edgeq.load_data(
        {"test": np.random.default_rng(0).normal(size=(4, *SHAPE)).astype(np.float32)}
    )
    found = edgeq.why(paths, source)
    assert [(each.kind, each.operator) for each in found.causes] == [(kind, operator)]
    states = {each.name: each.state for each in found.stages}
    assert states["net.onnx @ ort-cpu"] == "exact"
    assert states["other.onnx @ ort-cpu"] == states["other.onnx @ ort-cpu-ref"] == "WRONG"


def test_the_same_network_is_no_other_one(model: onnx.ModelProto, tmp_path: Path) -> None:
    paths = [tmp_path / "net.onnx", tmp_path / "renamed.onnx"]
    onnx.save(model, paths[0])
    other = onnx.ModelProto()
    other.CopyFrom(model)
    for number, node in enumerate(other.graph.node):
        node.name = f"n{number}"
    onnx.save(other, paths[1])
    source = edgeq.load_data({"test": np.ones((4, *SHAPE), np.float32)})
    found = edgeq.why(paths, source)
    assert found.exact
    assert {each.verdict for each in found.stages[1:]} == {"the same network in float"}
