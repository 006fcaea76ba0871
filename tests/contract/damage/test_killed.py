"""Commands that are killed at random moments: given again, all is as if nobody had."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
def test_each_goes_on_or_leaves_the_old_files_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.checks.killing", str(tmp_path), "0", "200"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert ended.returncode == 0, ended.stderr[-1000:]
    *faults, last = map(json.loads, ended.stdout.splitlines())
    assert faults == []
    assert last["tries"] == 200
    assert last["killed"] > 100, "most were at work"
