"""Training is a function of its recipe.

Cut off anywhere, it goes on to the same bits, and it looks at the test split once.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from edgeq.data.source import DataSource, Split
from edgeq.errors import ArtefactError, Diverged, Interrupted, OutputError, UsageError
from edgeq.training.checkpoint import load_model, read, write_file
from edgeq.training.optimization import losses
from edgeq.training.quantizers.learned_clip import LearnedClip
from edgeq.training.recipes.optimization import Group, Optimizer, Schedule
from edgeq.training.recipes.recipe import Recipe
from edgeq.training.recipes.scheme import Scheme
from edgeq.training.run import base, loop

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SHAPE = (8, 8, 1)
FIRST_FIELDS = (
    "model",
    "data",
    "scheme",
    "epochs",
    "batch_size",
    "lr",
    "momentum",
    "weight_decay",
    "anneal_from",
    "seed",
    "precision",
    "compiled",
)
# as a network of the zoo is trained from scratch
SCHEME = Scheme(4, 4).settled(normalize_weights=True)
RECIPE = Recipe("stable-resnet8", "made-up", SCHEME, epochs=3, batch_size=16, anneal_from=5, seed=1)


def split(samples: int, seed: int) -> Split:
    """Images that a network can tell apart: each class has a bright quarter."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, samples)
    images = rng.integers(0, 120, (samples, *SHAPE))
    for image, label in zip(images, labels, strict=True):
        image[4 * (label // 2) : 4 * (label // 2) + 4, 4 * (label % 2) : 4 * (label % 2) + 4] += 100
    return Split(
        images.astype(np.uint8), labels.astype(np.int64), np.arange(samples, dtype=np.int64)
    )


def source(train: int = 80, augmentation: Any = "crop-flip") -> DataSource:
    return DataSource(
        "made-up",
        ("a", "b", "c", "d"),
        split(train, 0),
        split(24, 1),
        split(20, 2),
        (0.4,),
        (0.2,),
        augmentation,
    )


def stop_after(steps: int) -> Callable[[loop.Progress], None]:
    """Press Ctrl-C once, after so many steps."""
    seen = []

    def report(progress: loop.Progress) -> None:
        seen.append(progress)
        if len(seen) == steps:
            signal.raise_signal(signal.SIGINT)

    return report


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, loop.TrainingResult]:
    """A run that nothing interrupted."""
    folder = tmp_path_factory.mktemp("finished")
    return folder, loop.train(RECIPE, source(), folder, threads=1)


def weights(folder: Path) -> dict[str, bytes]:
    return {name: (folder / name).read_bytes() for name in (loop.LAST, loop.BEST)}


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
        """In the middle of an epoch, at its last step and at its first one, and after the very last."""
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


PROGRAM = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("the_test", sys.argv[1])
the_test = importlib.util.module_from_spec(spec)
spec.loader.exec_module(the_test)
from edgeq.errors import EdgeqError
from edgeq.training.run import loop

def report(progress):
    print(progress.epoch, progress.step, flush=True)
    if (progress.epoch, progress.step) == (1, 2) and sys.argv[3] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if (progress.epoch, progress.step) == (1, 2) and sys.argv[3] == "wait":
        sys.stdin.readline()

try:
    loop.train(the_test.RECIPE, the_test.source(), Path(sys.argv[2]), threads=1, report=report)
except EdgeqError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def program(folder: Path, what: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, __file__, str(folder), what]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        **options,
    )


