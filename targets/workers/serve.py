"""The worker's side: answers the host's requests with one engine, until the host goes away.

It is sent to the interpreter that runs it, together with the modules that engines import and one
engine; see :mod:`~edgeq.targets.workers.program`. What a runtime prints goes to standard error: the
standard output that it sees is not the one that frames leave by.
"""

from __future__ import annotations

import gc
import os
import platform
import select
import signal
import sys
import threading
import time
import traceback
from array import array
from typing import TYPE_CHECKING, Any, NoReturn, Protocol

import numpy as np

from edgeq.targets.workers.wire import Damaged, Frame, Refused, pack, unpack

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader
    from types import ModuleType

    from numpy.typing import NDArray

MAX_RUNS = 2**16  # durations in one answer


class Engine(Protocol):
    """One runtime with one model loaded; built from the model's bytes and a dictionary of options.

    ``threads`` and ``intermediates`` are always among the options. Tensors are described by
    dictionaries with ``name``, ``shape`` (batch 1 first) and ``dtype``, and, where the runtime
    itself knows a grid, ``scale``, ``zero_point`` (lists) and ``axis``. ``grids``, of the same keys
    by name, is for what ``tensors`` returns, and ``layers``, one dictionary of texts and numbers
    for each kernel in the order of execution, is for a target's plan; both may be left out.
    """

    inputs: list[dict[str, Any]]
    outputs: list[dict[str, Any]]
    facts: dict[str, str]

    def set_input(self, sample: NDArray[Any], index: int = 0) -> None:
        """Keep an input, by its place in ``inputs``, with its batch of one.

        The first begins a new sample: what a model keeps between inferences is reset. An engine of
        models with one input need not take ``index``.
        """

    def invoke(self) -> None:
        """Run once."""

    def get_output(self, index: int = 0) -> NDArray[Any]:
        """An output of the last run, by its place in ``outputs``."""
        ...

    def tensors(self) -> dict[str, NDArray[Any]]:
        """The inner tensors after the last run, in graph order, as the runtime lays them out."""
        ...


def main(engine: ModuleType, stdin: BufferedReader) -> None:
    """Serve until the host closes the other end.

    Args:
        engine: a module of :mod:`edgeq.targets.workers.engines`.
        stdin: where requests come from; it may have read ahead.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # as edgeq itself, which may not be here
    out = os.dup(1)
    os.dup2(2, 1)
    threading.Thread(target=_leave_with_host, args=(stdin.fileno(),), daemon=True).start()
    worker = _Worker(engine)
    _send(out, {"ok": True, "python": platform.python_version(), "machine": platform.machine()}, [])
    while True:
        try:
            request = unpack(stdin.read1)
        except EOFError:
            _end()
        for part in _parts(request):
            _send(out, *_answer(worker, part))


def _parts(request: Frame) -> list[Frame]:
    """Answer a batch sample by sample, so that the host's time limit is for one run."""
    if request.header["do"] != "run":
        return [request]
    batched = request.header.get("batched", [True] * len(request.arrays))
    samples = zip(*request.arrays, strict=True)
    return [
        Frame(
            request.header,
            [one[None] if has else one for one, has in zip(sample, batched, strict=True)],
        )
        for sample in samples
    ]


def _leave_with_host(stdin: int) -> None:
    """End the process when the other end of its input is gone, even while a run hangs."""
    waiting = select.poll()
    waiting.register(stdin, 0)  # reports a hang-up only
    waiting.poll()
    _end()


def _end() -> NoReturn:
    """End this process, and what a runtime has started: the host may be gone, and cannot do it."""
    if os.getpgrp() == os.getpid():  # the group is ours alone
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _send(out: int, header: dict[str, Any], arrays: list[NDArray[Any]]) -> None:
    for piece in pack(header, arrays):
        view = memoryview(piece)
        while len(view):
            view = view[os.write(out, view) :]


