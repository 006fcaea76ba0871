"""What ONNX Runtime's quantizer reads its calibration samples from."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from onnxruntime.quantization import CalibrationDataReader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import numpy as np
    from numpy.typing import NDArray


class Feeds(CalibrationDataReader):  # type: ignore[misc]  # it ships no types that mypy reads
    """Samples by the names of the model's inputs, one after the other."""

    def __init__(self, feeds: Iterable[Mapping[str, NDArray[np.float32]]]) -> None:
        self._left = iter(feeds)

    def get_next(self) -> Any:
        """The next sample; None behind the last."""
        return next(self._left, None)
