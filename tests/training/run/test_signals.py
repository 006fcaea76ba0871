"""A training that a signal stops has saved where it is, and goes on to the same bits."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from tests.support.models import tiny_training
from tests.support.models.tiny_training import RECIPE, source, stop_after, weights

from edgeq.errors import Interrupted
from edgeq.training.checkpoint import read
from edgeq.training.run import base, loop

if TYPE_CHECKING:
    from pathlib import Path


PROGRAM = """
import importlib.util, os, signal, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("tiny", sys.argv[1])
tiny = importlib.util.module_from_spec(spec)
spec.loader.exec_module(tiny)
from edgeq.errors import Interrupted
from edgeq.training.run import loop

def report(progress):
    print(progress.epoch, progress.step, flush=True)
    if (progress.epoch, progress.step) == (1, 2) and sys.argv[3] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    if (progress.epoch, progress.step) == (1, 2) and sys.argv[3] == "wait":
        sys.stdin.readline()

try:
    loop.train(tiny.RECIPE, tiny.source(), Path(sys.argv[2]), threads=1, report=report)
except Interrupted as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_code)
"""


def program(folder: Path, what: str, **options: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", PROGRAM, str(tiny_training.__file__), str(folder), what]
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
    def test_a_signal_ends_the_program_with_its_code_and_everything_saved(
        self, finished: tuple[Path, loop.TrainingResult], tmp_path: Path, number: signal.Signals
    ) -> None:
        with program(tmp_path, "wait") as process:
            assert process.stdout is not None
            while process.stdout.readline().split() != ["1", "2"]:
                assert process.poll() is None
            os.kill(process.pid, number)
            _, errors = process.communicate("go on\n", timeout=60)
        assert process.returncode == 128 + number
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

        with pytest.raises(Interrupted, match=r"what was saved last is kept in .*last") as stopped:
            loop.train(RECIPE, source(), tmp_path, threads=1, report=twice)
        assert stopped.value.hint == "the same command with --resume goes on from there"

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
