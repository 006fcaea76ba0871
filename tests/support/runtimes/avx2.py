"""ONNX Runtime's own AVX2 kernels.

On this processor where it has no dot products, and on a Haswell that QEMU emulates.

QEMU's user mode shows this interpreter a Haswell, so the very wheel that runs on this machine picks
the kernels that it would pick there, and they answer what they would answer there. Nothing in ONNX
Runtime itself can be set to that end.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgeq.machine import adds_pairs, fingerprint

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import onnx
    from numpy.typing import NDArray

QEMU = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
HERE = pytest.param(
    (),
    id="here",
    marks=pytest.mark.skipif(
        not adds_pairs(fingerprint()), reason="this processor has integer dot products"
    ),
)
HASWELL = pytest.param(
    (str(QEMU), "-cpu", "Haswell"),
    id="haswell",
    marks=[
        pytest.mark.slow,
        pytest.mark.skipif(QEMU is None, reason="needs qemu-x86_64, of the package qemu-user"),
    ],
)
PROCESSORS = (HERE, HASWELL)
"""Ways to start an interpreter on a processor with AVX2 and without integer dot products."""

_RUNNER = """
import sys, numpy as np, onnxruntime as ort
given, options = np.load(sys.argv[1]), ort.SessionOptions()
options.intra_op_num_threads, options.log_severity_level = 1, 3
names = [key[6:] for key in given.files if key.startswith("model/")]
found = {}
for name in names:
    session = ort.InferenceSession(given["model/" + name].tobytes(), options, providers=["CPUExecutionProvider"])
    entrance = session.get_inputs()[0].name
    found[name] = np.concatenate([session.run(None, {entrance: sample[None]})[0] for sample in given["x/" + name]])
np.savez(sys.argv[2], **found)
"""


def answers(
    launcher: Sequence[str],
    folder: Path,
    cases: Mapping[str, tuple[onnx.ModelProto, NDArray[np.float32]]],
) -> dict[str, NDArray[np.float32]]:
    """What ONNX Runtime, its graph optimised, answers on such a processor, a sample at a time.

    Args:
        launcher: one of :data:`PROCESSORS`.
        folder: for what is passed.
        cases: models of one input and samples of it, by name.
    """
    given: dict[str, NDArray[np.generic]] = {}
    for name, (model, samples) in cases.items():
        given |= {
            f"model/{name}": np.frombuffer(model.SerializeToString(), np.uint8),
            f"x/{name}": samples,
        }
    np.savez(folder / "given.npz", allow_pickle=False, **given)
    run = [
        *launcher,
        sys.executable,
        "-c",
        _RUNNER,
        str(folder / "given.npz"),
        str(folder / "found.npz"),
    ]
    subprocess.run(run, check=True, capture_output=True)
    with np.load(folder / "found.npz") as arrays:
        return {name: arrays[name] for name in arrays.files}
