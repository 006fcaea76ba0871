"""One calibration, alone in its process: processor time, wall time and peak memory.

Given the tool and the observer, a float ONNX file, a file of images and how many to use.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from quantizing import peak_mb

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_BATCH = 32


def batches(images: NDArray[np.float32], count: int) -> Iterator[NDArray[np.float32]]:
    """So many images in batches, from the first again after the last."""
    for start in range(0, count, _BATCH):
        where = np.arange(start, min(start + _BATCH, count)) % len(images)
        yield np.ascontiguousarray(images[where])


def with_edgeq(observer: str, model: Path, images: NDArray[np.float32], count: int) -> None:
    """Calibrate by an observer of edgeq's."""
    from edgeq.calibration.config import CalibrationConfig
    from edgeq.calibration.quantize import quantize_onnx
    from edgeq.formats.onnx_io import read

    quantize_onnx(read(model), batches(images, count), CalibrationConfig(observer=observer))


def with_ort(method: str, model: Path, images: NDArray[np.float32], count: int) -> None:
    """Calibrate by a method of ONNX Runtime's ``quantize_static``."""
    import onnxruntime
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, quantize_static

    name = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).get_inputs()[0]
    feeds = iter({name.name: batch} for batch in batches(images, count))

    class Reader:
        def get_next(self) -> Any:
            return next(feeds, None)

    with tempfile.TemporaryDirectory() as folder:
        quantize_static(
            model,
            Path(folder) / "made.onnx",
            Reader(),
            quant_format=QuantFormat.QDQ,
            per_channel=True,
            calibrate_method=CalibrationMethod[method],
        )


def main(tool: str, observer: str, model: str, images: str, count: str) -> None:
    """Calibrate, and print what it took as JSON."""
    run = {"edgeq": with_edgeq, "onnxruntime": with_ort}[tool]
    given = np.load(images, mmap_mode="r")
    began, processor = time.perf_counter(), time.process_time()
    run(observer, Path(model), given, int(count))
    print(
        json.dumps(
            {
                "seconds": time.perf_counter() - began,
                "processor": time.process_time() - processor,
                "peak_mb": peak_mb(),
            }
        )
    )


if __name__ == "__main__":
    sys.path.pop(0)  # this folder, where scripts have the names of packages
    main(*sys.argv[1:])
