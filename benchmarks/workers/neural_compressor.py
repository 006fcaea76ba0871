"""Intel Neural Compressor 2: static quantisation of ONNX, QDQ, without tuning by accuracy.

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
    from neural_compressor import PostTrainingQuantConfig, quantization

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
    made = quantization.fit(str(work.source), asked, calib_dataloader=Loader())
    if made is None:
        sys.exit("it answers no model")
    made.save(str(work.made))
    work.finish()


if __name__ == "__main__":
    main()
