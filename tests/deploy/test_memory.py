"""The memory of compare and calibrate is that of a batch, however many samples there are."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

if TYPE_CHECKING:
    from pathlib import Path

MOST = 1.05
PROGRAM = """
import resource, sys
from edgeq.deploy.cli import run

folder, data, samples = sys.argv[1:]
made = ["calibrate", f"{folder}/net.onnx", "-o", f"{folder}/made.onnx", "--overwrite"]
assert run([*made, "--data", data, "--samples", samples, "--allow-noise", "--json"]) == 0
seen = ["compare", f"{folder}/net.onnx", f"{folder}/made.onnx", "--target", "ort-cpu-ref"]
assert run([*seen, "--data", data, "--no-tensors", "--json"]) == 0
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def network(path: Path) -> None:
    weights = np.random.default_rng(0).normal(0, 0.1, (256, 10)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Flatten", ["x"], ["flat"]),
        onnx.helper.make_node("Gemm", ["flat", "w"], ["y"]),
    ]
    ends = [
        onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [1, 1, 16, 16]), ("y", [1, 10]))
    ]
    graph = onnx.helper.make_graph(
        nodes, "net", ends[:1], ends[1:], [onnx.numpy_helper.from_array(weights, "w")]
    )
    opset = onnx.helper.make_opsetid("", 21)
    onnx.save(onnx.helper.make_model(graph, ir_version=10, opset_imports=[opset]), path)


def peak(folder: Path, samples: int) -> int:
    """Of a process that calibrates and compares on so many samples, in kB."""
    data = folder / str(samples)
    rng = np.random.default_rng(0)
    for part in ("train", "test"):
        (data / part).mkdir(parents=True)
        np.save(data / part / "inputs.npy", rng.integers(0, 256, (samples, 16, 16), np.uint8))
        np.save(data / part / "labels.npy", rng.integers(0, 10, samples))
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(folder), str(data), str(samples)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return int(ran.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    ("few", "many"), [(400, 4_000), pytest.param(5_000, 50_000, marks=pytest.mark.slow)]
)
def test_ten_times_the_samples_need_the_same_memory(tmp_path: Path, few: int, many: int) -> None:
    network(tmp_path / "net.onnx")
    before, after = peak(tmp_path, few), peak(tmp_path, many)
    assert after <= MOST * before, f"{before} kB for {few} samples, {after} for {many}"
