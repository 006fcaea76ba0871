"""What came of each trial, kept in a file, so that a search that was stopped goes on."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Any

from edgeq.calibration.search.study import Figures, key
from edgeq.errors import ArtefactError, UsageError
from edgeq.files import read_bytes, write_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from edgeq.calibration.search.study import Assignment

_MOST_BYTES = 1 << 28


class Remembered:
    """Evaluates each assignment once.

    The same seed asks the same questions, so a search goes on by asking again from the start: what
    is known already is answered from the file.

    Args:
        evaluate: what is remembered; gets an assignment, and whether its cost is asked for.
        path: where; None for nowhere.
        about: what the figures depend on; a file about anything else is refused.
        resume: whether the file may hold something already.

    Attributes:
        reused: how many answers came from the file.

    Raises:
        UsageError: a file that was made otherwise, or one that is there without ``resume``.
        ArtefactError: it is broken.
    """

    def __init__(
        self,
        evaluate: Callable[[Assignment, bool], Figures],
        path: Path | None,
        about: Mapping[str, Any],
        *,
        resume: bool,
    ) -> None:
        self._evaluate, self._path = evaluate, path
        self._about = json.loads(json.dumps(about))
        self._known: dict[str, Figures] = {}
        self._old: set[str] = set()
        self.reused = 0
        if resume and path is not None and path.exists():
            self._known = self._read(path)
            self._old = {*self._known}
        self._kept = bool(self._known)

    def __call__(self, precisions: Assignment, *, costed: bool = True) -> Figures:
        """What comes of an assignment; without its cost where nobody asks for that."""
        name = key(precisions) + ("" if costed else " uncosted")
        if name in self._old:
            self._old.discard(name)
            self.reused += 1
        if name not in self._known:
            self._known[name] = self._evaluate(precisions, costed)
            self._write()
        return self._known[name]

    def kept(self) -> bool:
        """Whether the file holds trials of this search."""
        return self._kept

    def _write(self) -> None:
        if self._path is not None:
            content = {
                "about": self._about,
                "trials": {
                    name: [each.score, _plain(each.sqnr_db), _plain(each.cost)]
                    for name, each in self._known.items()
                },
            }
            write_json(self._path, content, overwrite=True)
            self._kept = True

    def _read(self, path: Path) -> dict[str, Figures]:
        try:
            content = json.loads(read_bytes(path, "file of trials", limit=_MOST_BYTES))
            about, trials = content["about"], content["trials"]
            known = {
                name: Figures(float(score), _real(db), _real(cost))
                for name, (score, db, cost) in trials.items()
            }
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise ArtefactError(
                f"{path} holds no trials of a search", hint="search without --resume"
            ) from error
        if about != self._about:
            changed = ", ".join(
                name
                for name in {**about, **self._about}
                if about.get(name) != self._about.get(name)
            )
            raise UsageError(
                f"{path} is of another search: {changed} differs",
                hint="give the same command as then, or search without --resume",
            )
        return known


def _real(value: float | None) -> float:
    return math.inf if value is None else float(value)


def _plain(value: float) -> float | None:
    return value if math.isfinite(value) else None
