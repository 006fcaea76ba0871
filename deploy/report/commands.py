"""Command lines that a page gives to type: with the files and the data of the command behind it."""

from __future__ import annotations

import shlex
from itertools import takewhile, zip_longest
from pathlib import PurePath
from typing import TYPE_CHECKING

from edgeq.deploy.report.documents import text
from edgeq.deploy.terminal.typed import ABOUT_SAMPLES, flags_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgeq.deploy.report.documents import Document

_FLAGS = ABOUT_SAMPLES | {"--data"}


def why(document: Document, artefacts: Sequence[str], targets: Sequence[str], data: str) -> str:
    """``edgeq why`` of some stages, as it can be typed where the document's command was.

    Args:
        document: that holds the stages.
        artefacts: their names.
        targets: theirs.
        data: what the document calls the data, where no command line is known.
    """
    after = _words(text(document.content.get("next")))
    words = _words(document.command) or after
    flags = list(flags_in(words, _FLAGS))
    if "--data" not in flags:
        flags += ["--data", data]
    names = list(dict.fromkeys(artefacts))
    found = [_path(name, words) for name in names]
    if not all(found) and after[:2] == ["edgeq", "why"]:
        found = list(takewhile(lambda word: not word.startswith("-"), after[2:]))
    files = [path or name for path, name in zip_longest(found, names[: len(found)], fillvalue="")]
    asked = ",".join(dict.fromkeys(targets))
    return shlex.join(["edgeq", "why", *files, *flags, "--target", asked])


def gate_init(document: Document, artefacts: Sequence[str]) -> str:
    """``edgeq gate init`` of the files of a command; empty where it could not feed them alike."""
    words = _words(document.command)
    files = [_path(name, words) for name in artefacts]
    flags = list(flags_in(words, _FLAGS))
    if not files or not all(files) or {each for each in flags if each[:2] == "--"} != {"--data"}:
        return ""
    return shlex.join(["edgeq", "gate", "init", *files, *flags])


def profile(document: Document, artefacts: Sequence[str]) -> str:
    """``edgeq profile`` of the files of a command; empty where they are not known."""
    words = _words(document.command)
    files = [_path(name, words) for name in artefacts]
    known = bool(files) and all(files) and "--model" not in words
    return shlex.join(["edgeq", "profile", *files]) if known else ""


def _path(name: str, words: Sequence[str]) -> str:
    """The word that names a file; a file has as much of its path as tells it from the others."""
    parts = PurePath(name).parts
    return next((word for word in words if PurePath(word).parts[-len(parts) :] == parts), "")


def _words(line: str) -> list[str]:
    try:
        return shlex.split(line)
    except ValueError:  # a sentence with an apostrophe in the place of a command
        return []
