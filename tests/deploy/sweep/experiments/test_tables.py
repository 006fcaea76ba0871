"""Every sweep file of a published table names what there is; a tiny cell of each kind runs."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.support.models.graphs import two_rings

from edgeq.data.catalogue import info
from edgeq.deploy.sweep.cells import cell_of
from edgeq.deploy.sweep.experiments import EXPERIMENTS, check_parameters, experiment, graph
from edgeq.deploy.sweep.experiments.binary import VARIANTS
from edgeq.deploy.sweep.plan import read_sweep
from edgeq.errors import UnknownName, UsageError
from edgeq.models import zoo

TABLES = sorted((Path(__file__).parents[4] / "benchmarks" / "tables").glob("*.toml"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
def test_a_table_names_what_there_is(path: Path) -> None:
    sweep = read_sweep(path)
    assert sweep.work.version, "cells are kept from night to night"
    check_parameters(sweep.work.experiment, sweep.grid)
    data = {each.name for each in info()}
    for cell in sweep.configurations():
        network = (
            f"{cell.get('network', 'mlp5')}{'-' * ('setting' in cell)}{cell.get('setting', '')}"
        )
        assert network in zoo.names()
        assert cell.get("variant", "float") in {*VARIANTS, *graph.VARIANTS}
        assert cell["data"] in data
    assert len(cell_of(sweep, sweep.repeated(next(sweep.configurations()), 0)).address) == 64
    for told in sweep.published:
        assert all(value in sweep.grid[name] for name, value in told.where.items())
    for claim in sweep.orderings:
        for side in (claim.less, claim.more):
            assert all(side[name] in sweep.grid[name] for name in side if name in sweep.grid)


def test_parameters_are_checked_before_anything_runs() -> None:
    with pytest.raises(UnknownName, match="did you mean 'epochs'"):
        check_parameters("depth", ["network", "data", "seed", "epoch"])
    with pytest.raises(UsageError, match="needs network"):
        check_parameters("depth", ["data", "seed"])


SMALL: dict[str, dict[str, Any]] = {
    "depth": {"network": "mlp5", "data": "digits", "images": 64, "epochs": 1},
    "graph": {"network": "stable-pde-gcn-64", "data": "rings", "variant": "learnt-gradient"}
    | {"epochs": 2, "fine_epochs": 1, "dropout": 0.0},
    "residual": {"network": "stable-resnet8", "data": "digits", "images": 64, "test_images": 32}
    | {"epochs": 1, "fine_epochs": 1, "batch_size": 32},
    "quint8": {"network": "dws-convnet", "setting": "glorot", "data": "digits", "images": 64}
    | {"epochs": 1, "test_images": 32, "draws": 2},
    "binary": {"variant": "binary-connect", "data": "digits", "images": 100, "epochs": 1},
}
GIVES = {
    "depth": {"fp32", "bits_enough", "accuracy/12", "log10_b3_r_mean", "power_of_ten"},
    "graph": {"fp32", "4w4a", "mse_4w4a", "frobenius_4w4a", "margin_4w4a", "rmse_4w4a/32"},
    "residual": {"fp32", "4w4a", "rmse_4w4a/3", "sqnr_a_block_4w8a", "margin", "dead"}
    | {"flips_8w8a", "flips_4w4a"},
    "quint8": {"fp32", "quint8_values", "decrease_batches", "qkl_images", "qmse/11"}
    | {"precision_depthwise", "range_folded/1"},
    "binary": {"test_error", "real_weights_error", "onnx_kb", "most LSB, tflite-ref"},
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.slow) if name != "depth" else name for name in SMALL],
)
def test_a_tiny_cell(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(graph, "load_graph", lambda _name: two_rings())
    found = experiment(name)(**SMALL[name], seed=0)
    assert found.keys() >= GIVES[name]
    assert all(isinstance(each, int | float) and math.isfinite(each) for each in found.values())
    assert not list(tmp_path.iterdir()), "checkpoints are not kept"


def test_each_experiment_has_a_tiny_cell() -> None:
    assert SMALL.keys() == GIVES.keys() == EXPERIMENTS.keys()
