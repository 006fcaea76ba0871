"""Runs commands where something is missing, full or odd, and prints what is told badly.

    python -m tests.support.checks.surroundings FOLDER SEED COUNT

A line of JSON stands for each fault; the last says how many of each kind there were, and which
kinds are left out, since no other user can read this Python. Commands are
those of :mod:`tests.support.checks.killing`. Asked of each: it ends with 0 and the bytes that it
always writes, or says in words, without a traceback, what is wrong, and leaves all of its files as
they were, or all of them new.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tests.support.checks.killing import (
    KINDS,
    Kind,
    copied,
    ended,
    forked,
    held,
    import_all,
    starting_folder,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    Rng = np.random.Generator

NOBODY = 65534
HOMELESS = 54321  # a user whom the system does not know
ODD = (
    "a b",
    "line\nfeed",
    "-dash",
    "\N{PARROT}",
    "q'u\"o$(id)te`",
    "x" * 240,
    "latin\udcff",
    "%s{x}",
)
_REMOUNT, _PAGE = 32, 4096
_LARGEST = 30_000  # bytes of a file that is refused


def full_for_one_file(rng: Rng, place: Path) -> None:
    """A file may have so many bytes, and no more."""
    del place
    most = int(rng.integers(0, _LARGEST))
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def not_root(rng: Rng, place: Path) -> None:
    """The user is nobody, who has no home, or one whom the system does not know."""
    user = NOBODY if rng.random() < 0.5 else HOMELESS
    _given_to(user, place)
    os.environ.pop("HOME", None)
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        os.environ.pop(name, None)
    os.setgid(user)
    os.setuid(user)


def not_allowed(rng: Rng, place: Path) -> None:
    """The user may read everything, and write nothing."""
    del rng
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    _no_temporary(place)


def no_temporary_files(rng: Rng, place: Path) -> None:
    """There is no place for temporary files."""
    del rng
    _no_temporary(place)


def ascii_only(rng: Rng, place: Path) -> None:
    """Output cannot say anything but ASCII."""
    del rng
    sys.stdout = sys.stderr = (place / "said.txt").open("w", encoding="ascii")


def backwards(rng: Rng, place: Path) -> None:
    """Every file is from a time that has not come, or that no calendar has."""
    when = float(rng.choice([4e9, 0.0, 2e11]))
    for path in place.rglob("*"):
        os.utime(path, (when, when))


def as_ever(rng: Rng, place: Path) -> None:
    """Nothing is odd but what was made so before."""
    del rng, place


SURROUNDINGS: dict[str, Callable[[Rng, Path], None]] = {
    each.__name__: each
    for each in (
        full_for_one_file,
        not_root,
        not_allowed,
        no_temporary_files,
        ascii_only,
        backwards,
    )
}
OTHERS = ("not_root", "not_allowed")
"""Where another user runs the commands."""
SUCCEED = {"not_root", "ascii_only", "backwards", "odd_names"}


def main() -> None:
    """Run as many commands as are asked for, in the given folder."""
    root, first, count = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    root.chmod(0o755)
    import_all()
    start, wanted = starting_folder(root / "start"), {}
    for name, kind in KINDS.items():
        place = copied(start, root / "undisturbed" / name)
        code, said = ended(forked(kind, place), place)
        if code:
            sys.exit(f"{name} ends with {code}: {said}")
        wanted[name] = held(kind, place)
    done: Counter[str] = Counter()
    left_out = [] if _readable_to_others() else list(OTHERS)
    names = [each for each in SURROUNDINGS if each not in left_out]
    names += ["full", "read_only", "odd_names"]
    _own_mounts()
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        name, what = list(KINDS)[seed % len(KINDS)], names[seed // len(KINDS) % len(names)]
        place = copied(start, root / str(seed))
        kind = KINDS[name]
        if what == "odd_names":
            kind = _oddly_named(kind, place, ODD[seed // len(KINDS) // len(names) % len(ODD)])
        disks = _disks(what, rng, place)
        before = held(kind, place)
        make = SURROUNDINGS.get(what, as_ever)
        code, said = ended(forked(kind, place, lambda: make(rng, place)), place)  # noqa: B023
        now = dict(zip(wanted[name], held(kind, place).values(), strict=True))
        was = dict(zip(wanted[name], before.values(), strict=True))
        for disk in disks:
            _call("umount", os.fsencode(disk))
        if fault := _fault(what, code, said, (was, now, wanted[name])):
            _tell({"seed": seed, "command": name, "where": what, "fault": fault})
        else:
            shutil.rmtree(place)
        done[what] += 1
    _tell({"tries": count, "each": dict(sorted(done.items())), "left_out": left_out})


def _readable_to_others() -> bool:
    """Whether another user can read this Python and edgeq, which root may keep to itself."""
    import onnx

    import edgeq

    pid = os.fork()
    if not pid:
        code = 1
        try:
            os.setgid(NOBODY)
            os.setuid(NOBODY)
            for module in (os, np, onnx, edgeq):
                Path(module.__file__ or "").read_bytes()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def _fault(what: str, code: int, said: str, files: tuple[dict[str, bytes | None], ...]) -> str:
    was, now, wanted = files
    if "Traceback" in said or code == 70 or code < 0:
        return f"ends with {code}: {said[-600:]}"
    if code and "hint: " not in said and "failed" not in said:
        return f"ends with {code} and says no more than {said[-300:]!r}"
    if not code:
        odd = [name for name, content in now.items() if content != wanted[name]]
        told = what == "odd_names" or (what == "backwards" and "old/page.html" in odd)  # and shown
        return f"ends with 0, and {odd} are other than ever" if odd and not told else ""
    if what in SUCCEED:
        return f"ends with {code}: {said[-300:]}"
    whole = now in (was, wanted) or all(name.startswith("run/") for name in now)
    return "" if whole else f"leaves some files new and others old: {said[-200:]}"


def _oddly_named(kind: Kind, place: Path, odd: str) -> Kind:
    """The same command, where inputs and outputs have another name."""
    known = {"base.onnx": f"{odd}.onnx", "float.onnx": f"{odd}f.onnx", "result.json": f"{odd}.json"}
    if kind.words[0] == "gate":
        del known["base.onnx"]  # by whose name the baseline knows it
    for name, other in known.items():
        (place / name).rename(place / other)
    (place / "old").rename(place / odd)
    text = (place / "gate.toml").read_text()
    text = text.replace("old/", f"{json.dumps(odd, ensure_ascii=False)[1:-1]}/")
    (place / "gate.toml").write_text(text, errors="replace")

    def named(word: str) -> str:
        other = known.get(word, word.replace("old/", f"./{odd}/"))
        other = f"./{odd}" if other == "old" else other
        return f"./{other}" if other.startswith("-dash") else other

    files = tuple(
        each.replace("old/", f"{odd}/").replace("/base", f"/{odd}") for each in kind.files
    )
    return Kind(tuple(map(named, kind.words)), files)


def _disks(what: str, rng: Rng, place: Path) -> list[Path]:
    """Small disks in the place of all folders that are written, with what is in them."""
    if what not in ("full", "read_only"):
        return []
    disks = [place / name for name in ("old", "run", "cells")]
    for disk in disks:
        disk.mkdir(exist_ok=True)
        kept = {path: path.read_bytes() for path in disk.rglob("*") if path.is_file()}
        pages = sum(-(-len(content) // _PAGE) for content in kept.values())
        room = pages + int(rng.integers(1, 12)) if what == "full" else 2**12
        size = f"size={_PAGE * room}"
        _call("mount", b"none", os.fsencode(disk), b"tmpfs", 0, size.encode())
        for path, content in kept.items():
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(content)
        if what == "read_only":
            _call("mount", b"none", os.fsencode(disk), None, _REMOUNT | 1, size.encode())
    return disks


def _own_mounts() -> None:
    """Let nothing that is mounted from here on be seen by other processes."""
    _call("unshare", 0x00020000)
    _call("mount", b"none", b"/", None, 1 << 18 | 1 << 14, None)  # private, with all below


def _call(name: str, *arguments: object) -> None:
    if ctypes.CDLL(None, use_errno=True)[name](*arguments):
        raise OSError(ctypes.get_errno(), f"{name} failed; this needs root")


def _given_to(user: int, place: Path) -> None:
    for path in (place, *place.rglob("*")):
        os.chown(path, user, user, follow_symlinks=False)


def _no_temporary(place: Path) -> None:
    os.environ["TMPDIR"] = tempfile.tempdir = str(place / "nowhere")


def _tell(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
