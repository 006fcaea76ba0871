"""What is built is what is in the source tree.

No room lost, nothing of ours outside ``edgeq``, no link followed.
"""

from __future__ import annotations

import subprocess
import sys
import zipfile
from configparser import ConfigParser
from importlib.metadata import distribution
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def wheels(root: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The wheel built from the tree, and the wheel built from the sdist."""
    direct, by_sdist = tmp_path_factory.mktemp("direct"), tmp_path_factory.mktemp("sdist")
    for folder, only in ((direct, ["--wheel"]), (by_sdist, [])):
        command = [
            sys.executable,
            "-m",
            "build",
            "--no-isolation",
            *only,
            "--outdir",
            str(folder),
            str(root),
        ]
        out = subprocess.run(command, capture_output=True, text=True, check=False)
        assert out.returncode == 0, out.stdout + out.stderr
    return next(direct.glob("*.whl")), next(by_sdist.glob("*.whl"))


def content(wheel: Path) -> set[str]:
    return set(zipfile.ZipFile(wheel).namelist())


def test_the_wheel_holds_exactly_the_source_tree(
    wheels: tuple[Path, Path], root: Path, rooms: tuple[str, ...], tracked: tuple[Path, ...]
) -> None:
    names = {path.relative_to(root).as_posix() for path in tracked}
    core = {name.removeprefix("src/") for name in names if name.startswith("src/edgeq/")}
    rooms_files = {f"edgeq/{name}" for name in names if name.partition("/")[0] in rooms}
    assert {name for name in content(wheels[0]) if name.startswith("edgeq/")} == core | rooms_files


def test_the_wheel_from_the_sdist_is_the_same(wheels: tuple[Path, Path]) -> None:
    direct, by_sdist = wheels
    assert content(direct) == content(by_sdist)


def test_only_edgeq_reaches_site_packages(wheels: tuple[Path, Path]) -> None:
    top = {name.partition("/")[0] for name in content(wheels[1])}
    assert sorted(name.partition("-")[0] for name in top) == ["edgeq", "edgeq"]
    assert "edgeq" in top


def test_the_wheel_carries_every_entry_point(
    wheels: tuple[Path, Path], project: dict[str, Any]
) -> None:
    parser: Any = ConfigParser(delimiters=("=",))
    parser.optionxform = str  # the documented way to keep case
    info = next(name for name in content(wheels[1]) if name.endswith(".dist-info/entry_points.txt"))
    parser.read_string(zipfile.ZipFile(wheels[1]).read(info).decode())
    wanted = {
        "console_scripts": project["project"]["scripts"],
        **project["project"]["entry-points"],
    }
    assert {group: dict(parser[group]) for group in parser.sections()} == wanted


def test_the_licence_travels_with_the_wheel(wheels: tuple[Path, Path], root: Path) -> None:
    name = next(name for name in content(wheels[1]) if name.endswith("/licenses/LICENSE"))
    assert zipfile.ZipFile(wheels[1]).read(name) == (root / "LICENSE").read_bytes()
    assert b"Apache License" in (root / "LICENSE").read_bytes()


def test_every_entry_point_leads_somewhere(project: dict[str, Any]) -> None:
    installed = {
        (entry.group, entry.name, entry.value): entry
        for entry in distribution("edgeq").entry_points
    }
    for group, entries in project["project"]["entry-points"].items():
        for name, value in entries.items():
            assert (group, name, value) in installed, (
                f"{group}:{name} is not installed; hint: make install"
            )
            assert installed[group, name, value].load() is not None
