"""ONNX Neural Compressor: static quantisation, QDQ, weights by channel.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import sys

import quantizing

sys.path.pop(0)  # this folder, where the script has the name of the package


def main() -> None:
    """Quantise, answer, print the costs."""
    work = quantizing.start()
    work.only(8)
    from onnx_neural_compressor import data_reader, quantization
    from onnx_neural_compressor.quantization import config

    work.begin()

    class Reader(data_reader.CalibrationDataReader):
        def __init__(self) -> None:
            self.rewind()

        def get_next(self) -> dict[str, object] | None:
            return next(self.left, None)

        def rewind(self) -> None:
            self.left = iter(work.batches())

    asked = config.StaticQuantConfig(
        calibration_data_reader=Reader(),
        quant_format=quantization.QuantFormat.QDQ,
        per_channel=True,
        calibrate_method=getattr(quantization.CalibrationMethod, work.method),
        calibration_sampling_size=500,
    )
    quantization.quantize(str(work.source), str(work.made), asked)
    work.finish()


if __name__ == "__main__":
    main()
