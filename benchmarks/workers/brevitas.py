"""Brevitas: a whole graph in 8 bits, BatchNorm kept as in FP32.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import json
import sys
from typing import Any

import stepping
import torch

sys.path.pop(0)  # this folder, where the script has the name of the package


def main(arguments: dict[str, Any]) -> None:
    """Quantise the network, time its training step beside FP32, print the times."""
    torch.set_num_threads(arguments["threads"])
    from brevitas.graph.quantize import preprocess_for_quantize, quantize

    network = stepping.float_network(arguments["source"])
    quantized = quantize(preprocess_for_quantize(network, merge_bn=False)).train()
    print(
        json.dumps(
            stepping.beside_float(
                network,
                quantized,
                arguments["batch"],
                arguments["rounds"],
                compiled=arguments["compiled"],
            )
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