class TestSignals:
    def test_a_killed_run_goes_on_from_its_last_save(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        with program(tmp_path, "kill") as process:
            assert process.wait(60) == -signal.SIGKILL
        progress = read(tmp_path / loop.LAST).progress
        assert (progress["epoch"], progress["step"]) == (1, 0), (
            "the end of the first epoch was saved"
        )
        loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
        assert weights(tmp_path) == weights(finished[0])

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_a_signal_ends_the_program_with_130_and_everything_saved(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path, number: signal.Signals
    ) -> None:
        with program(tmp_path, "wait") as process:
            assert process.stdout is not None
            while process.stdout.readline().split() != ["1", "2"]:
                assert process.poll() is None
            os.kill(process.pid, number)
            _, errors = process.communicate("go on\n", timeout=60)
        assert process.returncode == 130
        assert "it is saved" in errors
        assert "Traceback" not in errors
        loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
        assert weights(tmp_path) == weights(finished[0])

    def test_the_command_line_exits_with_130_and_says_how_to_go_on(self, tmp_path: Path) -> None:
        program = "from edgeq.deploy.cli import main; main()"
        flags = [
            "train",
            "stable-resnet8",
            "--data",
            "digits",
            "--epochs",
            "20",
            "--threads",
            "1",
            "-o",
            str(tmp_path),
        ]
        with subprocess.Popen(
            [sys.executable, "-c", program, *flags],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as process:
            while not (tmp_path / loop.LAST).exists():  # training has begun
                assert process.poll() is None
                time.sleep(0.02)
            os.kill(process.pid, signal.SIGINT)
            _, errors = process.communicate(timeout=60)
        assert process.returncode == 130
        assert "--resume" in errors
        assert "Traceback" not in errors
        assert read(tmp_path / loop.LAST).recipe.model == "stable-resnet8"

    @pytest.mark.parametrize("at", [1, 2, 3, 4])
    def test_it_stops_while_it_evaluates_too(
        self,
        finished: tuple[Path, loop.TrainingResult],
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        at: int,
    ) -> None:
        """In the validation of each epoch, and in the test at the end, which is the fourth."""
        evaluate, calls = loop.evaluate, iter(range(1, 100))

        def interrupted(*arguments: Any, **options: Any) -> int:
            if next(calls) == at:
                signal.raise_signal(signal.SIGINT)
            return evaluate(*arguments, **options)

        monkeypatch.setattr(loop, "evaluate", interrupted)
        with pytest.raises(
            Interrupted, match=f"epoch {at} of 3, step 5 of 5" if at < 4 else "its test"
        ):
            loop.train(RECIPE, source(), tmp_path, threads=1)
        result = loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
        assert weights(tmp_path) == weights(finished[0])
        assert result.test_correct == finished[1].test_correct

    @pytest.mark.parametrize(
        ("given", "hint"),
        [
            ({}, "the same command with --resume goes on"),
            ({"overwrite": True}, "the same command with --resume instead of --overwrite goes on"),
            ({"resume": True}, "the same command goes on"),
        ],
    )
    def test_how_to_go_on_fits_what_was_given(
        self, tmp_path: Path, given: dict[str, Any], hint: str
    ) -> None:
        with pytest.raises(Interrupted) as stopped:
            loop.train(RECIPE, source(), tmp_path, threads=1, report=stop_after(1), **given)
        assert stopped.value.hint.startswith(hint)

    def test_handlers_are_as_they_were(self, tmp_path: Path) -> None:
        before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
        with pytest.raises(Interrupted):
            loop.train(RECIPE, source(), tmp_path, threads=1, report=stop_after(1))
        assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before

    def test_a_second_ctrl_c_stops_at_once(self, tmp_path: Path) -> None:
        def twice(_: loop.Progress) -> None:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)

        with pytest.raises(KeyboardInterrupt):
            loop.train(RECIPE, source(), tmp_path, threads=1, report=twice)

    def test_it_runs_in_a_thread_too(self, tmp_path: Path) -> None:
        """Where Python takes no signal handlers."""
        found: list[loop.TrainingResult] = []
        run = replace(RECIPE, epochs=1, anneal_from=4)
        thread = threading.Thread(
            target=lambda: found.append(loop.train(run, source(32), tmp_path))
        )
        thread.start()
        thread.join(60)
        assert len(found) == 1

    def test_long_epochs_are_saved_by_the_clock(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(base, "SAVE_SECONDS", 0.0)
        seen = []

        def report(progress: loop.Progress) -> None:
            if progress.step > 1:
                seen.append(read(tmp_path / loop.LAST).progress["step"] == progress.step - 1)

        loop.train(
            replace(RECIPE, epochs=1, anneal_from=4), source(), tmp_path, threads=1, report=report
        )
        assert seen == [True] * 4


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

    watched = replace(data.test, images=data.test.images.view(Watched))
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


OPTIONS: dict[str, dict[str, Any]] = {
    "adam": {"optimizer": Optimizer("adam"), "lr": 1e-3, "schedule": Schedule("step", at=(0.4,))},
    "rmsprop": {
        "optimizer": Optimizer("rmsprop", epsilon=1.0),
        "lr": 0.045,
        "schedule": Schedule("exponential", factor=0.97),
    },
    "average": {"ema": 0.9},
    "consistency": {"consistency": 0.5},
    "hinge": {
        "loss": "squared-hinge",
        "augmentation": "affine",
        "groups": (Group("act-bounds", lr=0.01, weight_decay=0.0),),
    },
}


class TestOptions:
    @pytest.mark.parametrize("name", OPTIONS)
    def test_each_can_be_interrupted_and_goes_on_to_the_same_bytes(
        self, tmp_path: Path, name: str
    ) -> None:
        run = replace(RECIPE, epochs=2, anneal_from=4, **OPTIONS[name])
        data = source(48)
        loop.train(run, data, tmp_path / "whole", threads=1)
        with pytest.raises(Interrupted):
            loop.train(run, data, tmp_path / "parts", threads=1, report=stop_after(2))
        loop.train(run, data, tmp_path / "parts", threads=1, resume=True)
        assert weights(tmp_path / "parts") == weights(tmp_path / "whole")
        plain = read(tmp_path / "whole" / loop.LAST).recipe
        assert plain == run

    def test_each_makes_a_difference(self, tmp_path: Path) -> None:
        found = set()
        for name, options in {"none": {}, **OPTIONS}.items():
            loop.train(
                replace(RECIPE, epochs=1, anneal_from=4, **options),
                source(32),
                tmp_path / name,
                threads=1,
            )
            found.add((tmp_path / name / loop.BEST).read_bytes()[-4000:])
        assert len(found) == len(OPTIONS) + 1

    def test_the_average_is_what_is_kept_and_the_weights_what_is_trained(
        self, tmp_path: Path
    ) -> None:
        result = loop.train(replace(RECIPE, ema=0.9), source(), tmp_path, threads=1)
        last, best = read(tmp_path / loop.LAST), read(tmp_path / loop.BEST)
        model = {name: tensor for name, tensor in last.tensors.items() if name.startswith("model/")}
        average = {name: last.tensors[name.replace("model/", "average/", 1)] for name in model}
        assert result.best_epoch == 2, "else the comparison is of two epochs"
        assert all(torch.equal(average[name], best.tensors[name]) for name in model)
        assert not all(torch.equal(model[name], best.tensors[name]) for name in model)
        assert (
            loop.evaluate(load_model(tmp_path / loop.BEST).module, source().test, source())
            == result.test_correct
        )

    def test_a_teacher_is_learnt_from(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        teacher = str(finished[0] / loop.BEST)
        run = replace(RECIPE, epochs=1, anneal_from=4, teacher=teacher, distillation=1.0)
        loop.train(run, source(), tmp_path / "taught", threads=1)
        data = source()
        labels = data.train.labels.copy()
        data = replace(data, train=replace(data.train, labels=(labels + 1) % 4))
        loop.train(run, data, tmp_path / "mislabelled", threads=1)
        assert (
            weights(tmp_path / "taught")[loop.LAST][-4000:]
            == weights(tmp_path / "mislabelled")[loop.LAST][-4000:]
        ), "labels do not count"

    def test_a_teacher_of_other_data_is_refused(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        run = replace(RECIPE, teacher=str(finished[0] / loop.BEST))
        with pytest.raises(ArtefactError, match=r"the teacher .* 4 classes, and made-up has .* 5"):
            loop.train(run, replace(source(), classes=tuple("abcde")), tmp_path)

    def test_it_goes_on_from_fewer_bits_to_even_fewer(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path
    ) -> None:
        run = replace(
            RECIPE,
            scheme=Scheme(3, 3),
            epochs=1,
            lr=1e-9,
            weight_decay=0.0,
            init_from=str(finished[0] / loop.BEST),
        )
        loop.train(run, source(32), tmp_path, threads=1)
        before, after = (read(folder / loop.BEST).tensors for folder in (finished[0], tmp_path))
        kernels = [name for name, tensor in before.items() if tensor.ndim == 4]
        assert kernels
        assert all(torch.allclose(before[name], after[name], atol=1e-6) for name in kernels)

    def test_the_epochs_are_reported(self, tmp_path: Path) -> None:
        seen: list[loop.Epoch] = []
        result = loop.train(RECIPE, source(32), tmp_path, threads=1, report_epoch=seen.append)
        assert tuple(seen) == result.history

    def test_bfloat16_and_compiled_leave_evaluation_in_float32(self, tmp_path: Path) -> None:
        run = replace(RECIPE, epochs=1, anneal_from=4, precision="bf16")
        result = loop.train(run, source(32), tmp_path, threads=1)
        assert np.isfinite(result.history[0].loss)
        assert all(
            tensor.dtype != torch.bfloat16 for tensor in read(tmp_path / loop.BEST).tensors.values()
        )


def older(folder: Path) -> None:
    """Leave a checkpoint as the first release wrote them.

    Without any of the fields that came later.
    """
    saved = read(folder / loop.LAST)
    content = {name: saved.recipe.to_dict()[name] for name in FIRST_FIELDS}
    header: dict[str, Any] = {
        "format": "edgeq.checkpoint/1",
        "edgeq_version": "0.1.0",
        "recipe": content,
    }
    header |= {
        "input_shape": [*saved.input_shape],
        "classes": [*saved.classes],
        "progress": dict(saved.progress),
    }
    write_file(folder / loop.LAST, header, saved.tensors)


def test_a_checkpoint_of_the_first_fields_goes_on(
    finished: tuple[Path, loop.TrainingResult], tmp_path: Path
) -> None:
    with pytest.raises(Interrupted):
        loop.train(RECIPE, source(), tmp_path, threads=1, report=stop_after(7))
    older(tmp_path)
    loop.train(RECIPE, source(), tmp_path, threads=1, resume=True)
    assert weights(tmp_path) == weights(finished[0])


def test_weights_by_coin_are_tossed_alike_after_an_interruption(tmp_path: Path) -> None:
    run = replace(
        RECIPE,
        scheme=Scheme(1, 4, weights="binary-connect-stochastic"),
        epochs=2,
        loss="squared-hinge",
        anneal_from=2,
    )
    loop.train(run, source(48), tmp_path / "whole", threads=1)
    with pytest.raises(Interrupted):
        loop.train(run, source(48), tmp_path / "parts", threads=1, report=stop_after(2))
    torch.randn(3)
    loop.train(run, source(48), tmp_path / "parts", threads=1, resume=True)
    assert weights(tmp_path / "parts") == weights(tmp_path / "whole")


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
        real = losses.loss_of
        calls = []

        def spoilt(*arguments: Any) -> torch.Tensor:
            calls.append(1)
            return real(*arguments) * (float("nan") if len(calls) == 8 else 1.0)

        monkeypatch.setattr(losses, "loss_of", spoilt)
        with pytest.raises(Diverged, match="the loss is nan in epoch 2 of 3, step 3 of 5"):
            loop.train(RECIPE, source(), tmp_path, threads=1)
        assert (
            read(tmp_path / loop.LAST).progress["epoch"],
            read(tmp_path / loop.LAST).progress["step"],
        ) == (1, 2)
        monkeypatch.setattr(losses, "loss_of", real)
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
        odd = replace(data.validation, images=data.validation.images[:, :6])
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
