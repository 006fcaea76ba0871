"""What goes wrong in training is told, and keeps what was good."""

from __future__ import annotations

import errno
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from tests.support.models.tiny_training import RECIPE, source, stop_after, weights

from edgeq.errors import ArtefactError, Diverged, Interrupted, OutputError, UsageError
from edgeq.training.checkpoint import read
from edgeq.training.optimization import losses
from edgeq.training.recipes.optimization import Group
from edgeq.training.run import base, loop

if TYPE_CHECKING:
    from pathlib import Path


class TestTrouble:
    def test_a_loss_that_runs_away_stops_and_keeps_what_was_good(self, tmp_path: Path) -> None:
        run = replace(RECIPE, scheme=None, lr=1e30, epochs=3)
        with pytest.raises(Diverged, match=r"epoch \d of 3, step \d of 5(.|\n)*hint: .*--lr"):
            loop.train(run, source(), tmp_path, threads=1)
        kept = read(tmp_path / loop.LAST)
        assert all(
            bool(torch.isfinite(tensor).all())
            for tensor in kept.tensors.values()
            if tensor.is_floating_point()
        )

    def test_the_step_that_would_spoil_the_weights_is_not_taken(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base, "SAVE_SECONDS", 0.0)
        real = losses.with_terms
        calls = []

        def spoilt(*arguments: Any) -> torch.Tensor:
            calls.append(1)
            return real(*arguments) * (float("nan") if len(calls) == 8 else 1.0)

        monkeypatch.setattr(losses, "with_terms", spoilt)
        with pytest.raises(Diverged, match="the loss is nan in epoch 2 of 3, step 3 of 5"):
            loop.train(RECIPE, source(), tmp_path, threads=1)
        assert (
            read(tmp_path / loop.LAST).progress["epoch"],
            read(tmp_path / loop.LAST).progress["step"],
        ) == (1, 2)
        monkeypatch.setattr(losses, "with_terms", real)
        loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)

    def test_a_bound_that_collapses_is_named(self, tmp_path: Path) -> None:
        run = replace(
            RECIPE, anneal_from=4, groups=(Group("act-bounds", lr=1e6, weight_decay=0.0),), lr=1e-6
        )
        with pytest.raises(Diverged, match=r"quantizers\.|the loss is"):
            loop.train(run, source(), tmp_path, threads=1)

    def test_a_full_disk_leaves_the_last_checkpoint(
        self,
        finished: tuple[Path, loop.TrainingResult],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        with pytest.raises(Interrupted):
            loop.train(RECIPE, source(), tmp_path, threads=1, report=stop_after(3))
        before = (tmp_path / loop.LAST).read_bytes()

        def full(_: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        with monkeypatch.context() as patched:
            patched.setattr(os, "fsync", full)
            with pytest.raises(OutputError, match=r"No space left on device\n  hint: make room"):
                loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
        assert (tmp_path / loop.LAST).read_bytes() == before
        assert [path.name for path in tmp_path.iterdir()] == [loop.LAST], (
            "no half-written file is left"
        )
        loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
        assert weights(tmp_path) == weights(finished[0])

    def test_splits_of_different_shapes(self, tmp_path: Path) -> None:
        data = source()
        odd = replace(data.validation, inputs={"": data.validation.images[:][:, :6]})
        with pytest.raises(ArtefactError, match=r"images of the shapes \(6, 8, 1\), \(8, 8, 1\)"):
            loop.train(RECIPE, replace(data, validation=odd), tmp_path)

    def test_data_that_changed_under_a_run(
        self, finished: tuple[Path, loop.TrainingResult]
    ) -> None:
        with pytest.raises(UsageError, match="was trained on other data"):
            loop.train(
                RECIPE, replace(source(), classes=("w", "x", "y", "z")), finished[0], resume=True
            )

    def test_a_best_checkpoint_is_no_running_state(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        (tmp_path / loop.LAST).write_bytes((finished[0] / loop.BEST).read_bytes())
        with pytest.raises(ArtefactError, match="no running state"):
            loop.train(RECIPE, source(), tmp_path, resume=True)
