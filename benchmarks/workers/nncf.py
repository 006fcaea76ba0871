"""NNCF: its post-training quantisation of ONNX, as it comes.

``accurate`` corrects biases layer after layer instead of by its faster approximation.

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
    import nncf
    import onnx

    work.begin()

    batches = list(work.batches())
    made = nncf.quantize(
        onnx.load(str(work.source)),
        nncf.Dataset(batches),
        subset_size=len(batches),
        fast_bias_correction=work.method != "accurate",
    )
    onnx.save(made, str(work.made))
    work.finish()


if __name__ == "__main__":
    main()
