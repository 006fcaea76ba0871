"""How many instructions a run retires under QEMU.

Without a plug-in, which distributions' static QEMU cannot load.

QEMU can log each block of instructions when it translates it and each time it enters one. Limited
to the addresses of the runtime's own libraries, the log of one run is some megabytes, and the sum
over the blocks entered of the instructions in each is the number of instructions that the runtime
retired. A first worker tells where its libraries lie; memory is laid out so that they lie there
again in a second one, which is counted.

Left out are libc and its like (0.2 % of LiteRT's, measured), system calls, and every thread but the
one that computes.
"""

from __future__ import annotations

import os
import re
import select
import statistics
import tempfile
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from edgeq.errors import TargetError
from edgeq.targets.workers.process import Worker

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from edgeq.targets.workers.boundary import Sendable
    from edgeq.targets.workers.launchers import Qemu
    from edgeq.targets.workers.process import Limits

RUNS = 3  # ONNX Runtime's differ in some thousandths
WARM_UP = 2  # the first run allocates
PATIENCE = 4.0  # how much longer a logged worker may take than another
# where QEMU puts the program's memory, and how much of it there is
_BASE, _SPACE = 0x100000000000, 0x4000000000
_NOT_COUNTED = ("numpy", "numpy.libs")
_BLOCK = re.compile(rb"^IN: [^\n]*\n((?:0x[^\n]*\n)+)", re.MULTILINE)
# 0 is the thread that the program began with
_ENTERED = re.compile(rb"^Trace 0: [^\n]*?/([0-9a-f]{16})/", re.MULTILINE)
_ENTRY = b"\nTrace "


def instructions(
    launcher: Qemu, engine: str, model: Sendable, options: Mapping[str, object], limits: Limits
) -> int:
    """The instructions of one run, in the thread that computes, the median of a few runs.

    Args:
        launcher: the emulated place.
        engine: which one runs the model there.
        model: what it loads; its input is zeros.
        options: of the engine.
        limits: time; a logged worker gets some times as much.

    Raises:
        TargetError: the worker failed, or this QEMU's log reads otherwise.
    """
    fixed = replace(launcher, arguments=(*launcher.arguments, "-B", hex(_BASE), "-R", hex(_SPACE)))
    ranges = _libraries(fixed, engine, model, options, limits)
    with _Log(ranges) as log:
        logged = replace(fixed, arguments=(*fixed.arguments, *log.arguments))
        seconds = PATIENCE * limits.open_seconds
        with Worker(logged, engine, seconds=seconds) as worker:
            _load(worker, model, options, seconds)
            for _ in range(WARM_UP):
                worker.ask("invoke", seconds=seconds)
            return int(statistics.median(log.during(worker, seconds) for _ in range(RUNS)))


def _load(worker: Worker, model: Sendable, options: Mapping[str, object], seconds: float) -> None:
    content = np.frombuffer(model.content, np.uint8)
    loaded = worker.ask(
        "load", [content], seconds=seconds, options=dict(options), memory_bytes=None
    ).header
    input_info = loaded["inputs"][0]
    worker.ask("set", [np.zeros(input_info["shape"], input_info["dtype"])], seconds=seconds)


def _libraries(
    launcher: Qemu, engine: str, model: Sendable, options: Mapping[str, object], limits: Limits
) -> list[tuple[int, int]]:
    """The addresses, first and last, of each library of the runtime, as the program sees them."""
    with Worker(launcher, engine, seconds=limits.open_seconds) as worker:
        _load(worker, model, options, limits.open_seconds)
        lines = Path(f"/proc/{worker.pid}/maps").read_text("utf-8").splitlines()
    found: dict[str, tuple[int, int]] = {}
    for line in lines:
        addresses, *_, path = line.split(maxsplit=5)
        if not _counts(path, launcher.site):
            continue
        low, high = (int(end, 16) - _BASE for end in addresses.split("-"))
        first, last = found.get(path, (low, high - 1))
        found[path] = min(first, low), max(last, high - 1)
    if not found:
        raise TargetError(
            f"no library of {launcher.site} is mapped", hint="report this with the version of QEMU"
        )
    return list(found.values())


def _counts(path: str, site: Path) -> bool:
    place = Path(path)
    return (
        ".so" in place.name
        and place.is_relative_to(site)
        and place.relative_to(site).parts[0] not in _NOT_COUNTED
    )


class LogCounter:
    """What a log says, piece by piece.

    Attributes:
        counting: whether entries into blocks are counted; blocks are noted always.
    """

    def __init__(self) -> None:
        self.counting = False
        self._rest, self._sizes, self._entered = b"", dict[int, int](), Counter[bytes]()

    def add(self, piece: bytes) -> None:
        """Read on; what is not whole yet waits for the next piece."""
        text = self._rest + piece
        end = text.rfind(_ENTRY) + 1  # a block is followed by the entry into it
        self._note(text[:end])
        self._rest = text[end:]

    def finish(self) -> None:
        """Read what waits: nothing more is coming for now."""
        self._note(self._rest)
        self._rest = b""

    def start(self) -> None:
        """Count from here."""
        self._entered.clear()
        self.counting = True

    def total(self) -> int:
        """The instructions counted.

        Raises:
            TargetError: nothing was entered, or a block that the log did not describe.
        """
        unknown = [block for block in self._entered if int(block, 16) not in self._sizes]
        if unknown or not self._entered:
            raise TargetError(
                "QEMU's log of instructions cannot be read", hint="use QEMU 10, whose log is known"
            )
        return sum(times * self._sizes[int(block, 16)] for block, times in self._entered.items())

    def _note(self, text: bytes) -> None:
        for block in _BLOCK.findall(text):
            lines = block.splitlines()
            self._sizes[int(lines[0].split(b":", 1)[0], 16)] = len(lines)
        if self.counting:
            self._entered.update(_ENTERED.findall(text))


class _Log:
    """QEMU's log, read while it is written."""

    def __init__(self, ranges: Sequence[tuple[int, int]]) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="edgeq-log-")
        pipe = Path(self._folder.name) / "log"
        os.mkfifo(pipe)
        # both ends, so that there is no end of file
        self._descriptor = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        wanted = ",".join(f"{low:#x}..{high:#x}" for low, high in ranges)
        self.arguments = ("-d", "in_asm,exec,nochain", "-dfilter", wanted, "-D", str(pipe))
        self._log, self._ended = LogCounter(), False
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._ended = True
        self._thread.join()
        os.close(self._descriptor)
        self._folder.cleanup()

    def during(self, worker: Worker, seconds: float) -> int:
        """The instructions of one run."""
        with self._lock:
            self._catch_up()
            self._log.start()
        worker.ask("invoke", seconds=seconds)
        with self._lock:
            self._catch_up()
            self._log.counting = False
            return self._log.total()

    def _follow(self) -> None:
        while not self._ended:
            select.select([self._descriptor], [], [], 0.1)
            with self._lock:
                self._take()

    def _catch_up(self) -> None:
        """Read what is in the pipe: all of a finished run, since QEMU writes lines at once."""
        while self._take():
            pass
        self._log.finish()

    def _take(self) -> bool:
        """Read a piece; whether there was one."""
        try:
            self._log.add(os.read(self._descriptor, 2**16))
        except BlockingIOError:
            return False
        return True
