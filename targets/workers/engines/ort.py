"""ONNX Runtime's CPU provider, wherever Python and onnxruntime run."""

from __future__ import annotations

import json
import os
import statistics
import tempfile
from functools import partial
from typing import Any

from edgeq.targets.workers.ort_model import OrtModel
from edgeq.targets.workers.wire import Damaged, Refused

_PROVIDER = "CPUExecutionProvider"
_FATAL_ONLY = 4
_SUFFIX = "_kernel_time"
WARM_UP = 3  # runs that are left out


def versions() -> dict[str, str]:
    """The package that is installed."""
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__}


class Engine(OrtModel):
    """One model in ONNX Runtime.

    Args:
        model: the ONNX file.
        options: ``optimize`` (bool, default true), ``threads``, ``batch`` (default 1).
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        optimize = bool(options.get("optimize", True))
        threads = int(options["threads"])
        self._profiled = partial(_start, model, threads, optimize=optimize)
        super().__init__(self._profiled(), int(options.get("batch", 1)))
        self.facts = {
            "provider": self._session.get_providers()[0],
            "optimisation": "all" if optimize else "none",
        }

    def operator_times(self, runs: int) -> list[dict[str, Any]]:
        """What each operator takes on the inputs set, by ONNX Runtime's profiler.

        Returns:
            In the order of execution: ``name``, ``kind``, ``ms`` (the median over runs),
            ``provider``.
        """
        with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
            session = self._profiled(profile=os.path.join(folder, "profile"))  # noqa: PTH118  a worker's Python may be old
            for _ in range(runs + WARM_UP):
                session.run(self._exits, self._feed)
            with open(session.end_profiling(), encoding="utf-8") as file:  # noqa: PTH123  likewise
                return times_of(json.load(file))


def times_of(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The time of each operator, from the events of a profile, without those of the warm-up."""
    found: dict[tuple[str, str, str], list[float]] = {}
    for event in events:
        name, arguments = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") == "Node" and name.endswith(_SUFFIX):
            place = str(arguments.get("provider", "")).replace("ExecutionProvider", "")
            key = (name[: -len(_SUFFIX)], str(arguments.get("op_name", "")), place)
            found.setdefault(key, []).append(float(event["dur"]) / 1000)
    return [
        {"name": name, "kind": kind, "provider": place, "ms": statistics.median(took[WARM_UP:])}
        for (name, kind, place), took in found.items()
        if len(took) > WARM_UP
    ]


def _start(model: bytes, threads: int, *, optimize: bool, profile: str = "") -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    try:
        session = ort.InferenceSession(model, options, providers=[_PROVIDER])
    except Exception as error:  # its exceptions have no base of their own
        kind = Refused if type(error).__name__ == "NotImplemented" else Damaged
        raise kind(str(error)) from error
    if session.get_providers()[0] != _PROVIDER:
        raise Refused(f"it would run on {session.get_providers()[0]}, not on {_PROVIDER}")
    return session
