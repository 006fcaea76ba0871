"""onnx2tf on an ONNX file, as it is or calibrated again.

Runs in its own environment, knows nothing of edgeq.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path


def main(arguments: dict[str, str]) -> None:
    """Convert, choose the file that was asked for, print the seconds of each part."""
    start = time.perf_counter()
    sys.path.pop(0)  # this folder, where the script has the name of the package
    import onnx2tf

    imported = time.perf_counter()
    folder = Path(arguments["output"]).with_suffix("")
    integers = {}
    if "images" in arguments:
        mean_of_nothing = [
            "input",
            arguments["images"],
            [[[[0.0, 0.0, 0.0]]]],
            [[[[1.0, 1.0, 1.0]]]],
        ]
        integers = {
            "output_integer_quantized_tflite": True,
            "quant_type": arguments.get("quant_type", "per-channel"),
            "custom_input_op_name_np_data_path": [mean_of_nothing],
        }
    failed = ""
    try:
        onnx2tf.convert(
            input_onnx_file_path=arguments["model"],
            output_folder_path=str(folder),
            non_verbose=True,
            verbosity="error",
            **integers,
        )
    except (Exception, SystemExit) as error:  # noqa: BLE001  # it leaves usable files behind when a later variant fails
        failed = f"{type(error).__name__}: {error}"
    done = time.perf_counter()
    ending = "_full_integer_quant.tflite" if integers else "_float32.tflite"
    written = sorted(folder.glob(f"*{ending}"))
    if not written:
        sys.exit(failed or f"it wrote no {ending}")
    written[0].rename(arguments["output"])
    print(
        json.dumps(
            {
                "imports": imported - start,
                "conversion": done - imported,
                "remark": failed.splitlines()[0] if failed else "",
            }
        )
    )


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
