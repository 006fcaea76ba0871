"""ONNX Runtime: ``quantize_static`` with each of its calibrators, QDQ, weights by channel.

``dynamic`` is ``quantize_dynamic``, whose activations get their ranges from each batch.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import sys

import quantizing

sys.path.pop(0)  # this folder, where the script has the name of the package


def main() -> None:
    """Quantise, answer, print the costs."""
    work = quantizing.start()
    work.only(8) if work.method == "dynamic" else work.only(8, 4)
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_dynamic,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    work.begin()

    class Reader(CalibrationDataReader):
        def __init__(self) -> None:
            self.left = iter(work.batches())

        def get_next(self) -> dict[str, object] | None:
            return next(self.left, None)

    prepared = work.folder / "prepared.onnx"
    quant_pre_process(str(work.source), str(prepared), skip_symbolic_shape=True)
    if work.method == "dynamic":
        # the kernel of ConvInteger takes unsigned weights of one scale
        quantize_dynamic(str(prepared), str(work.made), weight_type=QuantType.QUInt8)
        work.finish()
        return
    narrow = work.weight_bits < quantizing.EIGHT
    eight = {"quant_type": QuantType.QInt8, "axis": 0}
    quantize_static(
        str(prepared),
        str(work.made),
        Reader(),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt4 if narrow else QuantType.QInt8,
        extra_options={"TensorQuantOverrides": {name: [eight] for name in work.ends()}}
        if narrow
        else {},
        calibrate_method=getattr(CalibrationMethod, work.method),
    )
    work.finish()


if __name__ == "__main__":
    main()
