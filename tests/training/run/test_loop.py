"""Training is a function of its recipe.

Cut off anywhere, it goes on to the same bits, and it looks at the test split once.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from tests.support.models.tiny_training import RECIPE, source, split, stop_after, weights

from edgeq.errors import ArtefactError, Interrupted, OutputError, UsageError
from edgeq.training.checkpoint import load_model, read
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.run import loop

if TYPE_CHECKING:
    from pathlib import Path

    from edgeq.data.source import Split


class TestDeterminism:
    def test_the_same_recipe_gives_the_same_bytes(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        torch.randn(3)  # whatever stands in torch's generator before
        result = loop.train(RECIPE, source(), tmp_path, threads=1)
        assert weights(tmp_path) == weights(finished[0])
        assert result.history == finished[1].history

    def test_another_seed_gives_others(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        loop.train(replace(RECIPE, seed=2), source(), tmp_path, threads=1)
        assert weights(tmp_path) != weights(finished[0])

    @pytest.mark.parametrize("steps", [1, 3, 5, 6, 12, 15])
    def test_an_interrupted_run_goes_on_to_the_same_bytes(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path, steps: int
    ) -> None:
        """In the middle of an epoch, at its first and last step, and after the very last."""
        with pytest.raises(Interrupted, match="--resume"):
            loop.train(RECIPE, source(), tmp_path, threads=1, report=stop_after(steps))
        assert (
            read(tmp_path / loop.LAST).progress["step"]
            + 5 * read(tmp_path / loop.LAST).progress["epoch"]
            == steps
        )
        result = loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
        assert weights(tmp_path) == weights(finished[0])
        assert replace(result, seconds=0, folder=tmp_path) == replace(
            finished[1], seconds=0, folder=tmp_path
        )

    def test_it_may_be_interrupted_at_every_step(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        for _ in range(15):
            with pytest.raises(Interrupted):
                loop.train(RECIPE, source(), tmp_path, threads=1, resume=True, report=stop_after(1))
        loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
        assert weights(tmp_path) == weights(finished[0])

    def test_a_finished_run_resumes_to_itself(
        self, finished: tuple[Path, loop.TrainingResult]
    ) -> None:
        folder, before = finished
        bytes_before = weights(folder)
        after = loop.train(RECIPE, source(), folder, threads=1, resume=True)
        assert weights(folder) == bytes_before
        assert (after.best_epoch, after.test_correct, after.history) == (
            before.best_epoch,
            before.test_correct,
            before.history,
        )


class TestFolders:
    def test_an_existing_run_is_refused_and_left_alone(
        self, finished: tuple[Path, loop.TrainingResult]
    ) -> None:
        before = weights(finished[0])
        with pytest.raises(OutputError, match=r"--resume to go on, --overwrite"):
            loop.train(RECIPE, source(), finished[0])
        assert weights(finished[0]) == before

    def test_a_lone_best_checkpoint_is_not_thrown_away(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        kept = (finished[0] / loop.BEST).read_bytes()
        (tmp_path / loop.BEST).write_bytes(kept)
        for resume in (False, True):
            with pytest.raises(OutputError, match="holds a run"):
                loop.train(RECIPE, source(), tmp_path, resume=resume)
        assert (tmp_path / loop.BEST).read_bytes() == kept

    def test_overwriting_starts_anew(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        loop.train(replace(RECIPE, seed=9, epochs=1, anneal_from=4), source(), tmp_path, threads=1)
        loop.train(RECIPE, source(), tmp_path, threads=1, overwrite=True)
        assert weights(tmp_path) == weights(finished[0])

    def test_resuming_another_run_is_refused_by_field(
        self, finished: tuple[Path, loop.TrainingResult]
    ) -> None:
        with pytest.raises(UsageError, match=r"was trained with another lr: 0\.1, not 0\.2"):
            loop.train(replace(RECIPE, lr=0.2), source(), finished[0], resume=True)

    def test_resuming_where_nothing_is_starts(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        loop.train(RECIPE, source(), tmp_path / "new", threads=1, resume=True)
        assert weights(tmp_path / "new") == weights(finished[0])

    def test_a_broken_checkpoint_is_not_resumed(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        (tmp_path / loop.LAST).write_bytes((finished[0] / loop.LAST).read_bytes()[:5000])
        with pytest.raises(ArtefactError, match="is no checkpoint"):
            loop.train(RECIPE, source(), tmp_path, resume=True)

    def test_a_folder_that_cannot_be_made(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(OutputError):
            loop.train(RECIPE, source(), tmp_path / "file" / "run")

    def test_nothing_else_lies_in_it(self, finished: tuple[Path, loop.TrainingResult]) -> None:
        assert sorted(path.name for path in finished[0].iterdir()) == [
            "best.safetensors",
            "last.safetensors",
            "run.json",
        ]


class TestBest:
    def test_it_is_the_best_epoch_at_the_target_widths(
        self, finished: tuple[Path, loop.TrainingResult]
    ) -> None:
        _, result = finished
        at_target = [epoch for epoch in result.history if epoch.bits is None]
        assert [epoch.bits for epoch in result.history] == [5, None, None]
        best = max(at_target, key=lambda epoch: (epoch.validation, epoch.epoch))
        assert (result.best_epoch, result.validation) == (best.epoch, best.validation)

    def test_its_accuracy_is_that_of_the_loaded_checkpoint(
        self, finished: tuple[Path, loop.TrainingResult]
    ) -> None:
        folder, result = finished
        model = load_model(folder / loop.BEST).module
        data = source()
        assert loop.evaluate(model, data.validation, data) == round(
            result.validation * len(data.validation)
        )
        assert loop.evaluate(model, data.test, data) == result.test_correct

    def test_however_short_a_run_it_ends_at_the_target_widths(self, tmp_path: Path) -> None:
        result = loop.train(
            replace(RECIPE, epochs=1, anneal_from=16), source(32), tmp_path, threads=1
        )
        assert result.history[0].bits is None
        clips = [
            module
            for module in load_model(tmp_path / loop.BEST).module.modules()
            if isinstance(module, LearnedClip)
        ]
        assert {clip.bits for clip in clips} == {4, 8}

    def test_the_record_says_what_was_run(self, finished: tuple[Path, loop.TrainingResult]) -> None:
        folder, result = finished
        record = json.loads((folder / loop.RUN).read_text())
        assert Recipe.from_dict(record["recipe"]) == RECIPE
        assert (record["test_correct"], record["test_total"]) == (result.test_correct, 20)
        assert [entry["bits"] for entry in record["history"]] == [5, None, None]

    def test_it_learns(self, tmp_path: Path) -> None:
        run = replace(RECIPE, epochs=4, lr=0.05, anneal_from=4, batch_size=8)
        result = loop.train(run, source(160, "none"), tmp_path, threads=1)
        assert result.history[-1].loss < result.history[0].loss
        assert result.test_correct >= 15, "of 20; chance is 5"


def test_the_test_split_is_untouched_until_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data, looked_at = source(), []
    evaluate = loop.evaluate

    def spy(model: Any, part: Split, *rest: Any, **options: Any) -> int:
        looked_at.append(
            "test" if part is data.test else "validation" if part is data.validation else "other"
        )
        return evaluate(model, part, *rest, **options)

    class Watched(np.ndarray):
        def __getitem__(self, key: Any) -> Any:
            looked_at.append("pixels of test")
            return super().__getitem__(key)

    watched = replace(data.test, inputs={"": data.test.images[:].view(Watched)})
    data = replace(data, test=watched)
    monkeypatch.setattr(loop, "evaluate", spy)
    loop.train(RECIPE, data, tmp_path, threads=1)
    assert looked_at[:3] == ["validation"] * 3
    assert looked_at[3] == "test"
    assert set(looked_at[4:]) == {"pixels of test"}


def test_progress_counts_every_step(tmp_path: Path) -> None:
    seen: list[loop.Progress] = []
    loop.train(replace(RECIPE, epochs=2), source(), tmp_path, threads=1, report=seen.append)
    assert [(one.epoch, one.step) for one in seen] == [
        (epoch, step) for epoch in range(2) for step in range(1, 6)
    ]
    assert {(one.epochs, one.steps) for one in seen} == {(2, 5)}
    assert [one.bits for one in seen] == [5] * 5 + [None] * 5
    assert [one.validation is None for one in seen] == [True] * 5 + [False] * 5
    assert all(one.eta_s >= 0 and np.isfinite(one.loss) for one in seen)
    assert seen[-1].eta_s == 0


@pytest.mark.parametrize(("samples", "steps"), [(33, 2), (34, 3), (32, 2)])
def test_a_last_batch_of_one_is_left_out(tmp_path: Path, samples: int, steps: int) -> None:
    seen: list[loop.Progress] = []
    loop.train(
        replace(RECIPE, epochs=1, anneal_from=4), source(samples), tmp_path, report=seen.append
    )
    assert len(seen) == steps


def test_too_little_data_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="too few samples"):
        loop.train(RECIPE, source(1), tmp_path)
    with pytest.raises(UsageError, match="too few samples"):
        loop.train(RECIPE, replace(source(), validation=split(0, 1)), tmp_path)


def test_fp32_training(tmp_path: Path) -> None:
    result = loop.train(replace(RECIPE, scheme=None, epochs=1), source(32), tmp_path, threads=1)
    assert result.history[0].bits is None
    assert not load_model(tmp_path / loop.BEST).quantized
