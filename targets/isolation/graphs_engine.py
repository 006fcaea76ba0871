"""Any number of graphs in ONNX Runtime, in a process of their own; the other side of ``graphs``.

Requests come over sockets that the host hands over, one for each of its threads that waits for an
answer, and are answered side by side.
"""

from __future__ import annotations

import contextlib
import socket
import threading
from importlib.metadata import version
from itertools import count
from typing import Any

import numpy as np

from edgeq.formats.onnx_session import Graph, Here, Opening, RuntimeFailed
from edgeq.targets.isolation.shared import Region, receive, send
from edgeq.targets.workers.wire import BrokenFrame

_GRAPHS: dict[int, Graph] = {}
_NUMBERS = count()


def versions() -> dict[str, str]:
    """Of the runtime."""
    return {"onnxruntime": version("onnxruntime")}


class Engine:
    """What a worker loads; it only listens for lanes.

    Args:
        _model: not used; graphs come one by one.
        options: ``control``, the socket that lanes come over.
    """

    def __init__(self, _model: bytes, options: dict[str, Any]) -> None:
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        self.facts: dict[str, str] = {}
        control = socket.socket(fileno=int(options["control"]))
        threading.Thread(target=_listen, args=(control,), daemon=True).start()


def _listen(control: socket.socket) -> None:
    while True:
        word, (line, given, made), _, _ = socket.recv_fds(control, 1, 3)
        if not word:
            return
        lane = (socket.socket(fileno=line), Region(given), Region(made))
        threading.Thread(target=_serve, args=lane, daemon=True).start()


def _serve(line: socket.socket, given: Region, made: Region) -> None:
    with contextlib.suppress(EOFError, BrokenFrame, OSError):
        while True:
            send(line, _answer(receive(line), given, made))


def _answer(asked: dict[str, Any], given: Region, made: Region) -> dict[str, Any]:
    """What a request comes to: an answer, or why there is none."""
    try:
        for number in asked["forget"]:
            _GRAPHS.pop(number, None)
        arrays = given.get(asked["given"])
        if asked["do"] == "open":
            graph = Here(arrays[0].tobytes(), Opening(**asked["opening"]))
            number = next(_NUMBERS)
            _GRAPHS[number] = graph
            return {"ok": True, "graph": number, "entries": graph.entries}
        fed = dict(zip(asked["names"], arrays, strict=True))
        answers = _GRAPHS[asked["graph"]].run(asked["wanted"], fed)
        return {"ok": True, "made": made.put([np.asarray(one, order="C") for one in answers])}
    except (RuntimeFailed, BrokenFrame, OSError) as error:
        return {"ok": False, "problem": "failed", "what": str(error)}
    except MemoryError as error:
        return {"ok": False, "problem": "memory", "what": str(error) or "no more can be had"}
