"""A TFLite file has the certificate of the ONNX file with the same integers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from torch import nn

import edgeq
from edgeq.deploy.bounds.drift.asked import drift_graph
from edgeq.deploy.bounds.drift.propagate import Propagation
from edgeq.deploy.bounds.run import require_held
from edgeq.errors import GateFailed, UsageError
from edgeq.formats.tflite_schema import schema
from edgeq.models import zoo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Any

RUNTIMES = ("tflite-ref", "tflite", "tflm", "emulator:tflm")


class Branches(nn.Module):
    """Depthwise and transposed convolutions, windows that overlap, products and sums."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(1, 4, 3, padding=1)
        self.depthwise = nn.Conv2d(4, 4, 3, stride=2, padding=1, groups=4)
        self.wider = nn.ConvTranspose2d(4, 4, 2, stride=2)
        self.gate = nn.Linear(4, 4)
        self.head = nn.Linear(8, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Classes of images of 8 x 8."""
        y = self.stem(x).relu()
        z = nn.functional.relu6(self.depthwise(y))
        pooled = nn.functional.max_pool2d(y, 3, 2, padding=1)
        w = self.wider(z - 0.5 * pooled) + y
        gate = torch.sigmoid(self.gate(w.mean((2, 3))))[:, :, None, None]
        both = torch.cat([w * gate, nn.functional.hardswish(w)], 1)
        classes: torch.Tensor = self.head(nn.functional.avg_pool2d(both, 8).flatten(1))
        return classes


def plain() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten()),
        *(nn.Linear(36, 10), nn.Softmax(-1)),
    )


def tied() -> nn.Module:
    return zoo.build("stable-resnet8", classes=10, in_channels=1, image_size=(8, 8))


def both_files(folder: Path, make: Callable[[], nn.Module]) -> tuple[Path, Path]:
    torch.manual_seed(0)
    onnx, tflite = folder / "net.onnx", folder / "net.tflite"
    edgeq.calibrate(make().eval(), "digits", onnx, samples=32)
    edgeq.export(onnx, path=tflite)
    return onnx, tflite


@pytest.mark.parametrize("make", [plain, Branches, tied])
def test_both_formats_have_one_certificate(tmp_path: Path, make: Callable[[], nn.Module]) -> None:
    onnx, tflite = both_files(tmp_path, make)
    first = edgeq.bounds(onnx, "digits", drift=True, limit=12)
    second = edgeq.bounds(tflite, "digits", drift=True, limit=12, targets=RUNTIMES)
    for one, other in zip(first.certificates, second.certificates, strict=True):
        assert other.bound == pytest.approx(one.bound, rel=1e-2)
        assert other.certified == pytest.approx(one.certified, abs=1)
        steps = [[row.expands for row in each.tensors if row.expands] for each in (one, other)]
        assert steps[0] == pytest.approx(steps[1])
    held = second.certificates[1].held
    assert [each.target for each in held] == list(RUNTIMES)
    assert all(each.violations == each.changed == 0 for each in held)
    require_held(second)


def test_other_weights_are_beyond_the_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeq.deploy.bounds.drift import asked

    _, tflite = both_files(tmp_path, plain)
    other = tmp_path / "other.tflite"
    other.write_bytes(changed(tflite.read_bytes(), _turn_signs))
    drift_graph_ = asked.drift_graph
    monkeypatch.setattr(asked, "drift_graph", lambda _: drift_graph_(other))
    found = edgeq.bounds(tflite, "digits", limit=12, targets=["tflite-ref"])
    with pytest.raises(GateFailed, match="more than 1 LSB off"):
        require_held(found)


def test_what_has_no_bound_is_named(tmp_path: Path) -> None:
    _, tflite = both_files(tmp_path, plain)
    for change, why in (
        (_clip_symmetrically, "fused activation is number 2"),
        (_as_another_operator, "L2_POOL_2D '_2': its derivative is not known"),
        (_another_grid, "its grids differ"),
    ):
        path = tmp_path / f"{change.__name__}.tflite"
        path.write_bytes(changed(tflite.read_bytes(), change))
        with pytest.raises(UsageError, match=why):
            Propagation(drift_graph(path))


def changed(content: bytes, change: Callable[[Any, Any], None]) -> bytes:
    """A file with something else in its graph."""
    import flatbuffers

    model = schema.ModelT.InitFromPackedBuf(content)
    change(model, model.subgraphs[0])
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _turn_signs(model: Any, graph: Any) -> None:
    weights = model.buffers[graph.tensors[graph.operators[0].inputs[1]].buffer]
    weights.data = (-weights.data.view("int8")).view("uint8")


def _clip_symmetrically(_: Any, graph: Any) -> None:
    graph.operators[0].builtinOptions.fusedActivationFunction = 2


def _as_another_operator(model: Any, graph: Any) -> None:
    code = model.operatorCodes[graph.operators[1].opcodeIndex]
    code.builtinCode = code.deprecatedBuiltinCode = schema.BuiltinOperator.L2_POOL_2D


def _another_grid(_: Any, graph: Any) -> None:
    grid = graph.tensors[graph.operators[1].outputs[0]].quantization
    grid.scale = grid.scale * 2
