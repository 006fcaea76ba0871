"""``edgeq operators`` and ``edgeq export --allow-float``.

What becomes integers, and what stays in float.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import pytest
from tests.support.models.qdq_models import S8, Graph, Grid

from edgeq.deploy.cli import run

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture
def half_float(tmp_path: Path) -> Path:
    """A network whose softmax TFLite cannot write on the grid that it has."""
    graph = Graph()
    x = graph.weighted(
        "Conv", graph.input("x", ["N", 6, 5, 7], S8), "c", (4, 6, 3, 3), S8, kernel_shape=[3, 3]
    )
    graph.op("Softmax", [x], "y", Grid(2.0**-16), axis=1)
    path = tmp_path / "net.onnx"
    onnx.save(graph.proto("y_dequantized"), path)
    return path


def test_the_operators_are_listed(answer: Callable[..., Any]) -> None:
    listed = {row["onnx"]: row for row in answer("operators")["operators"]}
    assert listed["Conv"]["tflite"] == "CONV_2D, DEPTHWISE_CONV_2D"
    assert listed["Softmax"]["conditions"].startswith("scale 1/8192")
    assert [row["onnx"] for row in answer("operators", "Gather")["operators"]] == ["Gather"]


def test_an_operator_that_is_not_among_them_is_offered_the_nearest(
    refusal: Callable[..., str],
) -> None:
    assert "did you mean 'Softmax'?" in refusal("operators", "Sofmax")


def test_what_stays_in_float_is_refused_by_name_unless_it_is_allowed(
    half_float: Path, tmp_path: Path, refusal: Callable[..., str], answer: Callable[..., Any]
) -> None:
    asked = ("export", half_float, "--to", "tflite", "-o", tmp_path / "out")
    assert "Softmax 'y/Softmax'" in refusal(*asked)
    assert not (tmp_path / "out").exists()
    share = answer(*asked, "--allow-float")["files"][0]["in_float"]
    assert share == {"operators": ["Softmax y/Softmax"], "macs": 0, "total_macs": 4 * 3 * 5 * 54}


def test_the_share_in_float_is_told_to_people(
    half_float: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        run(
            [
                "export",
                str(half_float),
                "--to",
                "tflite",
                "-o",
                str(tmp_path / "out"),
                "--allow-float",
            ]
        )
        == 0
    )
    printed = " ".join(capsys.readouterr().out.split())
    assert "In float: 0.0 % of 3,240 multiplications" in printed
    assert "Softmax y/Softmax" in printed
