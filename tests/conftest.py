"""Fixtures for the whole suite."""

from __future__ import annotations

import gc
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

if TYPE_CHECKING:
    from collections.abc import Iterator

# Where readline is loaded, processes of pytest-xdist inherit a width that nobody asked for.
os.environ.pop("COLUMNS", None)

# Gates of the tests are none of the job's that runs them.
for _name in ("GITHUB_ACTIONS", "GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY"):
    os.environ.pop(_name, None)

# A process for each file of the tests' own making would take a second each.
os.environ["EDGEQ_IN_PROCESS"] = "1"

# How long an example takes is the machine's doing; a hang is what the suite's own time limit is
# for.
settings.register_profile(
    "edgeq", settings.get_profile(settings.get_current_profile_name()), deadline=None
)
settings.load_profile("edgeq")


def pytest_collection_finish() -> None:
    """Leave what was imported and collected out of garbage collection: 7 % of the suite's time."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 50, 100)


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The folder of real data.

    Tests that need it are skipped where ``EDGEQ_DATA`` does not name one.
    """
    folder = os.environ.get("EDGEQ_DATA")
    if not folder or not Path(folder).is_dir():
        pytest.skip("EDGEQ_DATA names no folder of real data")
    return Path(folder).resolve()


@pytest.fixture(scope="session", autouse=True)
def _tables_fit() -> Iterator[None]:
    """Look at every table of every command that any test has printed, at 80 columns too."""
    from tests.support.checks.tables import watched

    with pytest.MonkeyPatch.context() as monkeypatch, watched(monkeypatch):
        yield
