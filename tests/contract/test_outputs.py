"""All outputs of a network, on every target that opens its file, under names and in an order."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir
import pytest
import torch
from torch import Tensor, nn

from edgeq.exporter import EXPORTERS, ExportOptions
from edgeq.exporters.torch.lower import lower
from edgeq.target import TARGETS
from edgeq.training.qat_transform import quantize
from edgeq.training.recipes.scheme import Scheme

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgeq.target import Session

SHAPE = (3, 8, 8)
EXACT = ("ort-cpu-ref", "ort-cpu", "emulator", "openvino")
TFLITE = ("tflite-ref", "tflite-builtin", "tflite", "tflm", "emulator")


class Heads(nn.Module):
    """Three outputs of three shapes."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.pool = nn.Conv2d(3, 4, 3, padding=1), nn.AvgPool2d(2)
        self.fine, self.coarse = nn.Conv2d(4, 5, 1), nn.Conv2d(4, 2, 1)
        self.whole = nn.Linear(4, 6)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        y = torch.relu(self.body(x))
        return self.fine(y), self.coarse(self.pool(y)), self.whole(y.mean((2, 3)))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    network = quantize(Heads(), Scheme())
    with torch.no_grad():
        network(torch.randn(8, *SHAPE))
    model = lower(network, SHAPE)
    folder = tmp_path_factory.mktemp("heads")
    for name in ("onnx", "tflite"):
        made = EXPORTERS.load(name).export(model, ExportOptions())
        (folder / f"heads.{name}").write_bytes(made.content)
    ir.save(model, folder / "canonical.onnx")
    return {"onnx": folder / "canonical.onnx", "tflite": folder / "heads.tflite"}


def images() -> NDArray[np.float32]:
    return np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)


def opened(name: str, path: Path) -> Session:
    target = TARGETS.load(name)
    if not target.probe().usable:
        pytest.skip(f"{name} is not usable here: {target.probe().why_not}")
    return target.open(path)


@pytest.mark.parametrize("name", EXACT)
def test_onnx_gives_all_outputs_by_name(files: dict[str, Path], name: str) -> None:
    with opened("ort-cpu-ref", files["onnx"]) as reference:
        wanted = reference.run_all(images())
    with opened(name, files["onnx"]) as session:
        found = session.run_all(images())
        first = session.run(images())
        assert [spec.name for spec in session.outputs] == ["output", "output_2", "output_3"]
        assert session.output == session.outputs[0]
    assert {key: values.shape for key, values in found.items()} == {
        "output": (3, 5, 8, 8),
        "output_2": (3, 2, 4, 4),
        "output_3": (3, 6),
    }
    np.testing.assert_array_equal(first, found["output"])
    for key, values in wanted.items():
        step = np.diff(np.unique(values)).min()  # at most one step of the grid apart
        np.testing.assert_allclose(found[key], values, atol=1.01 * step)


@pytest.mark.parametrize("name", TFLITE)
def test_tflite_gives_all_outputs_in_the_network_s_order(files: dict[str, Path], name: str) -> None:
    with opened("tflite-ref", files["tflite"]) as reference:
        wanted = list(reference.run_all(images()).values())
    with opened("ort-cpu-ref", files["onnx"]) as trained:
        sizes = [values.size for values in trained.run_all(images()).values()]
    with opened(name, files["tflite"]) as session:
        found = list(session.run_all(images()).values())
    assert [values.size for values in found] == sizes
    for mine, theirs in zip(found, wanted, strict=True):
        step = np.diff(np.unique(theirs)).min()
        np.testing.assert_allclose(mine, theirs, atol=1.01 * step)
