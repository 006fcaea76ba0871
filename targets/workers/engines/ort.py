"""ONNX Runtime's CPU provider, wherever Python and onnxruntime run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets.workers.wire import Damaged, Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

_PROVIDER = "CPUExecutionProvider"
_DTYPES = {"tensor(float)": "float32", "tensor(int8)": "int8", "tensor(uint8)": "uint8"}
_ERRORS_ONLY = 3


def versions() -> dict[str, str]:
    """The package that is installed."""
    import onnxruntime

    return {"onnxruntime": onnxruntime.__version__}


class Engine:
    """One model in ONNX Runtime.

    Args:
        model: the ONNX file.
        options: ``optimize`` (bool, default true), ``threads``.
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        optimize = bool(options.get("optimize", True))
        self._session = _start(model, int(options["threads"]), optimize=optimize)
        entrance, leaving = self._session.get_inputs(), self._session.get_outputs()
        if len(entrance) != 1 or entrance[0].type not in _DTYPES:
            raise Refused(f"its inputs are {', '.join(value.type for value in entrance)}")
        self._entrance, self._exit = entrance[0].name, leaving[0].name
        dtype, shape = _DTYPES[entrance[0].type], [1, *entrance[0].shape[1:]]
        self.inputs = [{"name": self._entrance, "shape": shape, "dtype": dtype}]
        self.set_input(np.zeros(shape, dtype))
        self.invoke()
        answer = self.get_output()
        self.outputs = [{"name": self._exit, "shape": list(answer.shape), "dtype": answer.dtype.name}]
        self.facts = {"provider": self._session.get_providers()[0], "optimisation": "all" if optimize else "none"}

    def set_input(self, sample: NDArray[Any]) -> None:
        """Keep the input."""
        self._feed = {self._entrance: sample}

    def invoke(self) -> None:
        """Run once."""
        self._result = self._session.run([self._exit], self._feed)

    def get_output(self) -> NDArray[Any]:
        """The first output of the last run."""
        return np.asarray(self._result[0])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """ONNX Runtime shows none without changing what it fuses."""
        raise Refused("this engine shows no tensors inside the graph")


def _start(model: bytes, threads: int, *, optimize: bool) -> Any:
    import onnxruntime as ort

    options = ort.SessionOptions()
    level = ort.GraphOptimizationLevel
    options.graph_optimization_level = level.ORT_ENABLE_ALL if optimize else level.ORT_DISABLE_ALL
    options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = _ERRORS_ONLY
    try:
        session = ort.InferenceSession(model, options, providers=[_PROVIDER])
    except Exception as error:  # its exceptions have no base of their own
        kind = Refused if type(error).__name__ == "NotImplemented" else Damaged
        raise kind(str(error)) from error
    if session.get_providers()[0] != _PROVIDER:
        raise Refused(f"it would run on {session.get_providers()[0]}, not on {_PROVIDER}")
    return session
