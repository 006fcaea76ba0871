"""A worker's process, as the host sees it.

Started, asked, listened to for a limited time, and always taken away again.

Whatever a worker does wrong ends it, and becomes one error that says where it ran, what it did and
what it last wrote.
"""

from __future__ import annotations

import os
import select
import shlex
import signal
import subprocess
import threading
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn, Self

from edgeq.errors import ArtefactError, TargetError
from edgeq.targets.workers.program import BOOTSTRAP, compose
from edgeq.targets.workers.wire import PIECE, BrokenFrame, Truncated, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from types import TracebackType
    from typing import IO

    from numpy.typing import NDArray

    from edgeq.targets.workers.launchers import Launcher
    from edgeq.targets.workers.wire import Frame

ELSEWHERE = "another runtime may run it; if this one crashed, report the model to its makers"
GRACE_SECONDS = 1.0  # for a worker to leave by itself, and again for it to heed SIGTERM
SLOWEST_LINE = 2**16  # bytes a second
KEPT_BYTES = 8192  # of the end of its standard error
TOLD_LINES = 4
_MORE = "open_seconds and run_seconds in edgeq-targets.toml"
_SOFTWARE = (
    "standard output belongs to the protocol: let nothing there print at login or at the "
    "start of Python"
)


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how large a worker may get.

    Attributes:
        open_seconds: to start, import its runtime and load a model; also a phone's compiler has to
            fit in.
        run_seconds: for one run of the model.
        memory_bytes: address space of the worker; None for as much as there is.
    """

    open_seconds: float = 300.0
    run_seconds: float = 60.0
    memory_bytes: int | None = None


class Worker:
    """One running worker; a context manager that ends it.

    Args:
        launcher: where to start it.
        engine: the engine's name.
        seconds: how long it may take until it answers for the first time.
        passed: descriptors that it inherits, where it is started on this machine.

    Raises:
        TargetError: it cannot be started, or what was started is no worker of this version.
    """

    def __init__(
        self, launcher: Launcher, engine: str, *, seconds: float, passed: Sequence[int] = ()
    ) -> None:
        self.place = launcher.place
        if not hasattr(select, "poll"):
            raise TargetError(
                "a worker cannot be started on this system, which has no poll()",
                hint="on Windows use WSL, or open files in this process: EDGEQ_IN_PROCESS=1",
            )
        missing = launcher.missing()
        if missing is not None:
            raise TargetError(missing[0], hint=missing[1])
        program = compose(engine)
        command = launcher.command(["-u", "-c", BOOTSTRAP])
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                cwd="/",
                start_new_session=True,
                pass_fds=passed,
            )
        except OSError as error:
            raise TargetError(
                f"{command[0]} cannot be started: {error.strerror}",
                hint="check that it is installed and executable",
            ) from error
        self._stdin, self._stdout = _pipe(self._process.stdin), _pipe(self._process.stdout)
        os.set_blocking(self._stdin.fileno(), False)
        self._said = _Tail(_pipe(self._process.stderr))
        self._open = True
        self._started, self._by_hand = False, shlex.join(launcher.command(["-c", "import numpy"]))
        try:
            self._write([program], _Patience(seconds))
            self.hello = self._read(_Patience(seconds), 0).header
        except BaseException:
            self.close()
            raise
        self._started = True

    def ask(
        self,
        do: str,
        arrays: Sequence[NDArray[Any]] = (),
        *,
        seconds: float,
        limit: int = 0,
        **header: object,
    ) -> Frame:
        """Make one request and wait for its answer.

        Args:
            do: what; a handler of :mod:`edgeq.targets.workers.serve`.
            arrays: what goes with it.
            seconds: how long the answer may take.
            limit: the most bytes of arrays that may come back.
            header: further values of the request.

        Raises:
            TargetError: the worker died, took too long, answered with garbage, or said why it
                cannot.
        """
        return next(self.ask_each(do, arrays, 1, seconds=seconds, limit=limit, **header))

    def ask_each(
        self,
        do: str,
        arrays: Sequence[NDArray[Any]],
        answers: int,
        *,
        seconds: float,
        limit: int = 0,
        **header: object,
    ) -> Iterator[Frame]:
        """Make one request and wait for several answers.

        ``seconds`` and ``limit`` hold for each of them.
        """
        if not self._open:
            raise TargetError(
                f"the worker on {self.place} has ended", hint="open the artefact again"
            )
        try:
            pieces = pack({"do": do, **header}, arrays)
        except BrokenFrame as error:
            raise TargetError(
                f"this cannot be sent to a worker: {error}",
                hint="choose a target that runs in process",
            ) from error
        self._write(pieces, _Patience(seconds))
        for _ in range(answers):
            yield self._read(_Patience(seconds), limit)

    def close(self) -> None:
        """End the worker and all that it started; nothing is left behind."""
        if not self._open:
            return
        self._open = False
        for pipe in (self._stdin, self._stdout):
            pipe.close()
        for number in (None, signal.SIGTERM, signal.SIGKILL):
            if self._left(number):
                break
        _kill_group(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._said.close()

    @property
    def pid(self) -> int:
        """Its process on this machine; that of the emulator, of ssh, … where one stands between."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self.close()

    def _left(self, number: signal.Signals | None) -> bool:
        """Whether it is gone soon, after a signal or without."""
        if number is not None:
            _kill_group(self._process.pid, number)
        try:
            self._process.wait(GRACE_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        return True

    def _write(self, pieces: Sequence[bytes | memoryview], patience: _Patience) -> None:
        out = self._stdin.fileno()
        for piece in pieces:
            view = memoryview(piece)
            while len(view):
                self._wait(out, select.POLLOUT, patience)
                try:
                    moved = os.write(out, view[:PIECE])
                except BrokenPipeError:
                    self.gone()
                patience.reward(moved)
                view = view[moved:]

    def _read(self, patience: _Patience, limit: int) -> Frame:
        source = self._stdout.fileno()

        def read(size: int) -> bytes:
            self._wait(source, select.POLLIN, patience)
            piece = os.read(source, size)
            patience.reward(len(piece))
            return piece

        try:
            frame = unpack(read, limit)
        except (EOFError, Truncated):
            self.gone()
        except BrokenFrame as error:
            self.fail(f"answers with garbage: {error}", _SOFTWARE)
        if frame.header.get("ok") is not True:
            self.complain(frame.header)
        return frame

    def _wait(self, descriptor: int, event: int, patience: _Patience) -> None:
        waiting = select.poll()
        waiting.register(descriptor, event)
        left = patience.left()
        if left <= 0 or not waiting.poll(left * 1000):
            self.hung(patience.seconds)

    def hung(self, seconds: float) -> NoReturn:
        """End it because it did not answer in time; always a TargetError."""
        self.fail(
            f"did not answer within {seconds:g} s",
            f"look at what hangs, or give it more time: {_MORE}",
        )

    def complain(self, header: Mapping[str, Any]) -> NoReturn:
        """Tell why it answered that it cannot.

        Raises:
            ArtefactError: what it was given is broken.
            TargetError: otherwise.
        """
        what, _, its = str(header.get("what", "it does not say why"))[:700].partition(" (hint: ")
        its = its.removesuffix(")")
        told, hint = {
            "refused": (
                "refuses the model",
                "another target may take it, or another dialect: edgeq export --for",
            ),
            "absent": ("cannot be used", "install the runtime there"),
            "memory": (
                "ran out of memory",
                "raise the limit (memory_mb), or choose a smaller model",
            ),
        }.get(str(header.get("problem")), ("failed", ELSEWHERE))
        self.close()
        if header.get("problem") == "damaged":
            raise ArtefactError(
                f"the runtime cannot load the model: {what}",
                hint=its or "export it again; it may be damaged",
            )
        raise TargetError(f"the worker on {self.place} {told}: {what}", hint=its or hint)

    def gone(self) -> NoReturn:
        """Tell why the process is gone; always a TargetError."""
        left = self._left(None)
        code = self._process.returncode
        if not left:
            how = "closed its output"
        elif code < 0:
            how = f"was killed by {_called(-code)}"
        else:
            how = f"ended with exit code {code}"
        self.fail(
            how if self._started else f"{how} before it began",
            ELSEWHERE if self._started else f"try it by hand: {self._by_hand}",
        )

    def fail(self, what: str, hint: str) -> NoReturn:
        """End it because of what it did; always a TargetError."""
        self.close()
        raise TargetError(f"the worker on {self.place} {what}{self._said.told()}", hint=hint)


class _Tail:
    """Reads a pipe to its end and keeps the last of it."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe, self._kept = pipe, bytearray()
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        while piece := os.read(self._pipe.fileno(), KEPT_BYTES):
            self._kept += piece
            del self._kept[:-KEPT_BYTES]

    def close(self) -> None:
        """Wait for the last lines; whoever still holds the other end keeps it."""
        self._thread.join(GRACE_SECONDS)
        if not self._thread.is_alive():
            self._pipe.close()

    def told(self) -> str:
        """The last lines, as the end of a message; empty when nothing was written."""
        lines = [
            line.strip()
            for line in self._kept.decode(errors="replace").splitlines()
            if line.strip()
        ]
        return f"; it last wrote: {' | '.join(lines[-TOLD_LINES:])}"[:1000] if lines else ""


class _Patience:
    """How long to wait for a message.

    One that moves, however long it is, gets the time that a slow line needs for it.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds, self._end = seconds, time.monotonic() + seconds

    def left(self) -> float:
        """Seconds."""
        return self._end - time.monotonic()

    def reward(self, moved: int) -> None:
        """Some bytes came through."""
        self._end += moved / SLOWEST_LINE


def _called(number: int) -> str:
    return signal.Signals(number).name if number in set(signal.Signals) else f"signal {number}"


def _kill_group(pid: int, number: signal.Signals) -> None:
    try:
        os.killpg(pid, number)
    except ProcessLookupError:
        return


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    if pipe is None:
        raise ValueError("the process was started without this pipe")
    return pipe
