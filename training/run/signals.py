"""How a training run is asked to stop: between two steps, with its state saved."""

from __future__ import annotations

import signal
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING

from edgeq.errors import Interrupted

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Stopped(Exception):
    """A request to stop was met where nothing changes.

    Nothing is lost, and the state can be saved.
    """


def going_on(*, resume: bool, overwrite: bool) -> str:
    """How to go on with a run that was stopped, for whoever gave these flags."""
    if resume:
        return "the same command goes on from there"
    return (
        f"the same command with --resume{' instead of --overwrite' if overwrite else ''} goes "
        "on from there"
    )


@contextmanager
def stop_requests() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request that is met between two steps.

    A second Ctrl-C stops at once.
    """
    asked = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return

    Interrupted.asked_by = signal.SIGINT

    def ask(number: int, _frame: object) -> None:
        Interrupted.asked_by = number
        asked.set()
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
