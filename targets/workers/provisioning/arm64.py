"""A Python for aarch64 with its packages, and a QEMU to run it.

Assembled in the user's cache folder, by anybody.

Two folders make a place to run: the system (Debian's arm64 Python and what it links to; QEMU, where
the machine has none that works), which all such targets share, and one with a runtime's wheels.
Each is built beside its place and moved there when it is complete.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import TargetError, UsageError
from edgeq.files import temporary_folder, write_json
from edgeq.targets.workers.launchers import Qemu
from edgeq.targets.workers.process import Limits, Worker
from edgeq.targets.workers.provisioning.debian import Archive, host_architecture, unpack
from edgeq.targets.workers.provisioning.environments import RECORD, call, home, names, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

OLDEST = (8, 0)
FAULT = (
    "QEMU 7.2 (Debian 12's own) crashes in both runtimes, on the import of onnxruntime "
    "and in the constructor of LiteRT's "
    "interpreter; 10.0 (Debian 12's backports) works"
)
_PROGRAMS = ("qemu-aarch64-static", "qemu-aarch64")
_PACKAGES = ("python3-minimal", "libpython3-stdlib", "libstdc++6")
_KEPT = ("lib/", "usr/lib/", "usr/bin/python3")
_PLATFORMS = ("manylinux_2_28_aarch64", "manylinux_2_27_aarch64", "manylinux2014_aarch64")
_VERSION = re.compile(r"version (\d+)\.(\d+)\.?(\d*)")


@dataclass(frozen=True, slots=True)
class Emulator:
    """An installed QEMU.

    Attributes:
        program: its path.
        version: major, minor, micro.
    """

    program: str
    version: tuple[int, int, int]

    @property
    def works(self) -> bool:
        """Whether it is none of those known to crash."""
        return self.version >= OLDEST

    @property
    def number(self) -> str:
        """The version as people write it."""
        return ".".join(map(str, self.version))


def emulators() -> list[Emulator]:
    """Every QEMU for aarch64 on the PATH, and then the one that :func:`make_system` fetched."""
    found = [path for path in map(shutil.which, _PROGRAMS) if path is not None]
    own = system() / _PROGRAMS[1]
    return [
        Emulator(path, number)
        for path in [*found, *([str(own)] if own.is_file() else [])]
        if (number := _version(path)) is not None
    ]


def emulator() -> Emulator:
    """The first that works.

    Raises:
        TargetError: there is none; tells why one that is there does not do.
    """
    found = emulators()
    for each in found:
        if each.works:
            return each
    why = (
        f"{found[0].program} is QEMU {found[0].number}: {FAULT}"
        if found
        else "QEMU's user emulation of aarch64 is not installed"
    )
    raise TargetError(
        why, hint="edgeq targets setup arm64-ort fetches one; or install QEMU 10, user emulation"
    )


@lru_cache
def _version(program: str) -> tuple[int, int, int] | None:
    try:
        told = subprocess.run(
            [program, "--version"],
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=10,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = _VERSION.search(told)
    return None if found is None else (int(found[1]), int(found[2]), int(found[3] or 0))


def system() -> Path:
    """Where the shared system is, or would be."""
    return home() / "environments" / "arm64-system"


def site(requirements: Sequence[str]) -> Path:
    """Where the folder with these packages is, or would be."""
    pinned = hashlib.sha256("\n".join(sorted(requirements)).encode()).hexdigest()[:10]
    return home() / "environments" / f"arm64-{names(requirements)[0]}-{pinned}"


def place(requirements: Sequence[str], cpu: str) -> Qemu:
    """The launcher for a runtime that was set up.

    Raises:
        TargetError: it was not, or there is no QEMU that works.
    """
    for folder in (system(), site(requirements)):
        if not (folder / RECORD).is_file():
            raise TargetError(
                "its aarch64 Python and packages are not assembled yet",
                hint="edgeq targets setup assembles them",
            )
    return _launcher(system() / "root", site(requirements) / "packages", cpu)


def versions(requirements: Sequence[str]) -> Mapping[str, str]:
    """What the runtime said of itself when it was set up, and QEMU's version."""
    try:
        record = json.loads((site(requirements) / RECORD).read_text("utf-8"))
        told = {str(name): str(number) for name, number in record["versions"].items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        told = {}
    return {**told, "qemu": emulator().number}


def features(launcher: Qemu) -> str:
    """What the emulated processor says that it has, in Linux's words.

    Raises:
        UsageError: QEMU knows no such processor.
        TargetError: it does not run at all.
    """
    return _features(launcher)


@lru_cache
def _features(launcher: Qemu) -> str:
    try:
        told = call(
            launcher.command(["-I", "-S", "-c", "print(open('/proc/cpuinfo').read())"]),
            launcher.place,
        )
    except TargetError as error:
        if "unable to find CPU model" not in error.what:
            raise
        raise UsageError(
            f"QEMU knows no processor {launcher.cpu!r}",
            hint=f"{launcher.program} -cpu help lists them",
        ) from error
    return next(
        (
            line.partition(":")[2].strip()
            for line in told.splitlines()
            if line.startswith("Features")
        ),
        "unknown",
    )


def make(
    requirements: Sequence[str], engine: str, cpu: str, *, force: bool, say: Callable[[str], None]
) -> Path:
    """Assemble system and packages, or leave complete ones as they are.

    Args:
        requirements: all wheels, exactly pinned, dependencies included.
        engine: the worker engine that has to start there.
        cpu: on which processor.
        force: make both again.
        say: told what is being done.

    Returns:
        The folder with the packages.

    Raises:
        OutputError: the disk is full, or the place cannot be written.
        TargetError: something cannot be fetched, or the engine does not start.
    """
    if force or not (system() / RECORD).is_file() or not any(each.works for each in emulators()):
        make_system(say)
    folder = site(requirements)
    if (folder / RECORD).is_file() and not force:
        say(f"{folder} is there already; --force makes it again")
        return folder
    with whole(folder) as making:
        _fill_site(making, requirements, say)
        say(f"starting the runtime once on an emulated {cpu}")
        launcher = _launcher(system() / "root", making / "packages", cpu)
        with Worker(launcher, engine, seconds=Limits().open_seconds) as worker:
            told = worker.ask("versions", seconds=Limits().open_seconds).header.get("versions")
        write_json(
            making / RECORD,
            {"requirements": list(requirements), "engine": engine, "versions": told},
        )
    return folder


def make_system(say: Callable[[str], None]) -> None:
    """Fetch Debian's arm64 Python, and QEMU where no QEMU on the PATH works."""
    with whole(system()) as making, temporary_folder() as folder:
        archive = Archive(folder, "arm64")
        say("reading which arm64 packages Debian has")
        archive.update()
        say("fetching Python for arm64")
        packages = archive.fetch(_PACKAGES)
        for package in packages:
            unpack(package, making / "root", wanted=lambda name: name.startswith(_KEPT))
        # where everything is in /usr, the links to it are in no package of these
        if not (making / "root" / "lib").exists():
            (making / "root" / "lib").symlink_to("usr/lib")
        there = any(
            each.works for each in emulators() if not Path(each.program).is_relative_to(system())
        )
        fetched = [] if there else _fetch_qemu(archive, making, say)
        write_json(making / RECORD, {"packages": [path.name for path in (*packages, *fetched)]})


def _fetch_qemu(archive: Archive, making: Path, say: Callable[[str], None]) -> list[Path]:
    package = f"qemu-user:{host_architecture()}"
    newest = max(archive.versions(package), key=_numbers, default="")
    if _numbers(newest) < OLDEST:
        raise TargetError(
            f"Debian's newest qemu-user here is {newest or 'none'}, and {FAULT}",
            hint="install QEMU 10 or later",
        )
    say(f"fetching QEMU {newest}")
    fetched = archive.fetch([f"{package}={newest}"])
    for path in fetched:
        unpack(path, making / "qemu", wanted=lambda name: name == f"usr/bin/{_PROGRAMS[1]}")
    (making / "qemu" / "usr" / "bin" / _PROGRAMS[1]).rename(making / _PROGRAMS[1])
    shutil.rmtree(making / "qemu")
    return fetched


def _numbers(version: str) -> tuple[int, int]:
    found = re.match(r"(?:\d+:)?(\d+)\.(\d+)", version)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def _fill_site(making: Path, requirements: Sequence[str], say: Callable[[str], None]) -> None:
    python = _python(system() / "root")
    say(f"fetching wheels for aarch64: {', '.join(requirements)}")
    with temporary_folder() as folder:
        platforms = [part for name in _PLATFORMS for part in ("--platform", name)]
        version = python.name.removeprefix("python")
        command = [
            sys.executable,
            "-m",
            "pip",
            "download",
            "--quiet",
            "--disable-pip-version-check",
            "--no-input",
            "--dest",
            str(folder),
        ]
        call(
            [
                *command,
                "--no-deps",
                "--only-binary=:all:",
                "--python-version",
                version,
                *platforms,
                *requirements,
            ],
            "pip download",
        )
        for wheel in sorted(folder.glob("*.whl")):
            unzip(wheel, making / "packages")


def unzip(wheel: Path, into: Path) -> None:
    """Take the files out of a wheel.

    Raises:
        TargetError: it is broken, or a path in it leads out of the folder.
    """
    try:
        with zipfile.ZipFile(wheel) as archive:
            _refuse_escapes(archive.namelist())
            archive.extractall(into)
    except zipfile.BadZipFile as error:
        raise TargetError(
            f"{wheel.name} cannot be unpacked: {error}", hint="give the command again"
        ) from error


def _refuse_escapes(members: Sequence[str]) -> None:
    for name in members:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise zipfile.BadZipFile(f"{name} leads out of it")


def _launcher(root: Path, packages: Path, cpu: str) -> Qemu:
    return Qemu(root=root, python=_python(root), site=packages, cpu=cpu, program=emulator().program)


def _python(root: Path) -> Path:
    found = sorted((root / "usr" / "bin").glob("python3.*"))
    if not found:
        raise TargetError(
            f"{root} holds no Python", hint="edgeq targets setup arm64-ort --force makes it again"
        )
    return found[0]
