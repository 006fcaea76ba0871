"""Several processes train the network that one process would.

Compared in float64, where only the order of sums differs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest
import torch

from edgeq.errors import UsageError
from edgeq.training import distributed_stats
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run.processes import Processes, join

if TYPE_CHECKING:
    from pathlib import Path

RECIPE = Recipe("resnet8", "digits")

PROGRAM = """
import os, sys
from pathlib import Path
import torch
from edgeq.data import load
from edgeq.training.run import batching, loop
from edgeq.training.distributed_stats import sync_statistics
from edgeq.training.run.processes import Processes, join
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme

torch.set_num_threads(1)
folder, source = Path(sys.argv[1]), load("digits", None)
rank = int(os.environ["RANK"])
start, normalized = loop.starting_model, batching.Feed._normalized


def computed(alone):
    found = {}
    for name, scheme in {
        "tracked": Scheme(4, 4, normalize_weights=True),
        "affine": Scheme(4, 4, normalize_weights=True, affine=True),
        "lsq": Scheme(4, 4, weights="lsq", activations="lsq"),
        "fitted": Scheme(4, 4),
    }.items():
        weight = 0.1 if name == "tracked" else 0.0
        options = dict(batch_size=64, anneal_from=2, consistency=weight)
        recipe = Recipe("stable-resnet8", "digits", scheme, **options)
        processes = Processes(torch.device("cpu")) if alone else join(recipe)
        run = loop._Run(recipe, source, folder, processes)
        run.model.train()
        with sync_statistics(processes.count):
            for step in (0, 1):
                run._step(run.feed.batch(0, step))
        found |= {f"{name} {key}": value.grad.clone() for key, value in run.parameters.items()}
        found |= {f"{name} {key}": buffer.clone() for key, buffer in run.model.named_buffers()}
    return found


double, single = torch.Tensor.double, torch.Tensor.float
torch.Tensor.float = double
loop.starting_model = lambda recipe, source: start(recipe, source).double()
batching.Feed._normalized = lambda self, images: normalized(self, images).double()
alone = computed(alone=True) if rank == 0 else None
together_found = computed(alone=False)
torch.Tensor.float, loop.starting_model, batching.Feed._normalized = single, start, normalized
options = dict(epochs=1, batch_size=575, anneal_from=2)
recipe = Recipe("stable-resnet8", "digits", Scheme(4, 8), **options)
result = loop.train(recipe, source, folder / "run")
found = (result.validation, result.test_correct)
torch.save({"alone": alone, "together": together_found, "result": found}, folder / f"{rank}.pt")
"""


def launch(folder: Path, count: int) -> subprocess.CompletedProcess[str]:
    """The program in so many processes.

    Only with ``--multi_gpu`` does the launcher start several; without a GPU they are on the CPU.
    """
    folder.mkdir()
    program = folder / "program.py"
    program.write_text(PROGRAM)
    launcher = [
        sys.executable,
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(count),
        "--main_process_port",
        "0",
    ]
    given = ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launcher, *given, str(program), str(folder)]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=False, timeout=240
    )


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], dict[str, Any], Path]:
    """What the first of two processes found, also alone; what the second found; the folder."""
    folder = tmp_path_factory.mktemp("processes") / "two"
    done = launch(folder, 2)
    assert done.returncode == 0, done.stderr
    first, second = (torch.load(folder / name) for name in ("0.pt", "1.pt"))
    return first, second, folder / "run"


def test_the_gradients_and_statistics_are_those_of_one_process(runs: tuple[Any, ...]) -> None:
    first, second, _ = runs
    assert {name.partition(" ")[0] for name in first["alone"]} == {
        "tracked",
        "affine",
        "lsq",
        "fitted",
    }
    for name, wanted in first["alone"].items():
        for other in (first, second):
            difference = (
                other["together"][name].double() - wanted.double()
            ).abs().max() / wanted.double().abs().max().clamp(min=1e-6)
            assert difference < 1e-8, name


def test_the_processes_agree_on_the_result(runs: tuple[Any, ...]) -> None:
    """To the sample: each evaluates its part, and all know the sum."""
    assert runs[0]["result"] == runs[1]["result"]


def test_one_set_of_files_is_written(runs: tuple[Any, ...]) -> None:
    folder = runs[2]
    assert sorted(path.name for path in folder.iterdir()) == [
        "best.safetensors",
        "last.safetensors",
        "run.json",
    ]
    record = json.loads((folder / "run.json").read_text())
    assert (record["validation"], record["test_correct"]) == runs[0]["result"]


class TestJoining:
    def test_alone_on_a_cpu_nothing_is_set_up(self) -> None:
        assert join(RECIPE, cpu=True) == Processes(torch.device("cpu"))

    def test_the_launcher_and_the_recipe_may_not_disagree(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("WORLD_SIZE", "2")
        monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "bf16")
        with pytest.raises(
            UsageError, match="accelerate launch asks for bf16 and the recipe for fp32"
        ):
            join(RECIPE)

    @pytest.mark.parametrize("samples", [2, 7, 128])
    @pytest.mark.parametrize("count", [1, 2, 3])
    def test_the_parts_make_up_the_whole(self, samples: int, count: int) -> None:
        parts = [
            Processes(torch.device("cpu"), rank, count).share(samples) for rank in range(count)
        ]
        assert [i for part in parts for i in range(samples)[part]] == list(range(samples))
        sizes = [part.stop - part.start for part in parts]
        assert max(sizes) - min(sizes) <= 1

    def test_alone_sums_are_what_they_are(self) -> None:
        assert Processes(torch.device("cpu")).totals(0.1, 2) == (0.1, 2)
        assert distributed_stats.largest(value := torch.tensor(1.0)) is value
        assert distributed_stats.mean(value) is value
