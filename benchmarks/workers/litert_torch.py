"""litert-torch: PT2E quantisation and conversion of an exported program.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import json
import sys
import time


def main(arguments: dict[str, str]) -> None:
    """Calibrate, quantise, convert, write; print the seconds of each part."""
    start = time.perf_counter()
    sys.path.pop(0)  # this folder, where the script has the name of the package
    import litert_torch
    import numpy as np
    import torch
    from litert_torch.quantize.pt2e_quantizer import (
        PT2EQuantizer,
        get_symmetric_quantization_config,
    )
    from litert_torch.quantize.quant_config import QuantConfig
    from torchao.quantization.pt2e.quantize_pt2e import convert_pt2e, prepare_pt2e

    imported = time.perf_counter()
    images = torch.from_numpy(np.load(arguments["images"]))
    model = torch.export.load(arguments["program"]).module()
    quantizer = PT2EQuantizer().set_global(get_symmetric_quantization_config(is_per_channel=True))
    prepared = prepare_pt2e(model, quantizer)
    with torch.no_grad():
        for image in images:
            prepared(image[None])
    quantized = convert_pt2e(prepared, fold_quantize=False)
    calibrated = time.perf_counter()
    edge = litert_torch.convert(
        quantized, (images[:1],), quant_config=QuantConfig(pt2e_quantizer=quantizer)
    )
    edge.export(arguments["output"])
    done = time.perf_counter()
    print(
        json.dumps(
            {
                "imports": imported - start,
                "calibration": calibrated - imported,
                "conversion": done - calibrated,
            }
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
