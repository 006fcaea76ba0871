"""Work that is interrupted ends in order, and says what is kept of it and how to go on."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeq.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path


@contextmanager
def keeping(path: Path, hint: str, kept: Callable[[], bool]) -> Iterator[None]:
    """Work that keeps what it has done in a file, from which it goes on later.

    Args:
        path: the file.
        hint: how to go on.
        kept: whether the file holds anything of this work.

    Raises:
        Interrupted: Ctrl-C; the message says whether anything is kept.
    """
    try:
        yield
    except Interrupted:
        raise
    except KeyboardInterrupt:
        if not kept():
            raise Interrupted("interrupted before anything was kept") from None
        raise Interrupted(f"interrupted; what is done is kept in {path}", hint=hint) from None


def _end(number: int, _frame: object) -> None:
    """Leave as Ctrl-C does, with the exit code of the signal."""
    Interrupted.asked_by = number
    raise KeyboardInterrupt


@contextmanager
def ended_in_order() -> Iterator[None]:
    """While it holds, a request to end leaves by way of an exception, so that nothing stays behind.

    A handler that somebody set before is kept, and so is that of another thread's program.
    """
    mine = threading.current_thread() is threading.main_thread()
    if not mine or signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL:
        yield
        return
    Interrupted.asked_by = signal.SIGINT
    signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
