"""Several trainings at once: same results as one by one, failures and Ctrl-C reach the caller."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from edgeq.data import load
from edgeq.deploy.pipeline.parallel_training import THREADS, WorkerPool, finished, worker_pool
from edgeq.errors import Interrupted, OutputError
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run.loop import train
from edgeq.training.run.warm_start import settled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerPool]:
    """One pool for all tests that it outlives; its processes import torch once."""
    with worker_pool(2) as pool:
        yield pool


def test_side_by_side_is_the_same_as_alone(workers: WorkerPool, tmp_path: Path) -> None:
    recipes = [
        Recipe("resnet8", "digits", Scheme(4, 8), epochs=1),
        Recipe("stable-resnet8", "digits", epochs=1),
    ]
    source = load("digits")
    seen: list[tuple[int, int]] = []
    runs = {tmp_path / str(i): recipe for i, recipe in enumerate(recipes)}
    done: list[Path] = []
    side_by_side = workers.train(
        runs,
        source,
        overwrite=False,
        progress=lambda *at: seen.append(at),
        done=lambda path, _result: done.append(path),
    )
    alone = train(recipes[0], source, tmp_path / "alone", threads=1)
    assert [result.recipe for result in side_by_side.values()] == [
        settled(recipe) for recipe in recipes
    ]
    assert (tmp_path / "0" / "best.safetensors").read_bytes() == (
        tmp_path / "alone" / "best.safetensors"
    ).read_bytes()
    assert side_by_side[tmp_path / "0"].test_correct == alone.test_correct
    assert seen[-1] == (200, 200)
    assert set(done) == set(runs)


def test_a_failure_is_the_callers(workers: WorkerPool, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder has to be")
    with pytest.raises(OutputError, match="taken"):
        workers.train(
            {tmp_path / "taken": Recipe("resnet8", "digits", epochs=1)},
            load("digits"),
            overwrite=False,
        )


def test_a_run_of_the_same_recipe_is_kept_and_one_of_another_starts_anew(
    workers: WorkerPool, tmp_path: Path
) -> None:
    recipe = Recipe("resnet8", "digits", epochs=1)
    source, folder = load("digits"), tmp_path / "run"
    assert not finished(folder, recipe)
    train(recipe, source, folder, threads=1)
    assert finished(folder, recipe)
    assert not finished(folder, replace(recipe, seed=1))
    best = (folder / "best.safetensors").stat().st_mtime_ns
    workers.train({folder: recipe}, source, overwrite=True)
    assert (folder / "best.safetensors").stat().st_mtime_ns == best
    workers.train({folder: replace(recipe, seed=1)}, source, overwrite=True)
    assert (folder / "best.safetensors").stat().st_mtime_ns != best
    assert finished(folder, replace(recipe, seed=1))


def test_other_work_is_shared_in_its_order(workers: WorkerPool) -> None:
    seen: list[tuple[int, int]] = []
    work = [(7, 2), (9, 4), (5, 5)]
    found = workers.each(divmod, work, lambda *at: seen.append(at))
    assert found == [(3, 1), (2, 1), (1, 0)]
    assert seen[-1] == (3, 3)


def test_no_library_has_a_second_thread_there_and_ours_keep_theirs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("OPENBLAS_NUM_THREADS", raising=False)
    with worker_pool(1) as workers:
        assert workers.each(os.getenv, [(name,) for name in THREADS], lambda *_: None) == [
            "1"
        ] * len(THREADS)
    assert (os.environ["OMP_NUM_THREADS"], os.environ.get("OPENBLAS_NUM_THREADS")) == ("7", None)


@pytest.mark.parametrize("polls", [1, pytest.param(40, marks=pytest.mark.slow)])
def test_ctrl_c_ends_all_that_is_under_way_and_nothing_else_is_said(
    capfd: pytest.CaptureFixture[str], polls: int
) -> None:
    """While the processes start, and while they work."""
    seen = iter(range(1, 1000))

    def press(*_: int) -> None:
        if next(seen) == polls:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="goes on from there"), worker_pool(2) as workers:
        workers.each(time.sleep, [(600,)] * 4, press)
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
def test_ctrl_c_saves_and_the_same_command_goes_on(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "edgeq",
        "demo",
        "-o",
        str(tmp_path / "demo"),
        "--epochs",
        "200",
    ]
    with subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, start_new_session=True
    ) as demo:
        for _ in range(600):
            if len(list(tmp_path.glob("demo/*/last.safetensors"))) == 2:
                break
            time.sleep(0.1)
        time.sleep(1)
        os.killpg(demo.pid, signal.SIGINT)
        _, said = demo.communicate(timeout=120)
    assert demo.returncode == 130
    assert "goes on from there" in said
    assert "Traceback" not in said
    assert not (tmp_path / "demo" / "report.html").exists()
