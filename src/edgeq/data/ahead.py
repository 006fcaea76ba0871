"""Work on samples by several cores, with the results in the order of the samples."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Condition, Thread
from typing import TYPE_CHECKING, Generic, TypeVar, overload

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Note = TypeVar("_Note")
_AHEAD = 2
"""Things that may wait beside the one that a caller looks at: all that they hold is in memory."""


@overload
def ahead(
    compute: Callable[[_In], _Out], given: Iterable[tuple[_In, _Note]], workers: int
) -> Generator[tuple[_Out, _Note], None, None]: ...


@overload
def ahead(
    compute: Callable[[_In], _Out], given: Iterable[tuple[_In | None, _Note]], workers: int
) -> Generator[tuple[_Out | None, _Note], None, None]: ...


def ahead(
    compute: Callable[[_In], _Out],
    given: Iterable[tuple[_In | None, _Note]],
    workers: int,
) -> Generator[tuple[_Out | None, _Note], None, None]:
    """What is computed of each of some things; the next ones while a caller looks at this one.

    It is to be closed before what ``compute`` uses is.

    Args:
        compute: called in threads, several at a time.
        given: the things, each with a note that is handed on; None is handed on as it is. They are
            taken in the caller's thread, at most one more than ``workers`` before their turn, so
            that no worker waits while the caller looks.
        workers: how many are computed at a time.
    """
    with ThreadPoolExecutor(workers) as pool:
        coming: deque[tuple[Future[_Out] | None, _Note]] = deque()

        def first() -> tuple[_Out | None, _Note]:
            made, note = coming.popleft()
            return (None if made is None else made.result()), note

        for thing, note in given:
            coming.append((None if thing is None else pool.submit(compute, thing), note))
            if len(coming) > workers + 1:
                yield first()
        while coming:
            yield first()


def in_parts(
    compute: Callable[[_In, int], _Out], given: Iterable[_In], parts: int, workers: int
) -> Generator[tuple[_In, list[_Out]], None, None]:
    """What is computed of each part of some things; the next ones while a caller looks at this one.

    The caller's thread computes too while it would wait, so that none is idle. It is to be closed
    before what ``compute`` uses is.

    Args:
        compute: called with a thing and the number of a part, from several threads; never with one
            part of two things at a time, and with those in their order.
        given: the things, taken in the caller's thread.
        parts: how many parts each has.
        workers: how many threads compute beside the caller's.

    Yields:
        A thing, and what was computed of its parts. What ``compute`` raises is raised here.
    """
    work = _Work[_In, _Out](compute)
    threads = [Thread(target=work.go_on, daemon=True) for _ in range(workers)]
    for thread in threads:
        thread.start()
    try:
        for thing in given:
            work.add(thing, parts)
            if len(work.things) > _AHEAD:
                yield work.first()
        while work.things:
            yield work.first()
    finally:
        work.close()
        for thread in threads:
            thread.join()


@dataclass(slots=True, eq=False)
class _Thing(Generic[_In, _Out]):
    given: _In
    found: dict[int, _Out] = field(default_factory=dict)
    error: BaseException | None = None
    left: int = 0


class _Work(Generic[_In, _Out]):
    """What is to be done, shared by all threads."""

    def __init__(self, compute: Callable[[_In, int], _Out]) -> None:
        self.things: deque[_Thing[_In, _Out]] = deque()
        self._compute = compute
        self._waiting: deque[tuple[_Thing[_In, _Out], int]] = deque()
        self._busy: set[int] = set()
        self._changed = Condition()
        self._closed = False

    def add(self, given: _In, parts: int) -> None:
        with self._changed:
            thing = _Thing[_In, _Out](given, left=parts)
            self.things.append(thing)
            self._waiting.extend((thing, part) for part in range(parts))
            self._changed.notify_all()

    def first(self) -> tuple[_In, list[_Out]]:
        """The results of the first thing; what can be done meanwhile is done here."""
        thing = self.things[0]
        while thing.left:
            with self._changed:
                task = self._next()
                if task is None and thing.left:
                    self._changed.wait()
            if task is not None:
                self._do(*task)
        self.things.popleft()
        if thing.error is not None:
            raise thing.error
        return thing.given, [thing.found[part] for part in sorted(thing.found)]

    def go_on(self) -> None:
        """Do what there is to do until no more comes."""
        while True:
            with self._changed:
                while (task := self._next()) is None and not self._closed:
                    self._changed.wait()
            if task is None:
                return
            self._do(*task)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _next(self) -> tuple[_Thing[_In, _Out], int] | None:
        """The first part that nobody computes of another thing; it is busy from now on."""
        for i, (thing, part) in enumerate(self._waiting):
            if part not in self._busy:
                del self._waiting[i]
                self._busy.add(part)
                return thing, part
        return None

    def _do(self, thing: _Thing[_In, _Out], part: int) -> None:
        try:
            thing.found[part] = self._compute(thing.given, part)
        except BaseException as error:  # noqa: BLE001  raised where the thing's turn comes
            thing.error = error
        with self._changed:
            self._busy.discard(part)
            thing.left -= 1
            self._changed.notify_all()
