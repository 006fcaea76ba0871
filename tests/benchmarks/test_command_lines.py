"""Benchmarks without options answer ``--help`` and measures nothing for it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("name", ["export_time", "start_up"])
def test_help_ends_at_once_and_measures_nothing(name: str) -> None:
    shown = subprocess.run(
        [sys.executable, "-m", f"benchmarks.{name}", "--help"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    )
    assert shown.stdout.startswith("usage:")
    assert " s\n" not in shown.stdout
