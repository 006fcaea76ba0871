"""One cell of the table of methods after training, in a process of its own.

Seconds are those of the processor, so that other work on the machine does not count, and ``wall``
those that passed; the memory is the largest resident set of the process. The process is a copy of
one that has imported everything, so imports do not count.
"""

from __future__ import annotations

import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from benchmarks.support.memory import peak_mb
from benchmarks.support.peers import PEERS_OF_PTQ, PeerError
from benchmarks.support.ptq_networks import Subject, subject
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.observe import session_of
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.errors import EdgeqError
from edgeq.formats.onnx_io import serialize

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

_MSE = {"observer": "mse", "weight_method": "mse"}
RECIPES: dict[str, dict[str, Any]] = {
    "min-max": {"methods": ()},
    "moving-average": {"observer": "moving-average"},
    "minmax-percentile": {"observer": "minmax-percentile"},
    "percentile": {"observer": "percentile"},
    "entropy": {"observer": "entropy"},
    "mse": _MSE,
    "affine": {"weight_method": "affine"},
    "floor": {"weight_method": "floor"},
    "per-tensor": {"per_channel": False, "methods": ()},
    "per-tensor, equalize": {"per_channel": False, "methods": ("equalize:relu6=relu",)},
    "per-tensor, equalize, absorb-bias": {
        "per_channel": False,
        "methods": ("equalize:relu6=relu", "absorb-bias"),
    },
    "analytic-bias-correction": {"methods": ("analytic-bias-correction",)},
    "bias-correction": {"methods": ("bias-correction",)},
    "norm-tuning": {"methods": ("norm-tuning",)},
    "affine-correction": {"methods": ("affine-correction",)},
    "output-scale": {"observer": "mse", "methods": ("output-scale", "bias-correction")},
    "gptq": {**_MSE, "methods": ("gptq", "bias-correction")},
    "gptq, depthwise 8": {**_MSE, "methods": ("gptq", "bias-correction"), "depthwise_bits": 8},
    "adaround": {**_MSE, "methods": ("adaround",)},
    "reconstruct": {**_MSE, "methods": ("reconstruct",)},
}
"""What each row asks of ``edgeq calibrate``."""


def answers(model: ir.Model, test: NDArray[np.float32]) -> NDArray[np.int64]:
    """The class of each image, each operator computed as ONNX says."""
    session = session_of(model, exact=True)
    entry, shape = session.entries[0], model.graph.inputs[0].shape
    first = None if shape is None else shape[0]
    size = first if isinstance(first, int) else 100
    parts = [
        np.asarray(session.run((), {entry: np.ascontiguousarray(test[i : i + size])})[0])
        for i in range(0, len(test), size)
    ]
    return np.asarray(np.concatenate(parts).reshape(len(test), -1).argmax(axis=1), np.int64)


def cell(network: str, row: str, bits: str, folder: Path) -> dict[str, Any]:
    """What one method makes of a network: answers that are wrong and changed, seconds and MB.

    Where it cannot be done: ``refused``, why.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        return pool.submit(_cell, network, row, bits, folder).result()


def _cell(network: str, row: str, bits: str, folder: Path) -> dict[str, Any]:
    given = subject(network, folder)
    truth = _float_answers(given, folder / f"{network}-answers.npy")
    widths = [int(width) for width in bits.split("/")]
    try:
        found, cost = _peer(given, row, widths) if ":" in row else _ours(given, row, widths)
    except (EdgeqError, PeerError) as error:
        return {"refused": str(error).splitlines()[0]}
    return {
        "float": int((truth == given.labels).sum()),
        "wrong": np.flatnonzero(found != given.labels).tolist(),
        "changed": int((found != truth).sum()),
        "samples": len(truth),
        **cost,
    }


def _float_answers(given: Subject, kept: Path) -> NDArray[np.int64]:
    if not kept.exists():
        np.save(kept, answers(given.model, given.test))
    found: NDArray[np.int64] = np.load(kept)
    return found


def _ours(
    given: Subject, row: str, widths: list[int]
) -> tuple[NDArray[np.int64], dict[str, float]]:
    config = CalibrationConfig(weight_bits=widths[0], act_bits=widths[1], **RECIPES[row])
    began, started = time.process_time(), time.perf_counter()
    made = quantize_onnx(given.model, np.array_split(given.calibration, 16), config)
    cost = {
        "seconds": time.process_time() - began,
        "wall": time.perf_counter() - started,
        "peak_mb": peak_mb(),
    }
    return answers(made, given.test), cost


def _peer(
    given: Subject, row: str, widths: list[int]
) -> tuple[NDArray[np.int64], dict[str, float]]:
    from tempfile import TemporaryDirectory

    name, _, method = row.partition(":")
    with TemporaryDirectory() as path:
        folder = Path(path)
        (folder / "float.onnx").write_bytes(serialize(fold_onnx(given.model)))
        np.savez(folder / "images.npz", calibration=given.calibration, test=given.test)
        cost = PEERS_OF_PTQ[name].run(
            folder=path, method=method, weight_bits=widths[0], act_bits=widths[1]
        )
        return np.load(folder / "logits.npy").argmax(axis=1), cost
