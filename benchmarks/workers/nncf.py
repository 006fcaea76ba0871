"""NNCF: its post-training quantisation of ONNX, as it comes.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import sys

import quantizing

sys.path.pop(0)  # this folder, where the script has the name of the package


def main() -> None:
    """Quantise, answer, print the costs."""
    work, began = quantizing.start()
    work.only_int8()
    import nncf
    import onnx

    batches = list(work.batches())
    made = nncf.quantize(
        onnx.load(str(work.source)), nncf.Dataset(batches), subset_size=len(batches)
    )
    onnx.save(made, str(work.made))
    work.finish(began)


if __name__ == "__main__":
    main()
