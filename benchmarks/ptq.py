"""Accuracy, seconds and memory of every method of quantisation after training, beside other tools.

``EDGEQ_DATA=... python -m benchmarks.ptq --networks resnet20-a --bits 8/8 4/8`` calibrates on 500
training images and answers all test images as ONNX defines the file, without any optimisation. A
cell has the accuracy in %, its 95 % interval, and how many answers are others than the float
network's; the last columns have seconds of the processor from the least to the greatest and the
largest memory of these cells. Below the tables stand the goals, each with what was measured.
Each cell is a process of its own and is kept in a file, so that a run that was cut goes on where it
was. Rows with a colon are other tools, each in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.support.ptq_cell import RECIPES, cell
from benchmarks.support.ptq_goals import goals
from benchmarks.support.ptq_networks import NETWORKS
from edgeq.files import write_json
from edgeq.metrics.accuracy import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

PEER_ROWS = (
    *(f"onnxruntime:{name}" for name in ("MinMax", "Entropy", "Percentile", "Distribution")),
    "onnxruntime:dynamic",
    *(f"aimet-onnx:{name}" for name in ("min_max", "tf_enhanced", "cle", "adaround")),
    *(f"nncf:{name}" for name in ("default", "accurate")),
    *(f"onnx-neural-compressor:{name}" for name in ("MinMax", "Entropy")),
    *(f"neural-compressor:{name}" for name in ("minmax", "kl")),
)


def measured(network: str, row: str, bits: str, folder: Path, *, only_kept: bool) -> dict[str, Any]:
    """A cell: from its file, or made now and kept there; empty where it may not be made."""
    name = f"{network}_{row}_{bits}"
    path = folder / f"{name.translate(str.maketrans('/:, ', '----'))}.json"
    if path.exists():
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if "refused" in found or "wrong" in found:  # earlier versions kept no wrong answers
            return found
    if only_kept:
        return {}
    made = cell(network, row, bits, folder)
    write_json(path, made, overwrite=True)
    return made


def _told(found: dict[str, Any]) -> str:
    if "wrong" not in found:
        return "–" if found else ""
    total = found["samples"]
    right = total - len(found["wrong"])
    low, high = wilson(right, total)
    return f"{100 * right / total:.1f} ({100 * low:.1f} to {100 * high:.1f}), {found['changed']}"


def _cost(cells: Sequence[dict[str, Any]]) -> str:
    seconds = [found["seconds"] for found in cells if "wrong" in found]
    if not seconds:
        return "| |"
    low, high = f"{min(seconds):.0f}", f"{max(seconds):.0f}"
    took = low if low == high else f"{low} to {high}"
    return f"{took} | {max(found['peak_mb'] for found in cells if 'wrong' in found):.0f} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table for each network, what was refused, and the goals."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", nargs="+", default=NETWORKS, choices=NETWORKS)
    parser.add_argument(
        "--bits", nargs="+", default=["8/8", "6/8", "4/8", "3/8", "4/4"], metavar="W/A"
    )
    rows = (*RECIPES, *PEER_ROWS)
    parser.add_argument("--rows", nargs="+", default=rows, choices=rows)
    parser.add_argument("--folder", type=Path, default=Path("build/ptq"), help="of cells")
    parser.add_argument(
        "--only-kept", action="store_true", help="measure nothing, print the cells that are there"
    )
    asked = parser.parse_args(arguments)
    asked.folder.mkdir(parents=True, exist_ok=True)
    judged = []
    for network in asked.networks:
        head = [f"{bits} %" for bits in asked.bits]
        print(f"\n{network}\n\n| method | {' | '.join(head)} | seconds | MB |")
        print(f"|---|{'---|' * (len(asked.bits) + 2)}", flush=True)
        refused: dict[str, dict[str, list[str]]] = {}
        cells = {}
        for row in asked.rows:
            line = [
                measured(network, row, bits, asked.folder, only_kept=asked.only_kept)
                for bits in asked.bits
            ]
            for bits, found in zip(asked.bits, line, strict=True):
                if "refused" in found:
                    refused.setdefault(row, {}).setdefault(found["refused"], []).append(bits)
                elif found:
                    cells[row, bits] = found
            if any("wrong" in found for found in line):
                print(f"| {row} | {' | '.join(map(_told, line))} | {_cost(line)}", flush=True)
        for row, reasons in refused.items():
            for why, bits in reasons.items():
                print(f"\n{row} at {', '.join(bits)}: {why}")
        judged += goals(network, cells)
    print("\n| network | goal | measured | met |\n|---|---|---|---|")
    for goal in judged:
        print(f"| {' | '.join(goal)} |")


if __name__ == "__main__":
    main()
