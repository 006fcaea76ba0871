"""Stages that fail while others go on.

What happened to each, and what to raise where none is left.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeq.errors import EdgeqError, TargetError
from edgeq.formats.artefact import in_float
from edgeq.results import Failure
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgeq.deploy.evaluation.chain import Pair

IN_FLOAT = "The target computes in integers only, and the file is in float"


class StagesFailed(Exception):
    """What happened to stages that failed at the same point, by stage."""

    def __init__(self, errors: Mapping[Pair, Exception]) -> None:
        super().__init__(
            "; ".join(
                f"{pair.artefact} on {pair.target}: {error}" for pair, error in errors.items()
            )
        )
        self.errors = dict(errors)


class Failing:
    """Notes which stages fail.

    Each of them is tried before the others begin again without those that failed.
    """

    def __init__(self) -> None:
        self.errors: dict[Pair, Exception] = {}

    @contextmanager
    def noted(self, pair: Pair) -> Iterator[None]:
        """Note what is raised as this stage's doing."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  a target may be anybody's; where none is left, this is raised as it is
            self.errors[pair] = error

    def stop(self) -> None:
        """Return where nothing failed.

        Raises:
            StagesFailed: something did.
        """
        if self.errors:
            raise StagesFailed(self.errors)


class Left:
    """The stages that are still to run, and what happened to those that are not.

    Args:
        pairs: all stages.
        names: what to call the artefacts for people.
        needed: a stage without which the others have no meaning.
    """

    def __init__(
        self, pairs: Sequence[Pair], names: Mapping[Path, str], needed: Pair | None = None
    ) -> None:
        self.pairs, self._names, self._needed = list(pairs), names, needed
        self._errors: dict[Pair, Exception] = {}

    def drop(self, failed: StagesFailed) -> None:
        """Go on without what failed.

        Raises:
            Exception: that of a stage that is needed, or the one that all had; where they differ,
                one that tells them all.
        """
        self._errors |= failed.errors
        self.pairs = [pair for pair in self.pairs if pair not in failed.errors]
        if self._needed is not None and self._needed in failed.errors:
            raise failed.errors[self._needed]
        if not self.pairs:
            raise self._all_in_one()

    @property
    def failures(self) -> list[Failure]:
        """What happened, stage by stage, in words."""
        return [self._record(pair, told(error)) for pair, error in self._errors.items()]

    def _record(self, pair: Pair, error: EdgeqError) -> Failure:
        name = self._names[pair.artefact]
        return Failure(name, pair.target, error.what, error.hint, _expected(pair))

    def _all_in_one(self) -> Exception:
        first = next(iter(self._errors.values()))
        if (
            not isinstance(first, EdgeqError)
            or len({told(error).what for error in self._errors.values()}) == 1
        ):
            return first
        kind = (
            TargetError
            if any(isinstance(error, TargetError) for error in self._errors.values())
            else type(first)
        )
        told_all = kind.__new__(kind)
        EdgeqError.__init__(
            told_all,
            "; ".join(f"{each.name}: {each.what}" for each in self.failures),
            hint=first.hint,
        )
        return told_all


def _expected(pair: Pair) -> str:
    """Why nothing else could be expected of a stage; empty where it could."""
    try:
        integers_only = TARGETS.load(pair.target).capabilities.integers_only
        return IN_FLOAT if integers_only and in_float(pair.artefact) else ""
    except Exception:  # noqa: BLE001  a target or a file that cannot even be asked is no excuse
        return ""


def told(error: Exception) -> EdgeqError:
    """An error for people, whatever was raised."""
    if isinstance(error, EdgeqError):
        return error
    return TargetError(
        f"a bug, of the target's or of edgeq's: {type(error).__name__}: {error}",
        hint="please report it; naming this target alone keeps the traceback in a file",
    )
