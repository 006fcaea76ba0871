"""Targets that end the process that opens a file, each in its way."""

from __future__ import annotations

import os
import signal
import time
from typing import Any, NoReturn


class Ending:
    """Does as its name says when it opens a file."""

    def __init__(self, what: str) -> None:
        self.what = what

    def open(self, _path: Any, **_: Any) -> NoReturn:
        if self.what == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.what == "memory":
            bytearray(2**50)
        time.sleep(60)
        raise AssertionError("the host waits no longer than its limit")


crash, hang, memory = Ending("crash"), Ending("hang"), Ending("memory")
