"""Commands where the disk is full, nothing may be written, or a name is odd: told in words."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux" or os.geteuid() != 0, reason="small disks need root")
def test_each_says_what_is_wrong_and_leaves_files_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.support.checks.surroundings", str(tmp_path), "0", "252"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=3600, check=False)
    assert ended.returncode == 0, ended.stderr[-1000:]
    *faults, last = map(json.loads, ended.stdout.splitlines())
    assert faults == []
    assert last["tries"] == 252
    if last["left_out"]:
        pytest.skip(f"no other user can read this Python: not tried {', '.join(last['left_out'])}")
