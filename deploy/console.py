"""Everything a person or a program reads of us.

Results on standard output, all else on standard error.

A reader that closes the pipe early, as ``head`` does, changes neither what is computed nor the exit
code; nor does a stream that was closed before we began, which Python leaves out as None.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
import time
import warnings
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TextIO

from edgeq.brief import brief
from edgeq.deploy.terminal.folding import folded
from edgeq.deploy.terminal.typed import following
from edgeq.errors import EdgeqWarning, OutputError, printable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from rich.console import Console, ConsoleOptions, RenderableType
    from rich.progress import Progress
    from rich.segment import Segment

    from edgeq.plain import Json

    Advance = Callable[[int, int], None]

WIDE = 10_000  # columns of a pipe without COLUMNS: what reads it does its own folding
LONGEST_NOTE = 4_000  # characters of an error or a remark
# what a CI service that reads a log obeys: GitHub's ::, ##[ of it and of Azure, TeamCity's
_OBEYED = re.compile(r"(?m)^([^\S\n]*):(?=:)|#(?=#(?:\[|vso\[|teamcity\[))")
_QUIET_S = 10.0  # between two lines that stand for a bar
_FORESEEN = 0.01  # of the work: from less nobody can tell how long the rest takes
JSON_VERSION = 2  # of every command's document; raised when a key changes or goes


def write(text: str) -> None:
    """Put a line or several on standard output, folded where a terminal is narrower."""
    write_unfolded(folded(printable(text), _columns(sys.stdout)))


def write_unfolded(text: str) -> None:
    """Put text on standard output whose lines have to stay: a program or a shell reads them."""
    _emit(sys.stdout, f"{_disobeyed(printable(text))}\n")


def note(text: str, *, fold: bool = True) -> None:
    """Put a remark on standard error; what a file names can make it no longer than a screen.

    Args:
        text: a line or several.
        fold: whether lines may be folded where a terminal is narrower.
    """
    if len(text) > LONGEST_NOTE:
        half = LONGEST_NOTE // 2
        left_out = len(text) - 2 * half
        text = f"{text[:half]}\n  ... {left_out:,} characters are left out ...\n{text[-half:]}"
    told = printable(text)
    told = folded(told, _columns(sys.stderr)) if fold else told
    _emit(sys.stderr, f"{_disobeyed(told)}\n")


def command(text: str) -> None:
    """Put a line on standard error that a CI service obeys."""
    _emit(sys.stderr, f"{printable(text)}\n")


def first_process() -> bool:
    """Whether this process is the one that speaks for all that a launcher has started."""
    return os.environ.get("RANK", "0") == "0"


@contextmanager
def warnings_told() -> Iterator[None]:
    """While it holds, each warning of edgeq is a note, once."""
    told: set[str] = set()
    with warnings.catch_warnings():
        warnings.simplefilter("always", EdgeqWarning)
        plain = warnings.showwarning

        def show_warning(
            message: Warning | str, category: type[Warning], *place: Any, **more: Any
        ) -> None:
            if not issubclass(category, EdgeqWarning):
                plain(message, category, *place, **more)
            elif str(message) not in told and first_process():
                told.add(str(message))
                note(f"edgeq: {message}")

        warnings.showwarning = show_warning
        yield


def _disobeyed(text: str) -> str:
    """A text in which no line is a command to a CI service; the escapes are those of JSON."""
    return _OBEYED.sub(lambda found: f"{found[1] or ''}\\u{ord(found[0][-1]):04x}", text)


@dataclass(slots=True, repr=False)
class Answer:
    """What one command line comes to, kept until it is over, since it may still fail.

    Attributes:
        arguments: the command line.
        folder: where the run is to be kept; None where it is not.
        page: where the page of results goes; None where none is wanted.
        document: of the command; None before it has one, and where nobody reads it.
        printed: whether the document goes to standard output.
        next_command: what is to be done next.
        told: what standard error says in short of a failure that standard output tells in full.
        files: what else belongs into the run folder, by name.
    """

    arguments: Sequence[str] = ()
    folder: Path | None = None
    page: Path | None = None
    document: dict[str, Json] | None = None
    printed: bool = False
    next_command: str = ""
    told: str = ""
    files: dict[str, bytes] = field(default_factory=dict)

    __repr__ = brief


_ANSWER: ContextVar[Answer | None] = ContextVar("answer", default=None)


@contextmanager
def answering(arguments: Sequence[str] = ()) -> Iterator[Answer]:
    """While it holds, documents and next commands are kept in one answer, and not printed yet.

    Args:
        arguments: the command line.
    """
    answer = Answer(arguments)
    token = _ANSWER.set(answer)
    try:
        yield answer
    finally:
        _ANSWER.reset(token)


def write_json(command: str, content: Mapping[str, object], *, printed: bool = True) -> None:
    """Answer with one JSON document: ``schema``, ``edgeq_version``, then the content.

    Under :func:`answering` it is kept; else it goes to standard output at once.

    Args:
        command: whose answer it is; the schema is
            ``edgeq.<command>/<JSON_VERSION>``.
        content: records, mappings, sequences and plain values. What is not finite becomes null.
        printed: whether it is to be printed; false where tables are, and a run folder may still
            keep it.
    """
    answer = _ANSWER.get()
    if answer is None:
        if printed:
            write_document(document_of(command, content))
    elif printed or is_kept():
        answer.document, answer.printed = document_of(command, content), printed


def document_of(command: str, content: Mapping[str, object]) -> dict[str, Json]:
    """The document of a command, with its schema and our version."""
    import edgeq
    from edgeq.plain import to_plain

    head: dict[str, Json] = {
        "schema": f"edgeq.{command}/{JSON_VERSION}",
        "edgeq_version": edgeq.__version__,
    }
    return head | {name: to_plain(value) for name, value in content.items()}


def keep_run_in(folder: Path) -> None:
    """Have what this command line comes to kept in a folder."""
    answer = _ANSWER.get()
    if answer is not None:
        answer.folder = folder


def write_page_to(page: Path) -> None:
    """Have a page of results made of what this command line comes to."""
    answer = _ANSWER.get()
    if answer is not None:
        answer.page = page


def is_kept() -> bool:
    """Whether what a command finds is kept in a folder or a page, whatever it prints."""
    answer = _ANSWER.get()
    return answer is not None and (answer.folder is not None or answer.page is not None)


def attach(name: str, content: bytes) -> None:
    """Have a file beside the document, where the run is kept in a folder or a page."""
    answer = _ANSWER.get()
    if answer is not None:
        answer.files[name] = content


def write_document(document: Mapping[str, Json]) -> None:
    """Put a JSON document on standard output; in ASCII where that cannot say all of it."""
    text = json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False)
    if text != _sayable(text, sys.stdout):
        text = json.dumps(document, indent=2, allow_nan=False)
    write_unfolded(text)


def next_step(*words: object) -> None:
    """Say what is to be done next: the last line of what is printed, and ``next`` in JSON.

    Args:
        words: of a command line, quoted where a shell would read them otherwise; or one sentence.
            A command line that names data gets the flags about samples that were typed.
    """
    told = str(words[0]) if len(words) == 1 else shlex.join(with_typed(*words))
    answer = _ANSWER.get()
    if answer is None:
        write(f"next: {told}")
    else:
        answer.next_command = told


def with_typed(*words: object) -> list[str]:
    """A command line with the flags about samples that were typed and that it has, too."""
    answer = _ANSWER.get()
    return following([*map(str, words)], () if answer is None else answer.arguments)


def next_again(*words: object, before: str = "") -> None:
    """Say that the same command is to be given next.

    Args:
        words: added to it.
        before: what is to be done first; empty for nothing.
    """
    answer = _ANSWER.get()
    given = answer.arguments if answer is not None else ()
    told = shlex.join(["edgeq", *given, *map(str, words)])
    next_step(f"{before}: {told}" if before else told)


def failure_told(in_short: str) -> None:
    """Have standard error say a failure in short, since standard output tells it in full."""
    answer = _ANSWER.get()
    if answer is not None:
        answer.told = in_short


def write_table(
    title: str,
    columns: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    numbers: Sequence[str] = (),
) -> None:
    """Put a table on standard output; a column without content is left out.

    Args:
        title: the line above it.
        columns: their headings.
        rows: their cells, plain text: nothing in them is read as markup.
        numbers: the columns to align at the right.
    """
    from rich.console import Group
    from rich.text import Text

    from edgeq.deploy.terminal.table import TerminalTable

    # a name with an end of a line in it would begin a line that looks like ours
    rows = [
        [cell if i else cell.replace("\n", "\\n") for i, cell in enumerate(row)] for row in rows
    ]
    write_rendered(Group(Text(title, style="bold"), TerminalTable(columns, rows, numbers)))


def write_rendered(what: RenderableType) -> None:
    """Put something of rich's on standard output, without blanks at the ends of lines."""
    console = _console(sys.stdout)
    # rich would write to the stream itself at the end of a capture
    console.file = caught = io.StringIO()
    console.print(_Printable(what))
    text = "\n".join(line.rstrip() for line in caught.getvalue().split("\n"))
    _emit(sys.stdout, f"{_disobeyed(text.removesuffix(chr(10)))}\n")


