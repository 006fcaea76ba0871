"""Work on samples by several cores, with the results in the order of the samples."""

from __future__ import annotations

from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable
    from concurrent.futures import Future

_In = TypeVar("_In")
_Out = TypeVar("_Out")
_Note = TypeVar("_Note")


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
            taken in the caller's thread, at most ``workers`` before their turn.
        workers: how many are computed at a time.
    """
    with ThreadPoolExecutor(workers) as pool:
        coming: deque[tuple[Future[_Out] | None, _Note]] = deque()

        def first() -> tuple[_Out | None, _Note]:
            made, note = coming.popleft()
            return (None if made is None else made.result()), note

        for thing, note in given:
            coming.append((None if thing is None else pool.submit(compute, thing), note))
            if len(coming) > workers:
                yield first()
        while coming:
            yield first()
