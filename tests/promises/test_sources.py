"""Tracked files speak of the project only.

No folder of somebody's machine, no address of a package index.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# Put together here, so that this file passes its own test.
MACHINE = re.compile(
    "|".join(
        rf"(?<![\w.~$}}-])/{folder}/" for folder in ("home", "root", "work", "Users", "opt", "mnt")
    )
    + r"|\b[A-Z]:\\\\?Users"
)
INDEX = re.compile(
    "|".join(
        re.escape(".".join(parts))
        for parts in (
            ("pypi", "org"),
            ("pythonhosted", "org"),
            ("registry", "npmjs"),
            ("anaconda", "org"),
        )
    )
)
MAX_BYTES = 1_000_000


def lines(tracked: tuple[Path, ...]) -> list[tuple[str, str]]:
    """Every line of every text file, with where it stands."""
    found = []
    for path in tracked:
        content = path.read_bytes()
        if b"\0" not in content:
            found += [
                (f"{path}:{number}", line)
                for number, line in enumerate(content.decode().splitlines(), 1)
            ]
    return found


@pytest.mark.parametrize("pattern", [MACHINE, INDEX], ids=["machine paths", "package indexes"])
def test_no_tracked_file_names(pattern: re.Pattern[str], tracked: tuple[Path, ...]) -> None:
    found = [f"{where}: {line.strip()}" for where, line in lines(tracked) if pattern.search(line)]
    assert found == []


def test_the_patterns_find_what_they_are_for() -> None:
    assert MACHINE.search("path = " + "/" + "home/somebody/x")
    assert MACHINE.search('"/' + 'work/data"')
    assert not MACHINE.search("docs/work/x")
    assert INDEX.search("https://" + "pypi" + ".org/simple")


def test_no_tracked_file_is_large(tracked: tuple[Path, ...]) -> None:
    assert [str(path) for path in tracked if path.stat().st_size > MAX_BYTES] == []
