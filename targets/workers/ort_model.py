"""What all of ONNX Runtime's engines share.

Inputs, outputs, and nothing seen of what lies between.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets.workers.wire import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray

_DTYPES = {
    "tensor(float)": "float32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(uint16)": "uint16",
    "tensor(int32)": "int32",
    "tensor(int64)": "int64",
}


def _sizes(shape: list[Any], batch: int) -> list[int]:
    """The dimensions of an input for a batch.

    Raises:
        Refused: the model takes batches of another size only.
    """
    if isinstance(shape[0], int) and batch > 1 and shape[0] != batch:
        raise Refused(f"its batch is fixed at {shape[0]}")
    return [shape[0] if isinstance(shape[0], int) else batch, *shape[1:]]


class OrtModel:
    """A model in a session of ONNX Runtime, run once on zeros to learn the shapes of its outputs.

    Args:
        session: an ``onnxruntime.InferenceSession``.
        batch: how many samples a run is of.

    Attributes:
        inputs: name, shape (with its batch) and dtype of each input.
        outputs: of each output, likewise.
        first_ns: what the first run took.
    """

    def __init__(self, session: Any, batch: int = 1) -> None:
        self._session = session
        entering = session.get_inputs()
        if not entering or any(value.type not in _DTYPES for value in entering):
            raise Refused(f"its inputs are {', '.join(value.type for value in entering)}")
        outputs = session.get_outputs()
        tensors = [value.name for value in outputs if value.type.startswith("tensor")]
        self._exits = tensors or [outputs[0].name]
        self.inputs = [
            {"name": value.name, "shape": _sizes(value.shape, batch), "dtype": _DTYPES[value.type]}
            for value in entering
        ]
        self._feed: dict[str, NDArray[Any]] = {}
        for index, one in enumerate(self.inputs):
            self.set_input(np.zeros(one["shape"], one["dtype"]), index)
        began = time.perf_counter_ns()
        self.invoke()
        self.first_ns = time.perf_counter_ns() - began
        self.outputs = [
            {"name": name, "shape": list(answer.shape), "dtype": answer.dtype.name}
            for name, answer in zip(self._exits, map(np.asarray, self._result), strict=True)
        ]

    def set_input(self, sample: NDArray[Any], index: int = 0) -> None:
        """Keep an input."""
        self._feed[self.inputs[index]["name"]] = np.ascontiguousarray(sample)

    def invoke(self) -> None:
        """Run once; the way to a device and back is part of it."""
        self._result = self._session.run(self._exits, self._feed)

    def get_output(self, index: int = 0) -> NDArray[Any]:
        """An output of the last run."""
        return np.asarray(self._result[index])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """ONNX Runtime shows none without changing what it fuses."""
        raise Refused("this engine shows no tensors inside the graph")
