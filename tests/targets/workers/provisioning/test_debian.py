"""Packages are taken apart inside their folder, and nothing is fetched where there is no Debian."""

from __future__ import annotations

import io
import platform
import shutil
import tarfile
from typing import TYPE_CHECKING

import pytest

from edgeq.errors import TargetError
from edgeq.targets.workers.provisioning import debian
from edgeq.targets.workers.provisioning.debian import Archive, unpack

if TYPE_CHECKING:
    from pathlib import Path

needs_dpkg = pytest.mark.skipif(
    shutil.which("dpkg-deb") is None, reason="dpkg-deb is not installed"
)


def member(
    name: str, content: bytes = b"", *, link: str = "", kind: bytes = tarfile.REGTYPE
) -> tuple[tarfile.TarInfo, bytes]:
    info = tarfile.TarInfo(name)
    info.size, info.linkname, info.type, info.mode = len(content), link, kind, 0o4777
    return info, content


def package(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    """A .deb file: an ar archive of a version, a control archive and the files."""

    def packed(*inside: tuple[tarfile.TarInfo, bytes]) -> bytes:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w:gz") as archive:
            for info, content in inside:
                archive.addfile(info, io.BytesIO(content))
        return out.getvalue()

    control = b"Package: p\nVersion: 1\nArchitecture: all\nMaintainer: m\nDescription: d\n"
    parts = {
        "debian-binary": b"2.0\n",
        "control.tar.gz": packed(member("./control", control)),
        "data.tar.gz": packed(*members),
    }
    content = b"!<arch>\n"
    for name, part in parts.items():
        content += (
            f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(part):<10}`\n".encode()
            + part
            + b"\n" * (len(part) % 2)
        )
    path.write_bytes(content)
    return path


@needs_dpkg
def test_files_come_out_without_rights_that_nobody_asked_for(tmp_path: Path) -> None:
    made = package(
        tmp_path / "p.deb", member("./usr/bin/tool", b"run"), member("./usr/share/doc", b"read")
    )
    unpack(made, tmp_path / "root", wanted=lambda name: name.startswith("usr/bin"))
    tool = tmp_path / "root" / "usr" / "bin" / "tool"
    assert tool.read_bytes() == b"run"
    assert tool.stat().st_mode & 0o7777 == 0o755
    assert not (tmp_path / "root" / "usr" / "share").exists()


@needs_dpkg
def test_an_absolute_link_means_the_package_s_own_root(tmp_path: Path) -> None:
    made = package(
        tmp_path / "p.deb",
        member("./usr/lib/a", b"1"),
        member("./lib/b", link="/usr/lib/a", kind=tarfile.SYMTYPE),
    )
    unpack(made, tmp_path / "root")
    assert (tmp_path / "root" / "lib" / "b").read_bytes() == b"1"


@needs_dpkg
@pytest.mark.parametrize(
    "members",
    [
        [member("./../outside", b"x")],
        [member("./a", link="../outside", kind=tarfile.SYMTYPE)],
        [member("./a", link="../../outside", kind=tarfile.LNKTYPE)],
        [member("./a", link="..", kind=tarfile.SYMTYPE), member("./a/outside", b"x")],
    ],
)
def test_a_path_that_leads_out_is_refused(
    tmp_path: Path, members: list[tuple[tarfile.TarInfo, bytes]]
) -> None:
    made = package(tmp_path / "p.deb", *members)
    with pytest.raises(TargetError, match="leads out"):
        unpack(made, tmp_path / "deep" / "root")
    assert not (tmp_path / "deep" / "outside").exists()


@needs_dpkg
def test_a_broken_package_is_named(tmp_path: Path) -> None:
    (tmp_path / "p.deb").write_bytes(b"!<arch>\nnonsense")
    with pytest.raises(TargetError, match=r"p\.deb cannot be unpacked"):
        unpack(tmp_path / "p.deb", tmp_path / "root")


def test_another_system_is_told_what_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: "/usr/bin/there")
    monkeypatch.setattr(
        platform, "freedesktop_os_release", lambda: {"ID": "fedora", "PRETTY_NAME": "Fedora 42"}
    )
    with pytest.raises(TargetError, match=r"this is Fedora 42\n  hint: .*Debian machine"):
        Archive(tmp_path, "arm64").update()


def test_a_machine_without_apt_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda _name: None)
    with pytest.raises(TargetError, match="apt-get is not installed"):
        Archive(tmp_path, "arm64").update()


def test_apt_is_kept_away_from_the_machine_s_own_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commands: list[list[str]] = []

    def call(command: list[str], _what: str) -> str:
        commands.append(command)
        return {
            "dpkg": "amd64\n",
            "apt-get": "ftp://archive bookworm main\nftp://other stable main\n",
        }[command[0]]

    monkeypatch.setattr(debian, "call", call)
    monkeypatch.setattr(debian, "_release", lambda: "bookworm")
    Archive(tmp_path, "arm64").update()
    sources = (tmp_path / "sources.list").read_text()
    assert "ftp://archive bookworm-backports main" in sources
    assert "other" not in sources
    told = (tmp_path / "apt.conf").read_text()
    assert f'Dir::State "{tmp_path}/state"' in told
    assert 'APT::Architectures { "arm64"; "amd64"; }' in told
    assert commands[-1] == ["apt-get", "-qq", "-c", str(tmp_path / "apt.conf"), "update"]