class _Printable:
    """Something of rich's whose styles may act on a terminal, but not its text."""

    def __init__(self, what: RenderableType) -> None:
        self._what = what

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        from rich.segment import Segment

        for part in console.render(self._what, options):
            yield part if part.control else Segment(printable(part.text), part.style)


@contextmanager
def progress(what: str) -> Iterator[Bar | Lines]:
    """A bar on standard error for long work; under ``CI``, ``NO_COLOR`` or a pipe a line at times.

    Yields:
        What to call with the work done so far and the work in all.
    """
    if not animated(sys.stderr):
        yield Lines(what)
        return
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    parts = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*parts, console=_console(sys.stderr), transient=True) as bar:
        yield Bar(what, bar)


class Bar:
    """A bar on a terminal.

    Args:
        what: the work.
        bar: draws it.
    """

    def __init__(self, what: str, bar: Progress) -> None:
        self._what, self._bar, self._stage = what, bar, ""
        self._task = bar.add_task(what, total=None)

    def __call__(self, done: int, total: int, /) -> None:
        """Draw how far it is."""
        self._bar.update(self._task, completed=done, total=total)

    def stage(self, what: str) -> None:
        """Say what is being done now."""
        if what.partition(",")[0] != self._stage.partition(",")[0]:
            self._bar.reset(self._task, total=None)  # its time is of its own
        self._stage = what
        self._bar.update(self._task, description=printable(f"{self._what}: {what}"))


