"""Build the sdist and the wheel, the same bytes wherever and whenever; ``make build`` does so.

``--twice`` (``make reproduce``) builds what the last commit holds in two folders, under two umasks,
and compares. The time inside the files is that of the commit. The bytes also depend on the version
of hatchling, which the lock of the core pins, and on the zlib that Python was built with.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
_UMASKS = (0o022, 0o077)


def main() -> int:
    """Build, or build twice and compare; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.partition(";")[0] if __doc__ else None)
    parser.add_argument("--twice", action="store_true", help="build in two folders, and compare")
    if not parser.parse_args().twice:
        build(ROOT, ROOT / "dist")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        sums = []
        for umask, place in zip(_UMASKS, ("first", "second place"), strict=True):
            clone = Path(folder) / place / "edgeq"
            before = os.umask(umask)
            try:
                git(ROOT, "clone", "--quiet", "--no-hardlinks", str(ROOT), str(clone))
                build(clone, clone / "dist")
            finally:
                os.umask(before)
            sums.append(checksums(clone / "dist"))
    print(sums[0], end="")
    if sums[0] != sums[1]:
        print(f"The second build differs:\n{sums[1]}", file=sys.stderr)
        return 1
    print("Built twice, in two folders and under two umasks: the same bytes.")
    return 0


def build(tree: Path, into: Path) -> None:
    """Build the sdist of a tree, and the wheel from it.

    Raises:
        CalledProcessError: the build failed, which it has told.
    """
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    if (tree / ".git").exists():
        environment["SOURCE_DATE_EPOCH"] = committed_at(tree)
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(into), str(tree)]
    done = subprocess.run(
        command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False
    )
    if done.returncode:
        sys.stderr.buffer.write(done.stderr)
        raise subprocess.CalledProcessError(done.returncode, command)


def committed_at(tree: Path) -> str:
    """When the last commit of a tree was made, in seconds since 1970."""
    return git(tree, "log", "-1", "--format=%ct")


def checksums(folder: Path) -> str:
    """A line for each file of a folder, as ``sha256sum`` writes them."""
    return "".join(
        f"{hashlib.sha256(path.read_bytes()).hexdigest()}  {path.name}\n"
        for path in sorted(folder.iterdir())
        if path.name != "SHA256SUMS"
    )


def git(tree: Path, *arguments: str) -> str:
    """What git says in a tree.

    Raises:
        CalledProcessError: git refuses, which it has told.
    """
    done = subprocess.run(
        ["git", *arguments], cwd=tree, stdout=subprocess.PIPE, encoding="utf-8", check=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
