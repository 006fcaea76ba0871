"""torchao: PT2E quantisation-aware training with the quantiser that it ships.

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
    """Prepare the network, time its training step beside FP32, print the times."""
    torch.set_num_threads(arguments["threads"])
    from torchao.quantization.pt2e.quantize_pt2e import prepare_qat_pt2e
    from torchao.quantization.pt2e.quantizer.x86_inductor_quantizer import (
        X86InductorQuantizer,
        get_default_x86_inductor_quantization_config,
    )

    network = stepping.float_network(arguments["source"])
    exported = torch.export.export(network, (stepping.images(arguments["batch"]),)).module()
    quantizer = X86InductorQuantizer().set_global(
        get_default_x86_inductor_quantization_config(is_qat=True)
    )
    prepared = prepare_qat_pt2e(exported, quantizer)
    print(
        json.dumps(
            stepping.beside_float(
                network,
                prepared,
                arguments["batch"],
                arguments["rounds"],
                compiled=arguments["compiled"],
            )
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
