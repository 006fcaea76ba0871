"""Where files that edgeq did not write are opened: in a process of their own, or in this one.

Targets open a file there by :mod:`~edgeq.targets.isolation.hosted`; what edgeq itself runs of a
file, to measure ranges or to check what it writes, goes by :mod:`~edgeq.targets.isolation.graphs`.

A damaged or hostile file can crash a runtime, let it hang or take all memory; valid files can, too.
In a process of its own that ends the process, and an error says so. Commands and
:mod:`edgeq.deploy.api` ask for that; files that edgeq wrote, and targets that are called directly,
run here, where nothing has to be started.
"""

from __future__ import annotations

import os
from contextlib import closing, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING

from edgeq.formats.onnx_session import opened_by
from edgeq.machine import memory_bytes
from edgeq.targets.isolation.graphs import Apart
from edgeq.targets.workers.process import Limits

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from edgeq.target import Capabilities

VARIABLE = "EDGEQ_IN_PROCESS"
_OPEN_SECONDS, _RUN_SECONDS = 120.0, 60.0
_LEAST_BYTES, _MEMORY_SHARE = 4 * 2**30, 0.9
_APART: ContextVar[bool | None] = ContextVar("apart", default=None)


@contextmanager
def apart(*, in_process: bool | None = None) -> Iterator[None]:
    """Open foreign files in processes of their own meanwhile.

    Args:
        in_process: whether to open them here all the same, as the environment's
            ``EDGEQ_IN_PROCESS=1`` asks for too; None for what a caller has asked for, if any.
    """
    away = not (in_process or os.environ.get(VARIABLE) == "1")
    asked = _APART.get()
    if asked is away or (in_process is None and asked is not None):
        yield
        return
    token = _APART.set(away)
    try:
        with closing(Apart(limits())) if away else nullcontext() as opener, opened_by(opener):
            yield
    finally:
        _APART.reset(token)


def opens_apart(*, by_default: bool) -> bool:
    """Whether a foreign file is to be opened in a process of its own now.

    Args:
        by_default: where nobody asked for either.
    """
    asked = _APART.get()
    return by_default if asked is None else asked


def task(artefact: Path, capabilities: Capabilities) -> str:
    """What such a process does, for messages."""
    return f"this machine for {artefact.name} ({capabilities.summary})"


def limits() -> Limits:
    """How long and how large such a process may get."""
    memory = max(int(_MEMORY_SHARE * (memory_bytes() or 0)), _LEAST_BYTES)
    return Limits(_OPEN_SECONDS, _RUN_SECONDS, memory)
