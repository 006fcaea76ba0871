"""Make a release: ``make release VERSION=0.2.0``. Nothing is pushed, and nothing is half made.

All is done in a clone: the version, the changelog from its fragments, the commit, the tag, sdist,
wheel, bill of materials and checksums. Only when all of it is there does this checkout take the
commit and the tag, and ``dist/`` the files. See docs/releasing.md.
"""

from __future__ import annotations

import datetime as dt
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from building import ROOT, build, checksums, committed_at, git
from packaging.version import InvalidVersion, Version
from sbom import bill

HOME = Path("src/edgeq/__init__.py")
CHANGES = Path("release/changes")
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class Refused(Exception):
    """No release can be made so; the message says why, and what to do."""


def main(version: str) -> int:
    """Make a release; returns the exit code."""
    try:
        branch = check(version)
        with tempfile.TemporaryDirectory() as folder:
            clone = Path(folder) / "edgeq"
            git(ROOT, "clone", "--quiet", "--branch", branch, str(ROOT), str(clone))
            write(clone, version)
            made = Path(folder) / "dist"
            files(clone, version, made)
            tag = f"v{version}"
            git(ROOT, "fetch", "--quiet", str(clone), f"refs/tags/{tag}:refs/tags/{tag}")
            git(ROOT, "merge", "--quiet", "--ff-only", tag)
            shutil.rmtree(ROOT / "dist", ignore_errors=True)
            shutil.copytree(made, ROOT / "dist")
    except Refused as error:
        print(f"No release: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(f"No release: {' '.join(error.cmd[:4])} failed, see above", file=sys.stderr)
        return 1
    print((ROOT / "dist" / "SHA256SUMS").read_text(encoding="utf-8"), end="")
    print(f"{tag} is tagged and its files lie in dist/. Next: docs/releasing.md, from step 4")
    return 0


def check(version: str) -> str:
    """Refuse early what cannot become a release; returns the branch.

    Raises:
        Refused: the version is none or no later one, the tag is there, something is not committed,
            or there is nothing to tell.
    """
    found = _VERSION.search((ROOT / HOME).read_text(encoding="utf-8"))
    current = found[1] if found else ""
    try:
        if str(Version(version)) != version or Version(version) <= Version(current):
            raise Refused(f"{version} is no version after {current}. Hint: VERSION=0.2.0")
    except InvalidVersion:
        raise Refused(f"{version!r} is no version. Hint: make release VERSION=0.2.0") from None
    if git(ROOT, "tag", "--list", f"v{version}"):
        raise Refused(f"the tag v{version} is there already. Hint: choose a later version")
    if git(ROOT, "status", "--porcelain"):
        raise Refused("there are changes that are not committed. Hint: git status")
    branch = git(ROOT, "branch", "--show-current")
    if not branch:
        raise Refused("no branch is checked out. Hint: git switch main")
    if not [path for path in (ROOT / CHANGES).glob("*.md") if path.name != "README.md"]:
        raise Refused(f"{CHANGES} holds no fragment to tell of. Hint: see its README.md")
    return branch


def write(clone: Path, version: str) -> None:
    """Write the version and the changelog into a clone, commit and tag them."""
    home = clone / HOME
    text = home.read_text(encoding="utf-8")
    home.write_text(_VERSION.sub(f'__version__ = "{version}"', text), encoding="utf-8")
    today = dt.datetime.now(dt.UTC).date().isoformat()
    subprocess.run(
        [
            sys.executable,
            "-m",
            "towncrier",
            "build",
            "--yes",
            "--version",
            version,
            "--date",
            today,
        ],
        cwd=clone,
        stdout=subprocess.DEVNULL,
        check=True,
    )
    git(clone, "add", "--all")
    person = [part for key in ("user.name", "user.email") for part in _own(key)]
    git(clone, *person, "commit", "--quiet", "--message", f"Release {version}")
    git(clone, *person, "tag", "--annotate", "--message", f"edgeq {version}", f"v{version}")


def _own(key: str) -> list[str]:
    """A setting of this checkout, which a clone does not take over."""
    done = subprocess.run(
        ["git", "config", key], cwd=ROOT, stdout=subprocess.PIPE, encoding="utf-8", check=False
    )
    return ["-c", f"{key}={done.stdout.strip()}"] if done.returncode == 0 else []


def files(clone: Path, version: str, into: Path) -> None:
    """Build all that a release consists of.

    Raises:
        Refused: the environment is not that of the locks.
    """
    into.mkdir()
    build(clone, into)
    try:
        content = bill(version, committed_at(clone))
    except ValueError as error:
        raise Refused(f"{error}. Hint: make install") from None
    (into / f"edgeq-{version}.cdx.json").write_text(content, encoding="utf-8")
    (into / "SHA256SUMS").write_text(checksums(into), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1] if len(sys.argv) > 1 else ""))
