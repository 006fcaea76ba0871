"""Intel Neural Compressor 2: static quantisation of ONNX, QDQ, without tuning by accuracy.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import os
import sys

import quantizing

sys.path.pop(0)  # this folder, where the script has the name of the package


def main() -> None:
    """Quantise, answer, print the costs."""
    work = quantizing.start()
    work.only(8)
    import onnx
    from neural_compressor import PostTrainingQuantConfig, quantization

    model = onnx.load(str(work.source))
    del model.graph.value_info[:]  # it transposes weights and keeps the shapes that stand here
    os.chdir(work.folder)  # where it writes what it tried
    work.begin()

    class Loader:
        batch_size = quantizing.BATCH

        def __iter__(self) -> object:
            return ((next(iter(feed.values())), None) for feed in work.batches())

    asked = PostTrainingQuantConfig(
        quant_format="QDQ",
        op_type_dict={".*": {"activation": {"algorithm": [work.method]}}},
        calibration_sampling_size=[500],
    )
    made = quantization.fit(model, asked, calib_dataloader=Loader())
    if made is None:
        sys.exit("it answers no model")
    made.save(str(work.made))
    work.finish()


if __name__ == "__main__":
    main()
