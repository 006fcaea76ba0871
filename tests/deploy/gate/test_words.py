"""What to do next names what can be changed where the rules came from."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeq.deploy.gate.config import GateConfig, Rule
from edgeq.deploy.gate.words import worded

FLAGS = GateConfig((Path("a.onnx"),), "digits", Path("b.json"), (Rule("accuracy", {}),), Path())
RULES = GateConfig(
    (Path("a.onnx"),), "d", Path("b.json"), (Rule("accuracy", {}),), Path(), path=Path("x/g.toml")
)


@pytest.mark.parametrize(
    ("hint", "file", "flags"),
    [
        (
            "bring them to one size with --resize 32x32",
            'bring them to one size with resize = "32x32" under [preprocessing]',
            "bring them to one size with --resize 32x32",
        ),
        (
            "feed them as then, by --preprocess, or accept what is new: edgeq gate --update",
            (
                "feed them as then, by the line preprocessing = ..., or accept what is new: "
                "edgeq gate --config x/g.toml --update"
            ),
            (
                "feed them as then, by --preprocess, or accept what is new: "
                "the same command with --update"
            ),
        ),
        (
            "edgeq audit a.onnx --target ort-cpu",
            "edgeq audit a.onnx --target ort-cpu",
            "edgeq audit a.onnx --target ort-cpu",
        ),
        (
            "--limit first:120 takes them, or --limit 120",
            'samples = "first:120" takes them, or samples = 120',
            "--limit first:120 takes them, or --limit 120",
        ),
        (
            "edgeq why a.onnx --mean 0.5,0.4 --audio log-mel:rate=8 --std 1,1, or another",
            "edgeq why a.onnx --mean 0.5,0.4 --audio log-mel:rate=8 --std 1,1, or another",
            "edgeq why a.onnx --mean 0.5,0.4 --audio log-mel:rate=8 --std 1,1, or another",
        ),
        ("it may go: --accept-worse", "it may go: --accept-worse", "it may go: --accept-worse"),
    ],
)
def test_flags_are_lines_of_a_file_of_rules(hint: str, file: str, flags: str) -> None:
    assert worded(hint, RULES) == file
    assert worded(hint, FLAGS) == flags
