"""A graph in ONNX Runtime, for edgeq's own work: in this process, or where a command says.

Ranges are measured, constants computed and files checked by running graphs that came from
somewhere. One that edgeq did not write can crash a runtime, so commands open those in a process of
their own (:mod:`edgeq.targets.isolation`); nothing else here knows the difference.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

_FATAL_ONLY = 4


class RuntimeFailed(Exception):
    """ONNX Runtime does not take a graph, or does not run it; the text is its own."""


@dataclass(frozen=True, slots=True)
class Opening:
    """How a graph is opened.

    Attributes:
        optimize: whether the graph optimiser is on; without, each operator is computed as ONNX
            says.
        threads: that compute one operator; 0 for as many as the runtime chooses.
        keeps_memory: whether memory that a run needed is kept for the next one.
    """

    optimize: bool = True
    threads: int = 0
    keeps_memory: bool = True


class Graph(Protocol):
    """An open graph; several threads may run it at a time."""

    entries: tuple[str, ...]
    """The names of its inputs."""

    def run(self, wanted: Sequence[str], fed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Some outputs, in the order of their names; all where none is named.

        Raises:
            RuntimeFailed: the runtime says that it cannot.
            TargetError: the process that ran it ended.
        """
        ...


class Opener(Protocol):
    """Opens graphs that edgeq did not write."""

    def __call__(self, content: bytes, opening: Opening) -> Graph:
        """Open one; raises as :func:`open_graph` does."""
        ...


_ELSEWHERE: ContextVar[Opener | None] = ContextVar("elsewhere", default=None)


@contextmanager
def opened_by(opener: Opener | None) -> Iterator[None]:
    """Let something else open foreign graphs meanwhile.

    Args:
        opener: None for this process.
    """
    token = _ELSEWHERE.set(opener)
    try:
        yield
    finally:
        _ELSEWHERE.reset(token)


def open_graph(content: bytes, opening: Opening, *, ours: bool) -> Graph:
    """Open a graph in ONNX Runtime.

    Args:
        content: an ONNX model.
        opening: how.
        ours: whether edgeq wrote all of it, so that it is opened in this process in any case.

    Raises:
        RuntimeFailed: the runtime says that it cannot.
        TargetError: the process that opened it ended.
    """
    elsewhere = None if ours else _ELSEWHERE.get()
    return Here(content, opening) if elsewhere is None else elsewhere(content, opening)


class Here:
    """A graph that is open in this process.

    Args:
        content: an ONNX model.
        opening: how it is opened.
    """

    def __init__(self, content: bytes, opening: Opening) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        options.intra_op_num_threads = opening.threads
        options.enable_cpu_mem_arena = opening.keeps_memory
        # threads that wait in a loop take the processor from what is done between two runs
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not opening.optimize:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            self._session = onnxruntime.InferenceSession(
                content, options, providers=["CPUExecutionProvider"]
            )
        except Exception as error:  # the runtime's errors share no class of their own
            raise RuntimeFailed(str(error)) from error
        self.entries = tuple(value.name for value in self._session.get_inputs())

    def run(self, wanted: Sequence[str], fed: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Some outputs; see :meth:`Graph.run`."""
        try:
            made = self._session.run(list(wanted) or None, dict(fed))
        except Exception as error:  # as above
            raise RuntimeFailed(str(error)) from error
        return [np.asarray(each) for each in made]
