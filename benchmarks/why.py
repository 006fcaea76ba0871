"""Layer by layer, float against quantised: `edgeq why` beside ONNX Runtime's `qdq_loss_debug`.

    EDGEQ_DATA=DIR python -m benchmarks.why [--network resnet56-a] [--samples 256] [--threads 2]

Both compare every tensor of the same two files on the same images, each in a process of its own:
seconds, seconds of all its threads, and the most memory that it holds beyond what its imports take.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.support.command import run
from benchmarks.support.networks import build
from edgeq.calibration.quantize import quantize_onnx
from edgeq.formats.onnx_io import serialize

_FLOAT, _QDQ, _SAMPLES = "float.onnx", "qdq.onnx", "samples.npy"


def main() -> None:
    """Write the files, run both, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", default="resnet56-a")
    parser.add_argument("--samples", type=int, nargs="+", default=[256])
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--only", choices=("why", "qdq_loss_debug"))
    parser.add_argument("--child", nargs=3)
    arguments = parser.parse_args()
    if arguments.child:
        which, folder, samples = arguments.child
        _child(which, Path(folder), int(samples), arguments.threads)
        return
    with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
        _write(arguments.network, Path(folder), max(arguments.samples))
        for count in arguments.samples:
            for which in ("why", "qdq_loss_debug"):
                if arguments.only in (None, which):
                    print(which, count, _measured(which, folder, count, arguments.threads))


def _write(name: str, folder: Path, samples: int) -> None:
    network = build(name)
    (folder / _FLOAT).write_bytes(serialize(network.model))
    quantized = quantize_onnx(network.model, list(network.calibration[:, None]))
    (folder / _QDQ).write_bytes(serialize(quantized))
    images = network.evaluation
    repeated = np.tile(images, (-(-samples // len(images)), 1, 1, 1))[:samples]
    np.save(folder / _SAMPLES, repeated)


def _measured(which: str, folder: str, samples: int, threads: int) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.why", "--threads", str(threads)]
    done = subprocess.run(
        [*command, "--child", which, folder, str(samples)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        return {"failed": done.stderr.strip().splitlines()[-1:]}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _child(which: str, folder: Path, samples: int, threads: int) -> None:
    images = np.load(folder / _SAMPLES, mmap_mode="r")[:samples]
    run_it = _why if which == "why" else _qdq_loss_debug
    run_it(folder, images[:1], threads)  # imports, and whatever is made once
    before = _most_memory()
    wall, cpu = time.perf_counter(), time.process_time()
    tensors = run_it(folder, images, threads)
    found = {
        "seconds": round(time.perf_counter() - wall, 2),
        "cpu_seconds": round(time.process_time() - cpu, 2),
        "megabytes": round(_most_memory() - before),
        "tensors": tensors,
    }
    print(json.dumps(found))


def _most_memory() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


def _why(folder: Path, images: np.ndarray, threads: int) -> int:
    import edgeq
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.deploy.why.run import why

    stages = [Pair(folder / _FLOAT, "ort-cpu-ref"), Pair(folder / _QDQ, "ort-cpu-ref")]
    found = why(stages, edgeq.load_data({"test": np.asarray(images)}), threads=threads).why
    return sum(each.accumulated_db is not None for each in found.stages[-1].operators)


def _qdq_loss_debug(folder: Path, images: np.ndarray, threads: int) -> int:
    import onnx
    import onnxruntime
    from onnxruntime.quantization import qdq_loss_debug
    from tests.support.runtimes.calibration import Feeds

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    seen = []
    for name in (_FLOAT, _QDQ):
        shown = folder / f"shown-{name}"
        qdq_loss_debug.modify_model_output_intermediate_tensors(folder / name, shown)
        entry = onnx.load(shown).graph.input[0].name
        feeds = Feeds({entry: np.asarray(image)[None]} for image in images)
        seen.append(qdq_loss_debug.collect_activations(str(shown), feeds, session_options=options))
    matching = qdq_loss_debug.create_activation_matching(seen[1], seen[0])
    return len(qdq_loss_debug.compute_activation_error(matching))


if __name__ == "__main__":
    run(main)
