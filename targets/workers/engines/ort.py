"""ONNX Runtime's CPU provider, wherever Python and onnxruntime run."""

from __future__ import annotations

from typing import Any

from edgeq.targets.workers.ort_model import OrtModel
from edgeq.targets.workers.wire import Damaged, Refused

_PROVIDER = "CPUExecutionProvider"
_FATAL_ONLY = 4


def versions() -> dict[str, str]:
    """The package that is installed."""
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__}


class Engine(OrtModel):
    """One model in ONNX Runtime.

    Args:
        model: the ONNX file.
        options: ``optimize`` (bool, default true), ``threads``.
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        optimize = bool(options.get("optimize", True))
        super().__init__(_start(model, int(options["threads"]), optimize=optimize))
        self.facts = {
            "provider": self._session.get_providers()[0],
            "optimisation": "all" if optimize else "none",
        }


def _start(model: bytes, threads: int, *, optimize: bool) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _FATAL_ONLY
    try:
        session = ort.InferenceSession(model, options, providers=[_PROVIDER])
    except Exception as error:  # its exceptions have no base of their own
        kind = Refused if type(error).__name__ == "NotImplemented" else Damaged
        raise kind(str(error)) from error
    if session.get_providers()[0] != _PROVIDER:
        raise Refused(f"it would run on {session.get_providers()[0]}, not on {_PROVIDER}")
    return session
