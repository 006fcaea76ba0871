"""The table of methods after training goes on from the cells that it has, and judges them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from benchmarks import ptq
from benchmarks.support.ptq_goals import difference, goals

if TYPE_CHECKING:
    from pathlib import Path


def _cell(wrong: list[int], right_in_float: int = 95, samples: int = 100) -> dict[str, Any]:
    cost = {"changed": 7, "seconds": 12.4, "wall": 9.1, "peak_mb": 300.2}
    return {"float": right_in_float, "wrong": wrong, "samples": samples, **cost}


def test_cells_that_were_measured_are_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "resnet8_min-max_8-8.json").write_text(json.dumps(_cell([1, 2, 3, 4])))
    refused = {"refused": "its convolutions have weights of 8 bits and activations of 8"}
    (tmp_path / "resnet8_onnxruntime-MinMax_8-8.json").write_text(json.dumps(refused))
    rows = ["--rows", "min-max", "onnxruntime:MinMax"]
    ptq.main(["--networks", "resnet8", "--bits", "8/8", *rows, "--folder", str(tmp_path)])
    shown = capsys.readouterr().out.splitlines()
    assert "| min-max | 96.0 (90.2 to 98.4), 7 | 12 | 300 |" in shown
    assert f"onnxruntime:MinMax at 8/8: {refused['refused']}" in shown
    assert "| resnet8 | 8/8 within 0.3 points of float | min-max +1.0 points | yes |" in shown


def test_nothing_is_measured_where_only_kept_cells_are_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ptq.main(["--networks", "resnet8", "--only-kept", "--folder", str(tmp_path)])
    assert "min-max" not in capsys.readouterr().out
    assert not list(tmp_path.iterdir())


def test_answers_of_two_cells_are_compared_image_by_image() -> None:
    points, half = difference(_cell([1, 2, 3]), _cell([3, 4, 5, 6, 7]))
    assert points == pytest.approx(2.0)
    assert half == pytest.approx(1.96 * (6 - 4 / 100) ** 0.5, abs=1e-3)
    assert difference(_cell([1, 2]), _cell([1, 2])) == (0, 0)


def test_each_goal_says_what_was_measured_and_whether_it_is_met() -> None:
    few = list(range(5))
    cells = {
        ("min-max", "8/8"): _cell([*few, 5]),
        ("min-max", "4/8"): _cell(list(range(25))),
        ("gptq", "4/8"): _cell([*few, 5, 6]),
        ("reconstruct", "4/4"): _cell([*few, 5, 6, 7]),
        ("nncf:default", "8/8"): _cell(few),
        ("onnxruntime:MinMax", "4/8"): _cell([]),
    }
    found = {goal: (measured, met) for _, goal, measured, met in goals("net", cells)}
    assert found == {
        "8/8 within 0.3 points of float": ("min-max -1.0 points", "no"),
        "4/8 wins back 90 % of what min-max loses": ("gptq: 90 % of 20.0 points", "yes"),
        "4/4 reconstructed within 2 points of float": ("-3.0 points", "no"),
        "8/8 not worse than the best other tool": (
            "min-max -1.0 ± 2.0 points against nncf:default",
            "yes",
        ),
        "4/8 not worse than the best other tool": (
            "gptq -7.0 ± 5.0 points against onnxruntime:MinMax",
            "no",
        ),
    }
