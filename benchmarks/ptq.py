"""Accuracy, seconds and memory of every method of quantisation after training, beside other tools.

``EDGEQ_DATA=... python -m benchmarks.ptq --networks resnet20-a --bits 8/8 4/8 4/4`` calibrates on
500 training images and answers all test images as ONNX defines the file, without any optimisation.
A cell has accuracy (and how many answers are others than the float network's), seconds of the
processor (and those that passed), and memory.
Each cell is a process of its own and is kept in a file, so that a run that was cut goes on where it
was. Rows with a colon are other tools, each in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.ptq_cell import RECIPES
from benchmarks.support.ptq_networks import NETWORKS

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER_ROWS = (
    *(f"onnxruntime:{name}" for name in ("MinMax", "Entropy", "Percentile", "Distribution")),
    "onnxruntime:dynamic",
    *(f"aimet-onnx:{name}" for name in ("min_max", "tf_enhanced", "cle", "adaround")),
    "nncf:default",
    *(f"onnx-neural-compressor:{name}" for name in ("MinMax", "Entropy")),
)


def measured(network: str, row: str, bits: str, folder: Path) -> dict[str, Any]:
    """A cell: from its file, or made now and kept there."""
    name = f"{network}_{row}_{bits}"
    path = folder / f"{name.translate(str.maketrans('/:, ', '----'))}.json"
    if not path.exists():
        asked = {"network": network, "row": row, "bits": bits, "folder": str(folder)}
        command = [sys.executable, "-m", "benchmarks.support.ptq_cell", json.dumps(asked)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        path.write_text(done.stdout.strip().splitlines()[-1] + "\n", encoding="utf-8")
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _told(found: dict[str, Any]) -> str:
    if "refused" in found:
        return "–"
    return (
        f"{found['accuracy']:.1f} % ({found['changed']}), {found['seconds']:.0f} s "
        f"({found['wall']:.0f}), {found['peak_mb']:.0f} MB"
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Print one Markdown table for each network, and below it what was refused."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument(
        "--bits", nargs="+", default=["8/8", "6/6", "4/8", "4/4", "3/3"], metavar="W/A"
    )
    rows = (*RECIPES, *PEER_ROWS)
    parser.add_argument("--rows", nargs="+", default=rows, choices=rows)
    parser.add_argument("--folder", type=Path, default=Path("build/ptq"), help="of cells")
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    for network in asked.networks:
        print(
            f"\n{network}\n\n| method | {' | '.join(asked.bits)} |\n|---|{'---|' * len(asked.bits)}"
        )
        refused = {}
        for row in asked.rows:
            cells = [measured(network, row, bits, asked.folder) for bits in asked.bits]
            for cell in cells:
                if "refused" in cell:
                    refused[row] = cell["refused"]
            print(f"| {row} | {' | '.join(map(_told, cells))} |", flush=True)
        for row, why in refused.items():
            print(f"\n{row}: {why}")


if __name__ == "__main__":
    main()
