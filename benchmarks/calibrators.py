"""Time and memory of range observers beside ONNX Runtime's calibrators, on the same images.

``EDGEQ_DATA=... python -m benchmarks.calibrators resnet56-a --samples 256 10000`` calibrates in a
process of its own for each row, both tools in turn, so that what else the machine does falls on
both. Imports are counted. Processor time is what a busy machine leaves comparable.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.support.ptq_networks import NETWORKS, subject
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    from collections.abc import Sequence

ROWS = (
    *(("edgeq", name) for name in ("minmax", "percentile", "mse", "entropy", "moving-average")),
    *(("onnxruntime", name) for name in ("MinMax", "Percentile", "Entropy", "Distribution")),
)
"""The tools with their observers."""
WORKER = Path(__file__).parent / "workers" / "calibrators.py"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one line for each tool, observer and number of samples."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("network", choices=NETWORKS)
    parser.add_argument("--samples", nargs="+", type=int, default=[256])
    parser.add_argument("--rows", nargs="+", default=[f"{a}:{b}" for a, b in ROWS])
    parser.add_argument("--repeat", type=int, default=1, help="the least of so many runs is shown")
    asked = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        model, data = Path(folder) / "float.onnx", Path(folder) / "images.npy"
        network = subject(asked.network, Path(folder))
        model.write_bytes(serialize(network.model))
        np.save(data, network.calibration)
        print(f"{'tool':12} {'observer':16} {'samples':>8} {'processor s':>12} {'s':>7} {'MB':>7}")
        for count in asked.samples:
            found: dict[str, list[dict[str, float]]] = {row: [] for row in asked.rows}
            for _ in range(asked.repeat):
                for row in asked.rows:
                    command = [sys.executable, str(WORKER), *row.split(":"), str(model), str(data)]
                    ran = subprocess.run(
                        [*command, str(count)], capture_output=True, text=True, check=True
                    )
                    found[row].append(json.loads(ran.stdout.splitlines()[-1]))
            for row, runs in found.items():
                tool, observer = row.split(":")
                best = {key: min(run[key] for run in runs) for key in runs[0]}
                print(
                    f"{tool:12} {observer:16} {count:8} {best['processor']:12.2f} "
                    f"{best['seconds']:7.2f} {best['peak_mb']:7.0f}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
