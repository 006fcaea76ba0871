"""Every error edgeq raises on purpose, and the exit code each one becomes.

EdgeqError                  70  a bug of ours, unless a subclass says otherwise
├── UsageError               2  the caller fixes it by asking for something else
│   ├── UnknownName             a model, target, data set or format nobody registered
│   ├── ArtefactError           a file that is missing, broken, foreign or of the wrong shape
│   ├── OutputError             a place that cannot be written, or that holds something already
│   └── Diverged                a training run whose numbers ran away
├── GateFailed               1  everything ran; the numbers missed the budget
├── Inconclusive             3  everything ran; too few samples or too much noise to decide
└── TargetError              4  a runtime is absent, crashed, or fell back to something else
    ├── MissingDependency       a package that the named thing needs is not installed
    └── BrokenPlugin            a plug-in that fails or does not keep its protocol

KeyboardInterrupt
└── Interrupted            130  Ctrl-C, or 143 for SIGTERM; what was done so far is saved
"""

from __future__ import annotations

import difflib
import json
import re
import signal
from typing import TYPE_CHECKING, ClassVar, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_LONGEST_NAME = 200  # characters of a name from a file in a message
_LONGEST_LINE = 500  # characters of a library's message in one of ours
# control characters other than tab and newline, what turns the direction of writing, what nobody
# sees, other ends of lines, and halves of characters
_ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f"
    r"\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)


class _InTwoHalves(BaseException):
    """What is meant for people: it says what is wrong, then how to fix it."""

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(f"{what}\n  hint: {hint}")
        self.what = what
        self.hint = hint

    def __reduce__(self) -> tuple[object, ...]:
        """How an error crosses from a worker process.

        Its two halves, whatever its own constructor takes.
        """
        return _restored, (type(self), self.what, self.hint)


class EdgeqError(_InTwoHalves, Exception):
    """An error meant for people: it says what is wrong, then how to fix it."""

    exit_code = 70


def first_line(error: BaseException) -> str:
    """What a library says of its error, as one printable line of bounded length.

    Args:
        error: whose text is shown; its class is named where it has none.
    """
    line = (str(error).strip().splitlines() or [type(error).__name__])[0][:_LONGEST_LINE]
    return "".join(character if character.isprintable() else "?" for character in line)


def shown(name: str) -> str:
    """A name from a file for a message: quoted, printable, of bounded length."""
    return repr(name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]}...")


def printable(text: str) -> str:
    """A text in which no character acts on a terminal or a page: such characters become escapes.

    Names in files are anybody's; one could forge a title, a colour, a verdict or another name, by
    characters that nobody sees. The escapes are those of JSON.
    """
    return _ACTING.sub(lambda found: json.dumps(found.group())[1:-1], text)


def channels_named(channels: Sequence[int], most: int = 6) -> str:
    """Channels for a sentence: the first few by number, then how many more."""
    numbers = ", ".join(str(int(channel)) for channel in channels[:most])
    more = len(channels) - most
    return f"channel{'s' if len(channels) > 1 else ''} {numbers}" + (
        f" and {more} more" if more > 0 else ""
    )


def with_hint(error: EdgeqError, hint: str) -> EdgeqError:
    """The same error with another hint."""
    return _restored(type(error), error.what, hint)


_Restored = TypeVar("_Restored", bound=_InTwoHalves)


def _restored(kind: type[_Restored], what: str, hint: str) -> _Restored:
    error = kind.__new__(kind)
    _InTwoHalves.__init__(error, what, hint=hint)
    return error


class UsageError(EdgeqError):
    """The command or call asks for something that cannot be."""

    exit_code = 2


_LISTED = 40  # names that a message lists


_NEAR = 0.6  # the likeness from which one name may be another, mistyped


class UnknownName(UsageError):
    """A name that is in none of the tables; the message offers the nearest one."""

    def __init__(self, kind: str, name: str, known: Iterable[str]) -> None:
        names = sorted(known)
        near = difflib.get_close_matches(name, names, n=1, cutoff=_NEAR)
        hint = f"did you mean {near[0]!r}? " if near else ""
        listed = ", ".join(names[:_LISTED]) or "none"
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        super().__init__(
            f"no {kind} is called {name!r}",
            hint=f"{hint}Known: {listed}{more}.",
        )


class ArtefactError(UsageError):
    """A model, checkpoint or data file is not what it has to be."""


class OutputError(UsageError):
    """The output cannot be written, or something is there already."""


class Diverged(UsageError):
    """Training came to a loss, a weight or a bound that nothing leads back from.

    Other settings are asked for.
    """


class GateFailed(EdgeqError):
    """The measured numbers are worse than the baseline allows."""

    exit_code = 1


class Inconclusive(EdgeqError):
    """The measurement cannot decide either way."""

    exit_code = 3


class TargetError(EdgeqError):
    """A runtime is not usable here, crashed, or did something other than it was asked."""

    exit_code = 4


class MissingDependency(TargetError):
    """A known plug-in whose package is not installed."""

    def __init__(self, kind: str, name: str, package: str, extras: Iterable[str] = ()) -> None:
        wanted = ",".join(sorted(extras))
        super().__init__(
            f"{kind} {name!r} needs the package {package!r}, which is not installed",
            hint=f"pip install 'edgeq[{wanted}]'" if wanted else f"pip install {package}",
        )


class BrokenPlugin(TargetError):
    """A plug-in that cannot be imported, raises, or answers what its protocol rules out."""

    def __init__(self, kind: str, name: str, what: str) -> None:
        super().__init__(
            f"the {kind} {name!r} {what}",
            hint="repair it, or uninstall the package that registers it; EDGEQ_DEBUG=1 shows where",
        )


class Interrupted(_InTwoHalves, KeyboardInterrupt):
    """The user pressed Ctrl-C, or asked the program to end; the message says how to go on.

    No :class:`EdgeqError`, so that a loop which goes on after errors ends all the same.

    Attributes:
        asked_by: the number of the signal that asked for it last.
    """

    exit_code = 130
    asked_by: ClassVar[int] = signal.SIGINT

    def __init__(
        self,
        what: str = "interrupted",
        *,
        hint: str = "no file is half written; the same command begins again",
    ) -> None:
        super().__init__(what, hint=hint)
        self.exit_code = 128 + Interrupted.asked_by


class EdgeqWarning(UserWarning):
    """Something that a person may not expect; it says what, then what to do about it."""

    def __init__(self, what: str, *, hint: str) -> None:
        super().__init__(f"{what}\n  hint: {hint}")
        self.what = what
        self.hint = hint


class FunctionChanged(EdgeqWarning):
    """A scheme changes what a trained network computes, and not by few bits only.

    It says by how much, and what to give instead.
    """


class SamplesReduced(EdgeqWarning):
    """Files of samples hold more than is read of them, such as transparency or further frames."""
