"""The table of methods after training goes on from the cells that it has."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from benchmarks import ptq

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_cells_that_were_measured_are_not_measured_again(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = {"accuracy": 91.25, "changed": 7, "seconds": 12.4, "wall": 9.1, "peak_mb": 300.2}
    (tmp_path / "resnet8_min-max_8-8.json").write_text(json.dumps(made))
    refused = {"refused": "it quantises convolutions to 8 bits only"}
    (tmp_path / "resnet8_onnxruntime-MinMax_8-8.json").write_text(json.dumps(refused))
    rows = ["--rows", "min-max", "onnxruntime:MinMax"]
    ptq.main(["--networks", "resnet8", "--bits", "8/8", *rows, "--folder", str(tmp_path)])
    shown = capsys.readouterr().out.splitlines()
    assert "| min-max | 91.2 % (7), 12 s (9), 300 MB |" in shown
    assert "onnxruntime:MinMax: it quantises convolutions to 8 bits only" in shown
