"""Debian packages of any architecture, fetched and unpacked without root.

The machine's own packages stay as they are.

apt is given a configuration, lists and a cache of its own. It reads the machine's sources, checks
the archive's signatures and works out what depends on what; dpkg-deb takes the packages apart.
Nothing is installed and none of their scripts is run.
"""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeq.errors import TargetError
from edgeq.targets.workers.provisioning.environments import call

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_PROGRAMS = ("apt-get", "apt-cache", "dpkg", "dpkg-deb")
# they are root's
_CLEARED = (
    "APT::Architectures",
    "APT::Update::Post-Invoke",
    "APT::Update::Post-Invoke-Success",
    "DPkg::Post-Invoke",
)
_NEEDED = (
    "this is made from Debian's packages: give the command on a Debian machine, or in a "
    "container of one"
)


@dataclass(frozen=True, slots=True)
class Archive:
    """Debian's archive as the machine's apt knows it, with a state of its own.

    Attributes:
        folder: for apt's lists and what it downloads; removed by whoever made it.
        architecture: of the packages that are fetched unless they say otherwise, in Debian's words
            (``arm64``).
    """

    folder: Path
    architecture: str

    def update(self) -> None:
        """Read what packages there are, the machine's own release and its backports.

        Raises:
            TargetError: this is no Debian machine, or its sources cannot be read.
        """
        release = _release()
        sources = [
            line
            for base, suite in _sources()
            if suite.startswith(release)
            for line in _lines(base, suite, release)
        ]
        if not sources:
            raise TargetError(
                f"apt has no source for Debian {release} on this machine", hint=_NEEDED
            )
        for name in ("state/lists/partial", "cache/archives/partial", "parts"):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        (self.folder / "status").touch()
        (self.folder / "sources.list").write_text(
            "".join(f"{line}\n" for line in dict.fromkeys(sources)), "utf-8"
        )
        (self.folder / "apt.conf").write_text(self._configuration(), "utf-8")
        self._apt("apt-get", "update")

    def _configuration(self) -> str:
        values = {
            "APT::Architecture": self.architecture,
            "Dir::State": self.folder / "state",
            "Dir::State::status": self.folder / "status",
            "Dir::Cache": self.folder / "cache",
            "Dir::Etc::sourcelist": self.folder / "sources.list",
            "Dir::Etc::sourceparts": self.folder / "parts",
            "Dir::Etc::preferencesparts": self.folder / "parts",
            "Acquire::Languages": "none",
            "APT::Install-Recommends": "false",
        }
        both = " ".join(
            f'"{name}";' for name in dict.fromkeys((self.architecture, host_architecture()))
        )
        lines = [*(f"#clear {name};" for name in _CLEARED), f"APT::Architectures {{ {both} }};"]
        return "\n".join([*lines, *(f'{name} "{value}";' for name, value in values.items()), ""])

    def versions(self, package: str) -> list[str]:
        """The versions of a package that there are, as apt orders them."""
        lines = self._apt("apt-cache", "madison", package).splitlines()
        return [line.split("|")[1].strip() for line in lines if line.count("|") == 2]

    def fetch(self, packages: Sequence[str]) -> list[Path]:
        """Download packages and all that they depend on.

        Args:
            packages: as apt takes them: ``name``, ``name:architecture``, ``name=version``.

        Returns:
            The files.
        """
        archives = self.folder / "cache" / "archives"
        for old in archives.glob("*.deb"):
            old.unlink()
        self._apt("apt-get", "install", "--yes", "--download-only", *packages)
        return sorted(archives.glob("*.deb"))

    def _apt(self, program: str, *arguments: str) -> str:
        return call(
            [program, "-qq", "-c", str(self.folder / "apt.conf"), *arguments],
            f"{program} {arguments[0]}",
        )


def host_architecture() -> str:
    """This machine's, in Debian's words."""
    return call(["dpkg", "--print-architecture"], "dpkg").strip()


def unpack(
    package: Path, into: Path, *, wanted: Callable[[str], bool] = lambda _name: True
) -> None:
    """Take the files out of a package.

    Args:
        package: a ``.deb`` file.
        into: the folder that stands for ``/``.
        wanted: whether a file is, by its path from there.

    Raises:
        TargetError: the package is broken, or a path in it leads out of the folder.
    """
    into.mkdir(parents=True, exist_ok=True)
    command = ["dpkg-deb", "--fsys-tarfile", str(package)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
        try:
            with tarfile.open(fileobj=process.stdout, mode="r|") as archive:
                _extract(archive, into, wanted)
        except tarfile.TarError as error:
            process.kill()
            raise TargetError(
                f"{package.name} cannot be unpacked: {error}", hint="give the command again"
            ) from error


def _extract(archive: tarfile.TarFile, into: Path, wanted: Callable[[str], bool]) -> None:
    # checked here; tarfile's own filters are younger than Python 3.11.0
    archive.extraction_filter = lambda member, _path: member
    root = into.resolve()
    for member in archive:
        name = member.name.removeprefix("./").rstrip("/")
        if not wanted(name) or not (
            member.isfile() or member.isdir() or member.issym() or member.islnk()
        ):
            continue
        if member.issym() and member.linkname.startswith("/"):  # means the package's own root
            member.linkname = os.path.relpath(f"{root}{member.linkname}", (root / name).parent)
        if not all(reached.is_relative_to(root) for reached in _reached(member, root, name)):
            raise tarfile.TarError(f"{name} leads out of it")
        member.mode &= 0o755
        archive.extract(member, root)


def _reached(member: tarfile.TarInfo, root: Path, name: str) -> list[Path]:
    """The places that a member touches or points to."""
    places = [(root / name).parent.resolve()]
    if ".." in Path(name).parts:
        places.append(root.parent)
    if member.issym():
        places.append((root / name).parent.joinpath(member.linkname).resolve())
    if member.islnk():
        places.append((root / member.linkname).resolve())
    return places


def _release() -> str:
    missing = [name for name in _PROGRAMS if shutil.which(name) is None]
    told = platform.freedesktop_os_release() if not missing else {}
    if told.get("ID") != "debian" or "VERSION_CODENAME" not in told:
        why = (
            f"{missing[0]} is not installed"
            if missing
            else f"this is {told.get('PRETTY_NAME', 'no Debian machine')}"
        )
        raise TargetError(f"Debian's packages cannot be fetched here: {why}", hint=_NEEDED)
    return told["VERSION_CODENAME"]


def _sources() -> list[tuple[str, str]]:
    """Address and suite of each source that apt knows on this machine."""
    wanted = ["--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"]
    told = call(["apt-get", "indextargets", *wanted], "apt-get indextargets")
    found = [line.split() for line in told.splitlines()]
    return [(fields[0], fields[1]) for fields in found if len(fields) == 3 and fields[2] == "main"]


def _lines(base: str, suite: str, release: str) -> list[str]:
    """The lines of a sources.list for one source, its backports included."""
    signed = f"[signed-by={_KEYRING}] " if _KEYRING.is_file() else ""
    suites = [suite, f"{suite}-backports"] if suite == release else [suite]
    return [f"deb {signed}{base} {each} main" for each in suites]
