"""TFLite files from the same network by edgeq, litert-torch and onnx2tf.

Time, size, integer share, and closeness to the QDQ model.

    python -m benchmarks.export [--model resnet56-a]

The network is quantised once, by edgeq, as QDQ ONNX. What is asked of each converter is that model,
or, of those that read none, the float network and the same calibration images. Closeness is the
SQNR of the logits against the QDQ model in ONNX Runtime with all optimisation off.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.support.command import run
from benchmarks.support.networks import Network, build
from benchmarks.support.peers import LITERT_TORCH, ONNX2TF, PeerError
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.audit import audit
from edgeq.errors import EdgeqError
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.target import TARGETS

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

KERNELS = "tflite-builtin"
COLUMNS = (
    "converter",
    "reads",
    "imports s",
    "conversion s",
    "kB",
    "integer operators",
    "integer MACs",
    "SQNR to QDQ dB",
    "same answer",
)


@dataclass(frozen=True, slots=True)
class Row:
    """One converter's result."""

    what: str
    cells: tuple[str, ...]


def main() -> None:
    """Convert, run, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="resnet56-a")
    parser.add_argument(
        "--peers",
        nargs="+",
        default=[LITERT_TORCH.name, ONNX2TF.name],
        help="which of them; their environments are large",
    )
    arguments = parser.parse_args()
    machine = fingerprint()
    with tempfile.TemporaryDirectory() as folder:
        rows, network = _rows(arguments.model, Path(folder), arguments.peers)
    print(
        f"{network.name}, {network.data}; {machine.cpu}, {machine.cores} cores, Python "
        f"{machine.python}"
    )
    print(
        "edgeq's versions: "
        f"{', '.join(f'{name} {version}' for name, version in sorted(machine.runtimes.items()))}"
    )
    print(f"peers: {', '.join((*LITERT_TORCH.requirements, *ONNX2TF.requirements))}\n")
    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for row in rows:
        print(f"| {row.what} | {' | '.join(row.cells)} |")


def _rows(name: str, folder: Path, peers: Sequence[str]) -> tuple[list[Row], Network]:
    network = build(name)
    qdq, floats = folder / "qdq.onnx", folder / "float.onnx"
    qdq.write_bytes(serialize(quantize_onnx(network.model, [network.calibration])))
    floats.write_bytes(serialize(network.model))
    network.save_program(folder / "program.pt2")
    np.save(folder / "images.npy", network.calibration)
    np.save(folder / "nhwc.npy", network.calibration.transpose(0, 2, 3, 1))
    with TARGETS.load("ort-cpu-ref").open(qdq) as session:
        expected = session.run(network.evaluation)
    nhwc = str(folder / "nhwc.npy")
    jobs: list[tuple[str, str, Callable[[Path], Any]]] = [
        ("edgeq", "QDQ", lambda output: _ours(qdq, output)),
        ("onnx2tf", "QDQ", lambda output: ONNX2TF.run(model=str(qdq), output=str(output))),
        (
            "onnx2tf -oiqt",
            "QDQ",
            lambda output: ONNX2TF.run(model=str(qdq), output=str(output), images=nhwc),
        ),
        (
            "onnx2tf -oiqt",
            "float",
            lambda output: ONNX2TF.run(model=str(floats), output=str(output), images=nhwc),
        ),
        (
            "onnx2tf -oiqt -qt per-tensor",
            "float",
            lambda output: ONNX2TF.run(
                model=str(floats), output=str(output), images=nhwc, quant_type="per-tensor"
            ),
        ),
        (
            "litert-torch PT2E",
            "float torch",
            lambda output: LITERT_TORCH.run(
                program=str(folder / "program.pt2"),
                images=str(folder / "images.npy"),
                output=str(output),
            ),
        ),
    ]
    wanted = [job for job in jobs if job[0].split(" ")[0] in ("edgeq", *peers)]
    return [
        _row(*job, folder / f"{i}.tflite", network, expected) for i, job in enumerate(wanted)
    ], network


def _ours(qdq: Path, output: Path) -> Any:
    script = (
        "import time; start = time.perf_counter()\n"
        "import json, sys; from pathlib import Path\n"
        "from edgeq.exporter import ExportOptions\n"
        "from edgeq.qdq.qoperator.convert import read_as_qdq\n"
        "from edgeq.exporters.tflite import exporter\n"
        "import edgeq.exporters.tflite.writer, edgeq.exporters.tflite.parity, edgeq.qdq.reader\n"
        "imported = time.perf_counter()\n"
        "Path(sys.argv[2]).write_bytes(exporter.export(read_as_qdq(Path(sys.argv[1])), "
        "ExportOptions()).content)\n"
        "print(json.dumps({'imports': imported - start, 'conversion': time.perf_counter() "
        "- imported}))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, str(qdq), str(output)],
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout.splitlines()[-1])


def _row(
    what: str,
    reads: str,
    convert: Callable[[Path], Any],
    output: Path,
    network: Network,
    expected: NDArray[np.float32],
) -> Row:
    print(f"{time.strftime('%H:%M:%S')} {what} from {reads}", file=sys.stderr, flush=True)
    try:
        took = convert(output)
    except PeerError as error:
        return Row(what, (reads, f"fails: {error}", "", "", "", "", "", ""))
    times = (f"{took['imports']:.1f}", f"{took['conversion'] + took.get('calibration', 0.0):.2f}")
    return Row(
        what,
        (
            reads,
            *times,
            f"{output.stat().st_size / 1000:.0f}",
            *_integers(output),
            *_closeness(output, network, expected),
        ),
    )


def _integers(output: Path) -> tuple[str, str]:
    try:
        found = audit(output, KERNELS)
    except EdgeqError as error:
        return f"no: {error.what}", ""
    integer = sum(op.integer for op in found.ops)
    return (
        f"{integer} of {len(found.ops)}",
        "" if found.integer_share is None else f"{100 * found.integer_share:.0f} %",
    )


def _closeness(output: Path, network: Network, expected: NDArray[np.float32]) -> tuple[str, str]:
    try:
        with TARGETS.load(KERNELS).open(output) as session:
            found = session.run(network.evaluation)
    except EdgeqError as error:
        return f"does not run: {error.what}", ""
    noise = float(((found - expected).astype(np.float64) ** 2).sum())
    ratio = (
        float("inf")
        if noise == 0
        else 10 * np.log10(float((expected.astype(np.float64) ** 2).sum()) / noise)
    )
    return f"{ratio:.1f}", f"{100 * float((found.argmax(1) == expected.argmax(1)).mean()):.0f} %"


if __name__ == "__main__":
    run(main)
