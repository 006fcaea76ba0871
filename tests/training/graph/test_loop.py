"""Graph networks learn, stop, and go on to the same bits after having been cut off.

The file they leave is enough to answer.
"""

from __future__ import annotations

import json
import os
import signal
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import safetensors.torch
import torch
from tests.support.models.graphs import two_rings

from edgeq.deploy.pipeline.step_margins import margins_of
from edgeq.errors import ArtefactError, Diverged, Interrupted, OutputError, UsageError
from edgeq.training.checkpoint import save
from edgeq.training.graph import checkpoint as graph_checkpoint
from edgeq.training.graph.checkpoint import load_network
from edgeq.training.graph.loop import features, train_graph
from edgeq.training.graph.recipe import GraphRecipe, GraphScheme

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.training.run.loop import Progress

DATA = two_rings()
FAST = GraphRecipe("stable-pde-gcn-64", "rings", epochs=6, lr=0.05, dropout=0.2, track_test=True)
QUANTIZED = replace(FAST, scheme=GraphScheme(4, 8, bound=0), epochs=4)


def weights(path: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load(path.read_bytes())


def test_it_learns_and_answers_as_its_checkpoint_does(tmp_path: Path) -> None:
    result = train_graph(replace(FAST, epochs=12), DATA, tmp_path / "run", threads=1)
    assert result.test_correct == result.test_total == 8
    assert result.history[result.best_epoch].validation_loss == min(
        epoch.validation_loss for epoch in result.history
    )
    assert result.test_selected == max(epoch.test or 0 for epoch in result.history)
    network, graph, recipe = load_network(tmp_path / "run" / "best.safetensors")
    answers = network(features(DATA), graph).argmax(1).numpy()
    assert int((answers[DATA.test] == DATA.labels[DATA.test]).sum()) == result.test_correct
    assert recipe == result.recipe
    assert json.loads((tmp_path / "run" / "run.json").read_text())["test_correct"] == 8


def test_the_test_nodes_are_not_looked_at_unless_asked_for(tmp_path: Path) -> None:
    result = train_graph(
        replace(FAST, epochs=1, track_test=False), DATA, tmp_path / "run", threads=1
    )
    assert result.test_selected is None
    assert result.history[0].test is None


def test_it_stops_when_the_validation_loss_has_not_fallen(tmp_path: Path) -> None:
    result = train_graph(
        replace(FAST, epochs=60, patience=3, lr=0.5), DATA, tmp_path / "run", threads=1
    )
    assert len(result.history) == result.best_epoch + 1 + 3 < 60


LEARNT = replace(QUANTIZED, learn_gradient=True)


@pytest.mark.parametrize("recipe", [FAST, LEARNT], ids=["fp32", "quantised with a learnt gradient"])
def test_a_run_cut_off_goes_on_to_the_same_bits(tmp_path: Path, recipe: GraphRecipe) -> None:
    whole = train_graph(recipe, DATA, tmp_path / "whole", threads=1)

    def interrupt(at: Progress) -> None:
        if at.epoch == 1:
            os.kill(os.getpid(), signal.SIGINT)

    with pytest.raises(Interrupted, match="after epoch 2 of"):
        train_graph(recipe, DATA, tmp_path / "cut", threads=1, report=interrupt)
    resumed = train_graph(recipe, DATA, tmp_path / "cut", threads=1, resume=True)
    assert resumed.history == whole.history
    assert len(margins_of(tmp_path / "cut")) == 32
    for name in ("best.safetensors", "last.safetensors"):
        first, second = weights(tmp_path / "whole" / name), weights(tmp_path / "cut" / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first)


def test_a_quantised_run_begins_with_the_float_one(tmp_path: Path) -> None:
    train_graph(replace(FAST, epochs=12), DATA, tmp_path / "fp32", threads=1)
    still = replace(QUANTIZED, epochs=1, lr=1e-9, lr_operators=0.0, lr_bounds=0.0)
    result = train_graph(
        still, DATA, tmp_path / "quantised", start=tmp_path / "fp32" / "best.safetensors", threads=1
    )
    assert result.test_correct == 8
    with pytest.raises(ArtefactError, match="does not fit pde-gcn-64 FP32"):
        train_graph(
            replace(still, model="pde-gcn-64"),
            DATA,
            tmp_path / "other",
            start=tmp_path / "fp32" / "best.safetensors",
            threads=1,
        )


def test_another_run_is_not_overwritten_nor_gone_on_with(tmp_path: Path) -> None:
    train_graph(replace(FAST, epochs=1), DATA, tmp_path / "run", threads=1)
    with pytest.raises(OutputError, match="holds a run already"):
        train_graph(FAST, DATA, tmp_path / "run", threads=1)
    with pytest.raises(UsageError, match="trained with another epochs: 1, not 6"):
        train_graph(FAST, DATA, tmp_path / "run", threads=1, resume=True)
    train_graph(replace(FAST, epochs=1), DATA, tmp_path / "run", threads=1, overwrite=True)


def test_the_released_quantiser_trains_on_both_directions_with_float_operators(
    tmp_path: Path,
) -> None:
    recipe = replace(QUANTIZED, scheme=GraphScheme(32, 4, "released"), epochs=1)
    train_graph(recipe, DATA, tmp_path / "run", threads=1)
    _, graph, _ = load_network(tmp_path / "run" / "best.safetensors")
    assert (graph.edges.shape[1], graph.directions) == (DATA.edges.shape[1], 1)


def test_a_loss_that_is_no_number_ends_the_run(tmp_path: Path) -> None:
    with pytest.raises(Diverged, match=r"the loss is nan in epoch \d+ of"):
        train_graph(replace(FAST, lr=1e30), DATA, tmp_path / "run", threads=1)


def test_an_image_network_reads_no_graph(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="resnet8 reads images"):
        train_graph(replace(FAST, model="resnet8"), DATA, tmp_path / "run", threads=1)


@pytest.mark.parametrize(
    "changed",
    [
        {"edges": torch.tensor([[0], [40]])},
        {"edges": torch.zeros(3, 1, dtype=torch.int64)},
        {"edges": None},
    ],
)
def test_a_checkpoint_with_other_edges_is_refused(
    tmp_path: Path, changed: dict[str, torch.Tensor | None]
) -> None:
    train_graph(replace(FAST, epochs=1), DATA, tmp_path / "run", threads=1)
    found = graph_checkpoint.read(tmp_path / "run" / "best.safetensors")
    tensors = {
        name: tensor for name, tensor in found.tensors.items() if name != graph_checkpoint.EDGES
    }
    if changed["edges"] is not None:
        tensors[graph_checkpoint.EDGES] = changed["edges"]
    save(tmp_path / "odd.safetensors", replace(found, tensors=tensors))
    with pytest.raises(ArtefactError, match="no checkpoint of edgeq"):
        load_network(tmp_path / "odd.safetensors")
