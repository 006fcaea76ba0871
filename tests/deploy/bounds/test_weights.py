"""``edgeq bounds --origin``: the norms' bounds hold, in order, and say what they assume."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest
from tests.support.faults.networks import SHAPES, network, samples
from tests.support.faults.origins import origin

import edgeq
from edgeq.deploy.bounds.weights import weight_bounds
from edgeq.deploy.cli import run
from edgeq.errors import UsageError
from edgeq.formats.onnx_io import parse

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A quantised network with a sum of branches, and the float one that rounds to it."""
    folder = tmp_path_factory.mktemp("weights")
    paths = folder / "net.onnx", folder / "float.onnx"
    for path, model in zip(paths, (network("small"), origin(network("small"))), strict=True):
        path.write_bytes(model.SerializeToString())
    return paths


def chain(path: Path) -> Path:
    """Two fully connected layers in a row, calibrated."""
    import torch
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.ReLU(), nn.Linear(8, 10))
    edgeq.calibrate(net, "digits", path / "net.onnx", samples=32)
    made = onnx.load(path / "net.onnx")
    (path / "float.onnx").write_bytes(origin(made).SerializeToString())
    assert parse(made.SerializeToString(), "net").graph is not None
    return path


def test_branches_are_added_and_the_measured_change_is_below(files: tuple[Path, Path]) -> None:
    source = samples(SHAPES["small"])
    found = edgeq.bounds(files[0], source, origin=files[1]).weights
    assert found is not None
    assert not found.chain
    first, power = found.bounds
    assert found.measured is not None
    assert 0 < found.measured <= first.value
    assert "B6" in first.name
    assert power.value >= 0
    assert first.source == "derived here"
    # half a step for each weight is more than what these are off
    alone = weight_bounds(files[0], None, None)
    assert alone.measured is None
    assert alone.bounds[0].value > first.value / alone.size * min(alone.size, found.size)


def test_bounds_of_a_chain_are_in_order(tmp_path: Path) -> None:
    folder = chain(tmp_path)
    found = edgeq.bounds(
        folder / "net.onnx", "digits", origin=folder / "float.onnx", limit=32
    ).weights
    assert found is not None
    assert found.chain
    values = {each.name.partition(" (")[0]: each.value for each in found.bounds}
    through = values["layer after layer, sums of branches added"]
    assert found.measured is not None
    assert found.measured <= through <= values["r_mean^(L-1)"]
    assert all(each.assumes and each.source for each in found.bounds)


def test_the_command_shows_them(
    files: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bounds", str(files[0]), "--origin", str(files[1])]) == 0
    shown = capsys.readouterr().out
    assert "What rounding the weights of 4 layers can change" in shown
    assert "Houache et al." in shown


def test_tflite_is_refused_by_name(files: tuple[Path, Path], tmp_path: Path) -> None:
    from edgeq.exporter import ExportOptions
    from edgeq.exporters.tflite import exporter as tflite

    path = tmp_path / "net.tflite"
    path.write_bytes(tflite.export(ir.from_proto(network("small")), ExportOptions()).content)
    with pytest.raises(UsageError, match="weights are bounded in ONNX"):
        edgeq.bounds(path, origin=files[1])
