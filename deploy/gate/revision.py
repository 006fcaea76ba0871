"""Files of a revision of a git repository, as they were: nothing is checked out."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeq.brief import brief
from edgeq.errors import ArtefactError, EdgeqError, UsageError, first_line

if TYPE_CHECKING:
    from pathlib import Path

_SECONDS = 60.0
_SEARCHED = 50  # commits that changed a file


def commit_of(revision: str, folder: Path) -> str:
    """The commit that a change is measured against: where it left a revision.

    That is the merge base with what is checked out, so that what others did since is not blamed on
    the change, and the change cannot edit it.

    Args:
        revision: a branch, tag or commit.
        folder: in the repository.

    Raises:
        UsageError: git is not installed, the folder is in no repository, or there is no such
            revision.
    """
    if revision.startswith("-"):
        raise UsageError(f"{revision!r} is no revision", hint="name a branch, tag or commit")
    _git(folder, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}", about=revision)
    try:
        return _git(folder, "merge-base", revision, "HEAD", about=revision).decode().strip()
    except UsageError as error:
        raise UsageError(
            f"{revision} has no commit in common with what is checked out",
            hint="fetch the whole history: git fetch --unshallow",
        ) from error


def read_at(commit: str, path: Path) -> bytes:
    """A file as a commit holds it.

    Raises:
        ArtefactError: the commit does not hold it.
    """
    try:
        return _git(path.parent, "show", f"{commit}:./{path.name}", about=commit)
    except UsageError as error:
        raise ArtefactError(
            f"{commit[:12]} holds no {path}", hint="commit it, or leave out --against"
        ) from error


def _holder(sha256: str, path: Path) -> str:
    """The newest commit that changed a file to some bytes; empty where none of the last did."""
    asked = ("log", f"-{_SEARCHED}", "--format=%H", "--", path.name)
    try:
        commits = _git(path.parent, *asked, about="HEAD").decode().split()
    except UsageError:
        return ""
    for commit in commits:
        with suppress(ArtefactError):  # one that deleted it
            if hashlib.sha256(read_at(commit, path)).hexdigest() == sha256:
                return commit
    return ""


def place_of_copy(path: Path) -> Path:
    """Where a copy of the file belongs that the baseline was taken of."""
    return path.with_name(f"{path.stem}.before{path.suffix}")


@dataclass(frozen=True, slots=True)
class Earlier:
    """A file that the baseline was taken of.

    Attributes:
        content: its bytes.
        revision: of git, which holds it; empty where it lies at :func:`place_of_copy`.
    """

    content: bytes
    revision: str

    __repr__ = brief


def earlier_file(sha256: str, path: Path) -> Earlier | None:
    """The file of a baseline, from git or from beside the file that is there now.

    Args:
        sha256: of what the baseline was taken of.
        path: where the file lies that took its place.
    """
    with suppress(EdgeqError):
        content = read_at("HEAD", path)
        if hashlib.sha256(content).hexdigest() == sha256:
            return Earlier(content, "HEAD")
    if commit := _holder(sha256, path):
        return Earlier(read_at(commit, path), commit[:12])
    with suppress(OSError):
        content = place_of_copy(path).read_bytes()
        if hashlib.sha256(content).hexdigest() == sha256:
            return Earlier(content, "")
    return None


def _git(folder: Path, *arguments: str, about: str) -> bytes:
    git = shutil.which("git")
    if git is None:
        raise UsageError("git is not installed", hint="install it, or leave --against out")
    try:
        done = subprocess.run(
            [git, "-C", str(folder), *arguments],
            check=False,
            capture_output=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise UsageError(f"git took over {_SECONDS:g} s", hint="try it by hand") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip() or f"there is no revision {about!r}"
        raise UsageError(
            f"git cannot read {about!r}: {first_line(ValueError(said))}",
            hint="is the folder in a repository, and was the revision fetched?",
        )
    return done.stdout
