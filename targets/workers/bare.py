"""A runtime alone with a model in a process of its own, nothing of edgeq's around it.

What it takes to start, to run for the first time, in memory, by operator, and with batches, is
measured there: in edgeq's own process all of that would be mixed with edgeq's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

import numpy as np

from edgeq.errors import TargetError
from edgeq.targets.workers.session import runs_of
from edgeq.targets.workers.wire import MAX_PAYLOAD
from edgeq.timing.details import OperatorTime, StartUp

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from types import TracebackType

    from numpy.typing import NDArray

    from edgeq.targets.workers.process import Limits, Worker
    from edgeq.timing import Runs

_OPERATOR_RUNS = 60


class BareRuntime:
    """A model loaded in a worker, which times itself; a context manager that ends it.

    Args:
        worker: the process; this object owns it from here on.
        content: the model.
        options: of the engine.
        limits: time and memory.

    Attributes:
        start_up: what it took to begin.

    Raises:
        ArtefactError: the runtime cannot load the model.
        TargetError: it refuses the model or the options, or crashes.
    """

    def __init__(
        self, worker: Worker, content: bytes, options: Mapping[str, object], limits: Limits
    ) -> None:
        self._worker, self._limits = worker, limits
        model = np.frombuffer(content, np.uint8)
        worker.ask(
            "load",
            [model],
            seconds=limits.open_seconds,
            options=dict(options),
            memory_bytes=limits.memory_bytes,
        )
        told = worker.ask("first", seconds=limits.run_seconds).header
        load, first, peak = (told.get(key) for key in ("load_ns", "first_ns", "peak_bytes"))
        if not (isinstance(load, int) and isinstance(first, int)):
            raise TargetError(
                "the worker does not say what it took to begin", hint="its engine is broken"
            )
        self.start_up = StartUp(load / 1e6, first / 1e6, peak if isinstance(peak, int) else None)

    def set(self, values: Sequence[NDArray[Any]]) -> None:
        """Give the runtime its inputs, with their batch."""
        self._worker.ask("set", values, seconds=self._limits.run_seconds)

    def invoke(self) -> None:
        """Run once."""
        self._worker.ask("invoke", seconds=self._limits.run_seconds)

    def invoke_ns(self, budget_ns: int) -> Runs:
        """Run until a time is over; see :class:`edgeq.timing.SelfTimed`."""
        seconds = self._limits.run_seconds + budget_ns / 1e9
        runs = runs_of(
            self._worker.ask("time", seconds=seconds, limit=MAX_PAYLOAD, budget_ns=budget_ns)
        )
        if runs is None:
            raise TargetError(
                "the worker answers with durations that are none", hint="its engine is broken"
            )
        return runs

    def operators(self) -> tuple[OperatorTime, ...]:
        """What each operator takes, by the runtime's own profiler.

        Raises:
            TargetError: it has none.
        """
        told = self._worker.ask(
            "operators", seconds=self._limits.open_seconds, runs=_OPERATOR_RUNS
        ).header.get("operators")
        return tuple(
            OperatorTime(
                str(one.get("name")),
                str(one.get("kind")),
                float(one.get("ms", 0.0)),
                str(one.get("provider", "")),
            )
            for one in (told if isinstance(told, list) else [])
            if isinstance(one, dict)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._worker.close()
