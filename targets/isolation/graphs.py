"""Graphs in ONNX Runtime in a process of their own, as the host sees it.

One process serves all graphs of a command: it starts with the first, and ends with the command.
What a graph computes is not sent but lies in memory that both processes see, so that measuring
ranges costs hardly more than in one process.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import weakref
from collections import deque
from contextlib import ExitStack
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from edgeq.errors import EdgeqError, TargetError
from edgeq.formats.onnx_session import RuntimeFailed
from edgeq.targets.isolation.shared import Region, receive, send
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.process import Worker
from edgeq.targets.workers.wire import BrokenFrame

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from edgeq.formats.onnx_session import Graph, Opening
    from edgeq.targets.workers.process import Limits

_ENGINE = "edgeq.targets.isolation.graphs_engine"
_PLACE = "this machine for the graph of the file (ONNX Runtime)"
_LEAST_LENT = 2**20  # bytes of an answer that is read where it lies, and not copied
_MOST_LENT = 8  # such answers at a time
_SECONDS_PER_SAMPLE = 10.0  # of a run, beyond what one may take in any case
_MOST_SECONDS = 3600.0  # of a run; not every first axis is one of samples


class Apart:
    """Opens graphs in a process of their own, which starts with the first of them.

    Args:
        limits: how long the process may take, and how large it may get.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._process: _Process | None = None
        self._starting = threading.Lock()

    def __call__(self, content: bytes, opening: Opening) -> Graph:
        """Open a graph; see :func:`edgeq.formats.onnx_session.open_graph`."""
        with self._starting:
            if self._process is None or self._process.is_lost:
                self._process = _Process(self._limits)
            process = self._process
        return _Graph(process, content, opening)

    def close(self) -> None:
        """End the process, and all graphs with it."""
        if self._process is not None:
            self._process.close()


class _Process:
    """The process, and the lanes to it that no thread uses now."""

    def __init__(self, limits: Limits) -> None:
        self.limits, self._owner = limits, os.getpid()
        self._lanes: deque[_Lane] = deque()
        self._lent, self._closed = set[_Lane](), False
        self._forgotten: deque[int] = deque()
        self._ending, self._told = threading.Lock(), list[EdgeqError]()
        self._control, theirs = socket.socketpair()
        seconds, number = limits.open_seconds, theirs.fileno()
        with theirs, ExitStack() as unless_begun:
            unless_begun.enter_context(self._control)
            self._worker = Worker(Here(_PLACE), _ENGINE, seconds=seconds, passed=(number,))
            unless_begun.enter_context(self._worker)
            self._worker.ask(
                "load",
                [np.zeros(1, np.uint8)],
                seconds=seconds,
                options={"control": number},
                memory_bytes=limits.memory_bytes,
            )
            unless_begun.pop_all()

    @property
    def is_lost(self) -> bool:
        """Whether it has ended, or belongs to the process that this one was forked from."""
        return bool(self._told) or self._owner != os.getpid()

    def ask(
        self, header: Mapping[str, Any], arrays: Sequence[NDArray[Any]], seconds: float
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Ask one thing, over a lane that nobody else uses meanwhile.

        Raises:
            RuntimeFailed: the runtime says that it cannot.
            TargetError: the process ended, hung or ran out of memory, or is another process's.
        """
        if self._owner != os.getpid():
            raise TargetError(
                "a graph that was opened before a fork is run behind it",
                hint="open it in the process that runs it",
            )
        forgotten = [self._forgotten.popleft() for _ in range(len(self._forgotten))]
        try:
            lane = self._lanes.pop() if self._lanes else _Lane(self._control)
            answer, made = lane.ask({**header, "forget": forgotten}, arrays, seconds)
        except TimeoutError:
            self._end(lambda: self._worker.hung(seconds))
        except (EOFError, ConnectionError):
            self._end(self._worker.gone)
        except BrokenFrame as error:
            garbage = f"answers with garbage: {error}"
            self._end(lambda: self._worker.fail(garbage, "report it as a bug of edgeq"))
        if len(self._lent) < _MOST_LENT and sum(one.nbytes for one in made) >= _LEAST_LENT:
            self._lent.add(lane)
            weakref.finalize(made[0].base, self._free, lane).atexit = False
        else:
            made = [np.array(one) for one in made]
            self._free(lane)
        if answer.get("ok") is not True:
            if answer.get("problem") == "failed":
                raise RuntimeFailed(str(answer.get("what")))
            self._end(lambda: self._worker.complain(answer))
        return answer, made

    def _free(self, lane: _Lane) -> None:
        """Let others use a lane, now that nobody reads what came over it any more."""
        self._lent.discard(lane)
        if self._closed:
            lane.close()
        else:
            self._lanes.append(lane)

    def forget(self, graph: int) -> None:
        """Let go of a graph with the next request."""
        self._forgotten.append(graph)

    def close(self) -> None:
        """End it, unless it belongs to another process."""
        if self._owner == os.getpid():
            self._closed = True
            self._worker.close()
            self._control.close()
            while self._lanes:
                self._lanes.pop().close()

    def _end(self, tell: Callable[[], NoReturn]) -> NoReturn:
        """Tell why it ended: all threads that wait for it the first reason."""
        with self._ending:
            if not self._told:
                try:
                    tell()
                except EdgeqError as error:
                    self._told.append(error)
        raise self._told[0]


class _Lane:
    """A way to the process, for one request at a time.

    Args:
        control: the socket that the process learns of lanes by.
    """

    def __init__(self, control: socket.socket) -> None:
        self._line, theirs = socket.socketpair()
        self._given, self._made = Region.new(), Region.new()
        with theirs:
            descriptors = [theirs.fileno(), self._given.descriptor, self._made.descriptor]
            socket.send_fds(control, [b"+"], descriptors)

    def ask(
        self, header: Mapping[str, Any], arrays: Sequence[NDArray[Any]], seconds: float
    ) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Send a request and wait for its answer, whose arrays hold until the next one."""
        send(self._line, {**header, "given": self._given.put(arrays)})
        waiting = select.poll()
        waiting.register(self._line, select.POLLIN)
        if not waiting.poll(1000 * seconds):
            raise TimeoutError
        answer = receive(self._line)
        return answer, self._made.get(answer.get("made", []))

    def close(self) -> None:
        """Let go of it."""
        self._line.close()
        self._given.close()
        self._made.close()


class _Graph:
    """A graph that is open there."""

    def __init__(self, process: _Process, content: bytes, opening: Opening) -> None:
        self._process = process
        header = {"do": "open", "opening": asdict(opening)}
        given = [np.frombuffer(content, np.uint8)]
        answer, _ = process.ask(header, given, process.limits.open_seconds)
        self._number = int(answer["graph"])
        self.entries = tuple(map(str, answer["entries"]))
        weakref.finalize(self, process.forget, self._number).atexit = False

    def run(self, wanted: Sequence[str], fed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Some outputs; see :meth:`edgeq.formats.onnx_session.Graph.run`."""
        samples = max((len(array) for array in fed.values() if array.ndim), default=1)
        least = self._process.limits.run_seconds
        seconds = max(least, min(least + _SECONDS_PER_SAMPLE * samples, _MOST_SECONDS))
        header = {"do": "run", "graph": self._number, "wanted": [*wanted], "names": [*fed]}
        return self._process.ask(header, [*fed.values()], seconds)[1]
