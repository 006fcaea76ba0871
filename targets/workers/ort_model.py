"""What all of ONNX Runtime's engines share.

One input, one output, and nothing seen of what lies between.
"""

from __future__ import annotations

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
}


class OrtModel:
    """A model in a session of ONNX Runtime, run once on zeros to learn the shapes of its outputs.

    Args:
        session: an ``onnxruntime.InferenceSession``.

    Attributes:
        inputs: name, shape (a batch of one) and dtype of the input.
        outputs: of each output, likewise.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        input_info = session.get_inputs()
        if len(input_info) != 1 or input_info[0].type not in _DTYPES:
            raise Refused(f"its inputs are {', '.join(value.type for value in input_info)}")
        self._entrance = input_info[0].name
        outputs = session.get_outputs()
        tensors = [value.name for value in outputs if value.type.startswith("tensor")]
        self._exits = tensors or [outputs[0].name]
        dtype, shape = _DTYPES[input_info[0].type], [1, *input_info[0].shape[1:]]
        self.inputs = [{"name": self._entrance, "shape": shape, "dtype": dtype}]
        self.set_input(np.zeros(shape, dtype))
        self.invoke()
        self.outputs = [
            {"name": name, "shape": list(answer.shape), "dtype": answer.dtype.name}
            for name, answer in zip(self._exits, map(np.asarray, self._result), strict=True)
        ]

    def set_input(self, sample: NDArray[Any]) -> None:
        """Keep the input."""
        self._feed = {self._entrance: np.ascontiguousarray(sample)}

    def invoke(self) -> None:
        """Run once; the way to a device and back is part of it."""
        self._result = self._session.run(self._exits, self._feed)

    def get_output(self, index: int = 0) -> NDArray[Any]:
        """An output of the last run."""
        return np.asarray(self._result[index])

    def tensors(self) -> dict[str, NDArray[Any]]:
        """ONNX Runtime shows none without changing what it fuses."""
        raise Refused("this engine shows no tensors inside the graph")
