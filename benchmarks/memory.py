"""The memory of ``edgeq calibrate`` and ``edgeq compare`` on few and on many samples.

    python -m benchmarks.memory [--samples 5000 50000] [--forms arrays images function]

Makes a small network and data of each form, and runs each command in a process of its own. Prints
the largest resident set of that process and of the processes that it began. The commands are given
all samples; those beside ``calibrate`` judge on none that it holds back.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.support.command import run
from edgeq.machine import fingerprint

if TYPE_CHECKING:
    from collections.abc import Callable

SIDE, CLASSES = 16, 10
FORMS = ("arrays", "images", "function")
ROWS = (
    ("calibrate, min-max", ("calibrate", "net.onnx", "-o", "made.onnx", "--overwrite")),
    ("calibrate, entropy", (
        "calibrate", "net.onnx", "-o", "other.onnx", "--overwrite", "--observer", "entropy",
    )),
    ("compare", ("compare", "net.onnx", "made.onnx", "--target", "ort-cpu-ref")),
)  # fmt: skip
_PROGRAM = """
import json, resource, sys
from edgeq.deploy.cli import run

code = run(sys.argv[1:])
who = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
print(json.dumps([code, *(resource.getrusage(each).ru_maxrss for each in who)]))
"""
_MODULE = """
import numpy as np


class Made:
    def __len__(self):
        return {count}

    def __getitem__(self, index):
        rng = np.random.default_rng(index)
        return rng.integers(0, 256, ({side}, {side}, 1), np.uint8), int(index) % {classes}


def load():
    return {{"train": Made(), "test": Made()}}
"""


def network(path: Path) -> None:
    """Two convolutions and a dense layer with weights at random."""
    rng = np.random.default_rng(0)
    shapes = {"w0": (8, 1, 3, 3), "w1": (16, 8, 3, 3), "w2": (16, CLASSES)}
    nodes = [
        helper.make_node("Conv", ["x", "w0"], ["a"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["a"], ["b"]),
        helper.make_node("Conv", ["b", "w1"], ["c"], pads=[1, 1, 1, 1], strides=[2, 2]),
        helper.make_node("Relu", ["c"], ["d"]),
        helper.make_node("GlobalAveragePool", ["d"], ["e"]),
        helper.make_node("Flatten", ["e"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["y"]),
    ]
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)
        for name, shape in (("x", ["n", 1, SIDE, SIDE]), ("y", ["n", CLASSES]))
    ]
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    graph = helper.make_graph(nodes, "net", ends[:1], ends[1:], weights)
    opset = helper.make_opsetid("", 21)
    onnx.save(helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)


def arrays(folder: Path, count: int) -> str:
    """``.npy`` files."""
    data = folder / f"arrays-{count}"
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        (data / part).mkdir(parents=True)
        images = rng.integers(0, 256, (count, SIDE, SIDE), np.uint8)
        np.save(data / part / "inputs.npy", images)
        np.save(data / part / "labels.npy", rng.integers(0, CLASSES, count))
    return str(data)


def images(folder: Path, count: int) -> str:
    """A folder of PNG files for each class."""
    from PIL import Image

    data = folder / f"images-{count}"
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        for label in range(CLASSES):
            (data / part / str(label)).mkdir(parents=True)
        for number in range(count):
            pixels = rng.integers(0, 256, (SIDE, SIDE), np.uint8)
            Image.fromarray(pixels).save(data / part / str(number % CLASSES) / f"{number}.png")
    return str(data)


def function(folder: Path, count: int) -> str:
    """A function that returns data sets as torch has them."""
    text = _MODULE.format(count=count, side=SIDE, classes=CLASSES)
    (folder / f"made_{count}.py").write_text(text)
    return f"made_{count}:load"


_MAKE: dict[str, Callable[[Path, int], str]] = {
    "arrays": arrays,
    "images": images,
    "function": function,
}


def peaks(folder: Path, command: tuple[str, ...], data: str, count: int) -> tuple[int, int]:
    """The largest resident set of a command and of its processes, in kB."""
    more = ("--samples", str(count)) if command[0] == "calibrate" else ()
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM, *command, "--data", data, *more, "--json"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    code, own, children = json.loads(ran.stdout.splitlines()[-1])
    if code:
        raise SystemExit(ran.stderr)
    return own, children


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--samples", nargs=2, type=int, default=[5_000, 50_000])
    parser.add_argument("--forms", nargs="+", choices=FORMS, default=FORMS)
    asked = parser.parse_args()
    few, many = asked.samples
    print(fingerprint().cpu)
    print(f"\n| data | command | {few:,}, MB | {many:,}, MB | more, % | its processes, % |")
    print("|---|---|---|---|---|---|", flush=True)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        network(folder / "net.onnx")
        for form in asked.forms:
            data = {count: _MAKE[form](folder, count) for count in (few, many)}
            for title, command in ROWS:
                before, after = (peaks(folder, command, data[each], each) for each in (few, many))
                more = [100 * (b / a - 1) if a else 0.0 for a, b in zip(before, after, strict=True)]
                print(
                    f"| {form} | {title} | {before[0] / 1000:.1f} | {after[0] / 1000:.1f} "
                    f"| {more[0]:+.1f} | {more[1]:+.1f} |",
                    flush=True,
                )


if __name__ == "__main__":
    run(main)