def _answer(worker: _Worker, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
    """What a request comes to.

    An exception becomes an answer, because the process is still sound.
    """
    try:
        header, arrays = worker.handlers[request.header["do"]](request)
    except Refused as error:
        return _problem("damaged" if isinstance(error, Damaged) else "refused", error), []
    except ImportError as error:
        return _problem("absent", error), []
    except MemoryError as error:
        return _problem("memory", error), []
    except Exception as error:  # noqa: BLE001  every runtime has exceptions of its own
        traceback.print_exc()
        return _problem("failed", error), []
    return {"ok": True, **header}, arrays


def _problem(kind: str, error: BaseException) -> dict[str, Any]:
    lines = str(error).strip().splitlines()
    return {"ok": False, "problem": kind, "what": lines[0] if lines else type(error).__name__}


class _Worker:
    """The requests that a host may make."""

    def __init__(self, module: ModuleType) -> None:
        self.module = module
        self.engine: Any = None
        self.handlers: dict[str, Callable[[Frame], tuple[dict[str, Any], list[NDArray[Any]]]]] = {
            "versions": self.versions,
            "load": self.load,
            "set": self.set,
            "invoke": self.invoke,
            "time": self.time,
            "get": self.get,
            "run": self.run,
            "tensors": self.tensors,
            "first": self.first,
            "operators": self.operators,
        }

    def versions(self, _request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        return {"versions": self.module.versions()}, []

    def load(self, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        _limit_memory(request.header.get("memory_bytes"))
        content = request.arrays[0].tobytes()
        self.module.versions()  # imports the runtime, which is no part of loading a model
        self.before = _reset_peak()
        began = time.perf_counter_ns()
        self.engine = self.module.Engine(content, request.header["options"])
        self.load_ns = time.perf_counter_ns() - began
        engine = self.engine
        facts = {
            **self.module.versions(),
            **{name: str(fact) for name, fact in engine.facts.items()},
        }
        told = {"grids": getattr(engine, "grids", {}), "layers": getattr(engine, "layers", [])}
        return {"inputs": engine.inputs, "outputs": engine.outputs, "facts": facts, **told}, []

    def first(self, _request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """What it took to load the model and to run it for the first time.

        An engine that runs as it loads has timed that itself: ``first_ns``, a part of its loading.
        """
        first = getattr(self.engine, "first_ns", None)
        load = self.load_ns - (first or 0)
        if first is None:
            began = time.perf_counter_ns()
            self.engine.invoke()
            first = time.perf_counter_ns() - began
        peak = _memory("VmHWM")
        taken = None if peak is None or self.before is None else max(peak - self.before, 0)
        return {"load_ns": load, "first_ns": first, "peak_bytes": taken}, []

    def operators(self, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """What each operator takes, by the runtime's own profiler."""
        times = getattr(self.engine, "operator_times", None)
        if times is None:
            raise Refused("this engine has no profiler of operators")
        return {"operators": times(int(request.header["runs"]))}, []

    def set(self, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        self._enter(request)
        return {}, []

    def _enter(self, request: Frame) -> None:
        self.engine.set_input(request.arrays[0])
        for index, values in enumerate(request.arrays[1:], start=1):
            self.engine.set_input(values, index)

    def invoke(self, _request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        self.engine.invoke()
        return {}, []

    def time(self, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """Run until a time is over, at least once; the garbage collector waits.

        Answers with what each run took, in ns, and with the processor time of all of them.
        """
        took, clock, invoke = array("q"), time.perf_counter_ns, self.engine.invoke
        gc.disable()
        try:
            processor = time.process_time_ns()
            end = clock() + int(request.header["budget_ns"])
            while True:
                began = clock()
                invoke()
                ended = clock()
                took.append(ended - began)
                if ended >= end or len(took) == MAX_RUNS:
                    spent = time.process_time_ns() - processor
                    return {"processor_ns": spent}, [np.frombuffer(took, np.int64)]
        finally:
            gc.enable()

    def get(self, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """The outputs that are asked for by number, the first where none is."""
        places = request.header.get("outputs", [0])
        return {}, [np.asarray(self.engine.get_output(place)) for place in places]

    def run(self, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        """The outputs for one sample."""
        self._enter(request)
        self.engine.invoke()
        return self.get(request)

    def tensors(self, request: Frame) -> tuple[dict[str, Any], list[NDArray[Any]]]:
        self._enter(request)
        self.engine.invoke()
        shown = self.engine.tensors()
        return {"names": list(shown)}, [np.asarray(values) for values in shown.values()]


def _memory(field: str) -> int | None:
    """A figure of this process's memory, in bytes; None where the system does not tell."""
    try:
        with open("/proc/self/status", encoding="utf-8") as file:  # noqa: PTH123  a worker's Python may be old
            for line in file:
                if line.startswith(f"{field}:"):
                    return int(line.split()[1]) * 1024
    except (OSError, ValueError):
        pass
    return None


def _reset_peak() -> int | None:
    """Let the peak of memory begin anew; what there is of it now."""
    try:
        with open("/proc/self/clear_refs", "w", encoding="utf-8") as file:  # noqa: PTH123  likewise
            file.write("5")
    except OSError:
        return _memory("VmHWM")
    return _memory("VmRSS")


def _limit_memory(size: int | None) -> None:
    """Let allocations beyond a limit fail in this process, so that the machine survives."""
    if size is None:
        return
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (size, size))
    sys.stderr.write(f"memory is limited to {size} bytes\n")
