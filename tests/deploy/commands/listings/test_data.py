"""``edgeq data NAME``: what is found, what is broken, and what is odd."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from PIL import Image

from edgeq.deploy.cli import run

if TYPE_CHECKING:
    from pathlib import Path

    import pytest


def test_broken_and_odd_samples_are_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "photos" / "cat"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (4 + number // 3, 4)).save(folder / f"{number}.png")
    assert run(["data", str(tmp_path / "photos")]) == 0
    said = capsys.readouterr()
    assert "3 of 4x4, 1 of 4x5" in said.out
    assert "next: edgeq compare FILE" in said.out
    assert "there is one class, 'cat'" in said.err

    (folder / "3.png").write_bytes(b"broken")
    assert run(["data", str(tmp_path / "photos")]) == 2
    said = capsys.readouterr()
    assert "cat/3.png" in said.out
    assert "next:" not in said.out
    assert "3.png cannot be read as an image" in said.err

    assert run(["data", str(tmp_path / "photos"), "--json"]) == 2
    (found,) = json.loads(capsys.readouterr().out)["data"]
    assert found["broken"] == {"test": ["cat/3.png"]}