class Lines:
    """What stands for a bar in a log: how much is done, and how long the rest takes.

    Args:
        what: the work.
    """

    def __init__(self, what: str) -> None:
        self._what, self._stage, self._done = what, "", 0
        self._first: tuple[int, float] | None = None  # what was done first, and when
        self._told = self._moved = time.monotonic()

    def stage(self, what: str) -> None:
        """Remember what is being done now."""
        if what.partition(",")[0] != self._stage.partition(",")[0]:
            self._first, self._done = None, 0
        self._stage = what

    def __call__(self, done: int, total: int, /) -> None:
        """Say so where it has been quiet for some time."""
        now = time.monotonic()
        if done and (self._first is None or done < self._done):  # or the next stage
            self._first = done, now
        if done != self._done:
            self._moved = now
        self._done = done
        if now - self._told < _QUIET_S or not done:
            return
        self._told = now
        told = ""
        if self._first is not None and done > self._first[0] and done >= _FORESEEN * total:
            # the first piece is left out: it holds what is done once, such as loading
            pace = (self._moved - self._first[1]) / (done - self._first[0])
            left = pace * (total - done) - (now - self._moved)
            told = f", about {_spell(left)} left" if left > 0 else ""
        what = f"{self._what}: {self._stage}" if self._stage else self._what
        share = 100 * done // total
        note(f"{what}: {share} %, {done:,} of {total:,}{told}")


def _spell(seconds: float) -> str:
    """A time as people say it; from two minutes on nobody wants the seconds."""
    minutes = round(seconds / 60)
    if seconds < 120:  # two minutes
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 120 else f"{minutes / 60:.0f} h"


def animated(stream: TextIO | None) -> bool:
    """Whether a bar may be drawn there."""
    return (
        stream is not None
        and stream.isatty()
        and not os.environ.get("CI")
        and not os.environ.get("NO_COLOR")
    )


def _console(stream: TextIO | None) -> Console:
    from rich.console import Console

    terminal = stream is not None and stream.isatty()
    plain = not terminal or bool(os.environ.get("NO_COLOR"))
    return Console(
        file=stream,
        width=None if terminal else _pipe_width(),
        no_color=plain,
        force_terminal=terminal and not plain,
        highlight=False,
        markup=False,
    )


def _columns(stream: TextIO | None) -> int:
    """How many columns a line may take there."""
    if stream is not None and stream.isatty():
        with suppress(OSError, ValueError):
            asked = _pipe_width()
            return asked if asked < WIDE else os.get_terminal_size(stream.fileno()).columns or WIDE
    return _pipe_width()


def _pipe_width() -> int:
    """The columns that ``COLUMNS`` asks for."""
    asked = os.environ.get("COLUMNS", "")
    return int(asked) if asked.isdecimal() and int(asked) else WIDE


def _sayable(text: str, stream: TextIO | None) -> str:
    """A text with escapes for what the encoding of a stream, or any, has no bytes for."""
    encoding = getattr(stream, "encoding", None) or "utf-8"
    return text.encode(encoding, "backslashreplace").decode(encoding)


def _emit(stream: TextIO | None, text: str) -> None:
    if stream is None:
        return
    try:
        stream.write(_sayable(text, stream))
        stream.flush()
    except OSError as error:
        # what is still buffered must not fail again at the end
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
        if stream is sys.stdout and not isinstance(error, BrokenPipeError):
            raise OutputError(
                f"standard output cannot be written: {error.strerror}",
                hint="make room there, or send it elsewhere",
            ) from error
