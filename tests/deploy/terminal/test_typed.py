"""What the next command repeats of what was typed."""

from __future__ import annotations

import shlex
from typing import Any

import pytest
import typer.main

from edgeq.deploy.cli import app
from edgeq.deploy.preprocessing import FLAGS, AskedPreprocessing
from edgeq.deploy.terminal.typed import OF_PREPROCESSING, TAKEN, following

FED = "--preprocess pp.toml --scale=1/255"


@pytest.mark.parametrize(
    ("step", "typed", "told"),
    [
        (
            "edgeq why a.onnx --data 'my photos'",
            f"compare a.onnx -t ort --data 'my photos' {FED} --limit 9 --json",
            f"edgeq why a.onnx --data 'my photos' {FED} --limit 9",
        ),
        (
            "edgeq calibrate f.onnx --data d -o again.onnx",
            "why q.onnx --data-dir all --preprocess raw --split train --task top1 --model m:f",
            "edgeq calibrate f.onnx --data d -o again.onnx --data-dir all --preprocess raw",
        ),
        (
            "edgeq gate init a.onnx --data d",
            "why a.onnx --data d --limit 9 --preprocess raw",
            "edgeq gate init a.onnx --data d --preprocess raw",
        ),
        (
            "edgeq gate init a.onnx --data d",
            "why a.onnx --data d --limit 9 --mean 0.5,0.5 --task roc-auc",
            (
                "edgeq gate a.onnx --data d --mean 0.5,0.5 --task roc-auc "
                "--baseline edgeq-baseline.json --update"
            ),
        ),
        (
            "edgeq compare FILE --data NAME --task detect",
            "compare --task other --split train",
            "edgeq compare FILE --data NAME --task detect --split train",
        ),
        ("edgeq export q.onnx -o out", f"calibrate f.onnx {FED}", "edgeq export q.onnx -o out"),
    ],
)
def test_the_next_command_feeds_the_same_samples_alike(step: str, typed: str, told: str) -> None:
    assert following(shlex.split(step), shlex.split(typed)) == shlex.split(told)


def test_a_command_has_the_flags_that_it_is_offered_with() -> None:
    assert OF_PREPROCESSING == FLAGS
    root: Any = typer.main.get_command(app)
    for name, flags in TAKEN.items():
        command = root
        for word in ("gate run" if name == "gate" else name).split():
            command = command.commands[word]
        assert flags <= {flag for each in command.params for flag in each.opts}, name


def test_a_preprocessing_is_told_as_flags() -> None:
    table = {
        "resize": [96, 64],
        "mean": [0.5, 0.25],
        "scale": "1/255",
        "audio": {"kind": "log-mel", "rate": 16000},
    }
    words = AskedPreprocessing("raw", table).words()
    assert shlex.join(words) == (
        "--preprocess raw --resize 96x64 --mean 0.5,0.25 --scale 1/255 --audio log-mel:rate=16000"
    )
    flags = dict(zip(words[2::2], words[3::2], strict=True))
    typed = AskedPreprocessing(None, {flag[2:]: text for flag, text in flags.items()})
    assert typed.said() == table | {"audio": {"kind": "log-mel", "rate": "16000"}}
