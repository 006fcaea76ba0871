"""``edgeq train`` on a graph.

The flags that mean something, and a refusal of each that does not.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from tests.support.models.graphs import two_rings

from edgeq.deploy.pipeline.graph_training import graph_recipe, reads_graph
from edgeq.errors import UsageError
from edgeq.training.graph.loop import train_graph
from edgeq.training.graph.recipe import GraphRecipe, GraphScheme

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NONE: dict[str, Any] = {}


def test_the_network_decides(tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('model = "pde-gcn-64"\ndata = "cora"\n')
    assert reads_graph("stable-pde-gcn-64", None)
    assert reads_graph(None, recipe)
    assert not reads_graph("resnet8", recipe)
    assert not reads_graph("no-such-net", None)
    assert not reads_graph(None, None)
    assert not reads_graph(None, tmp_path / "absent.toml")


def test_flags_take_precedence_over_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "recipe.toml"
    path.write_text(
        'model = "pde-gcn-64"\ndata = "cora"\nepochs = 9\nseed = 4\n[scheme]\nweight_bits '
        "= 32\nact_bits = 4\n"
    )
    found = graph_recipe(
        path,
        None,
        "citeseer",
        {"weight_bits": None, "act_bits": 8},
        {"epochs": 3, "seed": None},
        fp32=False,
    )
    assert found == GraphRecipe("pde-gcn-64", "citeseer", GraphScheme(32, 8), epochs=3, seed=4)
    assert graph_recipe(path, None, None, NONE, NONE, fp32=True).scheme is None


def test_without_flags_it_is_quantised_to_4w_8a() -> None:
    assert graph_recipe(None, "pde-gcn-64", "cora", NONE, NONE, fp32=False) == GraphRecipe(
        "pde-gcn-64", "cora", GraphScheme(4, 8)
    )


@pytest.mark.parametrize(
    ("data", "scheme", "flags", "fp32", "words"),
    [
        (None, NONE, NONE, False, "needs a graph"),
        ("cora", {"placement": "integer"}, NONE, False, "cannot be integer from end to end"),
        ("cora", {"act_bits": 4}, NONE, True, "--fp32"),
        ("cora", NONE, {"batch_size": 4}, False, "--batch-size means nothing here"),
        ("cora", NONE, {"momentum": 0.5}, False, "--momentum means nothing here"),
    ],
)
def test_what_means_nothing_is_refused(
    data: str | None, scheme: dict[str, Any], flags: dict[str, Any], fp32: bool, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        graph_recipe(None, "pde-gcn-64", data, scheme, flags, fp32=fp32)


def test_images_and_graphs_are_not_mixed_up(refusal: Callable[..., str], tmp_path: Path) -> None:
    assert "graph" in refusal("train", "pde-gcn-64", "--data", "digits", "-o", tmp_path / "run")
    assert "images are needed" in refusal(
        "train", "resnet8", "--data", "cora", "-o", tmp_path / "run"
    )
    assert "there is no checkpoint" in refusal(
        "train", "resnet8", "--init-from", tmp_path / "x.safetensors", "-o", tmp_path / "run"
    )


def test_cora_is_trained_and_listed(
    data_dir: Path, answer: Callable[..., Any], tmp_path: Path
) -> None:
    found = answer(
        "train",
        "pde-gcn-64",
        "--data",
        "cora",
        "--data-dir",
        data_dir,
        "--fp32",
        "--epochs",
        1,
        "--threads",
        1,
        "-o",
        tmp_path / "fp32",
    )
    assert found["test"]["total"] == 1000
    start = tmp_path / "fp32" / "best.safetensors"
    run = [
        "train",
        "pde-gcn-64",
        "--data",
        "cora",
        "--data-dir",
        data_dir,
        "--epochs",
        1,
        "--threads",
        1,
    ]
    assert (
        answer(*run, "--init-from", start, "-o", tmp_path / "quantised")["recipe"]["scheme"][
            "weight_bits"
        ]
        == 4
    )
    (facts,) = answer("data", "cora", "--data-dir", data_dir)["data"]
    assert (facts["edges"], facts["splits"]["test"]) == (10_556, 1000)


def test_a_graph_network_is_exported_in_the_form_that_each_format_holds(
    answer: Callable[..., Any], refusal: Callable[..., str], tmp_path: Path
) -> None:
    recipe = GraphRecipe(
        "stable-pde-gcn-64", "rings", GraphScheme(4, 8, bound=0), epochs=1, dropout=0.0
    )
    train_graph(recipe, two_rings(), tmp_path / "run", threads=1)
    files = answer(
        "export", tmp_path / "run", "--allow-float", "--io-type", "float32", "-o", tmp_path / "out"
    )["files"]
    assert {file["format"]: file["parity"]["different"] for file in files} == {
        "onnx": [],
        "tflite": [],
    }
    assert "ScatterElements" in (tmp_path / "out" / "run.onnx").read_bytes().decode("latin1")
    assert "no quantiser follows it" in refusal(
        "export", tmp_path / "run", "--to", "tflite", "-o", tmp_path / "integer"
    )
    assert "holds a graph network" in refusal("compare", tmp_path / "run", "--data", "digits")
