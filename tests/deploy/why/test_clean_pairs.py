"""``edgeq why`` raises no alarm on random graphs that are right, whoever writes and runs them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, Phase, given, reject, settings
from tests.exporters.tflite.test_random_graphs import SIZE, recipes
from tests.support.models.qdq_models import Grid
from torch import nn

import edgeq
from edgeq.calibration.quantize import quantize_onnx
from edgeq.errors import ArtefactError
from edgeq.exporter import ExportOptions
from edgeq.exporters.tflite import exporter
from edgeq.formats.onnx_io import read, serialize

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.exporters.tflite.test_random_graphs import Recipe

TARGETS = ("ort-cpu-ref", "emulator", "tflite-ref", "tflite-builtin", "tflite")


@pytest.mark.slow
@pytest.mark.parametrize("narrow", [False, True])
@given(recipe=recipes(most=4))
@settings(
    max_examples=24,
    deadline=None,
    derandomize=True,
    phases=[Phase.generate],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
def test_random_graphs_raise_no_alarm(
    recipe: Recipe, narrow: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Grids of 8 bits, or narrower ones too; five pairs of file and runtime each."""
    from onnx_ir.passes.common import RemoveUnusedNodesPass

    for i, (method, arguments, keywords) in enumerate([] if narrow else recipe.calls):
        whole = tuple(replace(a, clip=None) if isinstance(a, Grid) else a for a in arguments)
        recipe.calls[i] = (method, whole, keywords)
    model = recipe.build().output()
    RemoveUnusedNodesPass()(model)  # a recipe leaves branches that nothing reads
    folder = tmp_path_factory.mktemp("clean")
    paths = folder / "net.onnx", folder / "net.tflite"
    try:
        paths[1].write_bytes(exporter.export(model, ExportOptions()).content)
    except ArtefactError:
        reject()
    paths[0].write_bytes(serialize(model))
    values = np.random.default_rng(1).normal(0, 1, (4, 4, SIZE, SIZE)).astype(np.float32)
    source = edgeq.load_data({"test": values})
    found = edgeq.why(paths, source, targets=TARGETS)
    assert found.exact, found.causes


NETWORKS: dict[str, tuple[Callable[[], list[nn.Module]], tuple[int, ...]]] = {
    "rows": (
        lambda: [
            nn.Conv1d(4, 8, 5, padding=2),
            nn.ReLU(),
            nn.Conv1d(8, 8, 3, stride=2),
            nn.ReLU(),
            nn.Flatten(),
            nn.Linear(8 * 11, 4),
        ],
        (4, 24),
    ),
    "images": (
        lambda: [
            nn.Conv2d(4, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(8, 8, 3, groups=8),
            nn.ReLU6(),
            nn.Flatten(),
            nn.Linear(8 * 4, 4),
        ],
        (4, 8, 8),
    ),
    "numbers": (
        lambda: [nn.Linear(16, 16), nn.LayerNorm(16), nn.ReLU(), nn.Linear(16, 4)],
        (16,),
    ),
}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", NETWORKS)
def test_a_float_network_and_its_own_tflite_file_raise_no_alarm(name: str, tmp_path: Path) -> None:
    """Tensors are those behind an activation, and rows are held as images of one line."""
    make, shape = NETWORKS[name]
    torch.manual_seed(0)
    network = nn.Sequential(*make()).eval()
    values = np.random.default_rng(1).normal(0, 1, (8, *shape)).astype(np.float32)
    paths = tmp_path / "net.onnx", tmp_path / "net.tflite"
    torch.onnx.export(
        network,
        (torch.from_numpy(values[:1]),),
        str(paths[0]),
        input_names=["x"],
        dynamic_axes={"x": {0: "n"}},
        dynamo=False,
    )
    quantised = quantize_onnx(read(paths[0]), [values])
    paths[1].write_bytes(exporter.export(quantised, ExportOptions()).content)
    found = edgeq.why(
        paths, edgeq.load_data({"test": values}), targets=["ort-cpu-ref", "tflite-ref"]
    )
    assert not found.causes
    # the normalisation's inner tensors have no like in the float network
    aside = "; 6 of 8 operators judged by numbers" if name == "numbers" else ""
    assert [each.verdict for each in found.stages] == ["", f"quantisation{aside}"]
