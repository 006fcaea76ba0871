"""Graph networks are compared without, with some and with all rounding, by the degree of nodes."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from tests.support.models.graphs import NODES, two_rings

from edgeq.deploy.cli import run
from edgeq.deploy.depth.graph import compare_graph
from edgeq.training.graph.checkpoint import load_network
from edgeq.training.graph.loop import features, train_graph
from edgeq.training.graph.quantization import graph_activation_error
from edgeq.training.graph.recipe import GraphRecipe, GraphScheme

if TYPE_CHECKING:
    from pathlib import Path

DATA = two_rings()
FLOAT = GraphRecipe("stable-pde-gcn-64", "rings", epochs=2, lr=0.05)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A run in FP32, and one at 4W/4A from there."""
    folder = tmp_path_factory.mktemp("runs")
    paths = [folder / "whole", folder / "short"]
    train_graph(FLOAT, DATA, paths[0], threads=1)
    rounded = replace(FLOAT, scheme=GraphScheme(4, 4, bound=0), epochs=1)
    train_graph(rounded, DATA, paths[1], start=paths[0] / "best.safetensors", threads=1)
    return paths


def test_errors_by_degree_are_those_of_the_states(trained: list[Path]) -> None:
    found = compare_graph(trained, DATA, "test")
    assert [stage.target for stage in found.stages] == [
        "torch-fp32",
        "torch-fp32",
        "torch, activations not rounded",
        "torch",
    ]
    assert [hop.cause for hop in found.hops] == ["another artefact", *["quantisation"] * 2]
    hop = found.hops[-1]
    assert [(each.low, each.high, each.nodes) for each in hop.degrees] == [
        (2, 2, NODES - 2),
        (3, 3, 2),
    ]
    mean = sum(each.mse * each.nodes for each in hop.degrees) / NODES
    network, gradient, _ = load_network(trained[1] / "best.safetensors")
    labels, where = torch.from_numpy(DATA.labels), torch.from_numpy(DATA.test)
    whole = graph_activation_error(network, features(DATA), gradient, labels, where)
    assert mean == pytest.approx(whole.mse, rel=1e-5)
    assert found.stages[2].accuracy is not None
    assert found.stages[2].accuracy.fraction == pytest.approx(whole.accuracy_unrounded)


def test_the_command_shows_them(
    trained: list[Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("edgeq.data.load_graph", lambda _name, _folder: DATA)
    asked = ["compare", str(trained[1]), "--data", "cora"]
    assert run(asked) == 0
    assert "states of nodes by their degree" in capsys.readouterr().out
    assert run([*asked, "--json"]) == 0
    document, page = tmp_path / "compare.json", tmp_path / "page.html"
    document.write_text(capsys.readouterr().out, encoding="utf-8")
    hops = json.loads(document.read_text(encoding="utf-8"))["comparison"]["hops"]
    assert run(["report", str(document), "-o", str(page)]) == 0
    assert "error of nodes by their degree" in page.read_text(encoding="utf-8")
    capsys.readouterr()
    assert [each["nodes"] for each in hops[-1]["degrees"]] == [NODES - 2, 2]
    assert run([*asked, "--limit", "3"]) == 2
    assert "cora is a graph" in capsys.readouterr().err
    monkeypatch.setattr(
        "edgeq.data.load_graph", lambda _name, _folder: replace(DATA, edges=DATA.edges[:, :2])
    )
    assert run(asked) == 2
    assert "was trained on another graph" in capsys.readouterr().err
