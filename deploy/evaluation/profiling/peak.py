"""The most that this machine computes: a short run of the fastest kernels there are."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from edgeq.deploy.evaluation.audit import audit
from edgeq.errors import EdgeqError
from edgeq.tabular import counted
from edgeq.timing.details import PeakSpeed

if TYPE_CHECKING:
    from edgeq.deploy.evaluation.chain import Pair
    from edgeq.results import Profile

_SECONDS = 0.1  # for each size and type
_SIZES = (256, 512)


def measure_peak(threads: int) -> PeakSpeed:
    """Multiply square matrices in ONNX Runtime, and take the fastest run of all sizes.

    Args:
        threads: the most threads it may use.
    """
    return PeakSpeed(
        max(_gmacs(size, threads, integer=False) for size in _SIZES),
        max(_gmacs(size, threads, integer=True) for size in _SIZES),
        f"the fastest of ONNX Runtime's MatMul and MatMulInteger of {_SIZES[0]} and {_SIZES[1]} "
        f"square, {counted(threads, 'thread')}",
    )


def _gmacs(size: int, threads: int, *, integer: bool) -> float:
    import onnxruntime as ort
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(0)
    whole = random.integers(0, 128, (2, size, size))
    left = whole[0].astype(np.uint8 if integer else np.float32)
    right = whole[1].astype(np.int8 if integer else np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger" if integer else "MatMul", ["x", "w"], ["y"])],
        "peak",
        [
            helper.make_tensor_value_info(
                "x", helper.np_dtype_to_tensor_dtype(left.dtype), left.shape
            )
        ],
        [
            helper.make_tensor_value_info(
                "y", TensorProto.INT32 if integer else TensorProto.FLOAT, left.shape
            )
        ],
        [numpy_helper.from_array(right, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    session.run(None, {"x": left})
    best, end = float("inf"), time.perf_counter() + _SECONDS
    while time.perf_counter() < end:
        began = time.perf_counter()
        session.run(None, {"x": left})
        best = min(best, time.perf_counter() - began)
    return size**3 / best / 1e9


def work(pair: Pair, profile: Profile, peak: PeakSpeed) -> tuple[int | None, float | None]:
    """The MACs of a sample, and what they would take at the peak over what they take.

    Each MAC counts at the peak of the numbers that the target computes it in. Where the clock does
    not hold and one thread ran, its processor time stands for the latency.

    Returns:
        None for what is not known: of targets that do not tell what they run, of files that do not
        tell their MACs, and of latencies that this machine's clock does not measure.
    """
    try:
        found = audit(pair.artefact, pair.target, threads=profile.threads)
    except EdgeqError:
        return None, None
    if any(op.macs is None for op in found.ops):
        return None, None
    at_peak = (found.macs - found.integer_macs) / peak.float_gmacs
    at_peak += found.integer_macs / peak.integer_gmacs
    latency = profile.latency
    steady = latency.processor_ms if profile.threads == 1 and not latency.trust.clock else None
    took_ms = steady or latency.p50_ms
    known = profile.kind == "measured" and found.macs > 0 and took_ms > 0
    return found.macs, at_peak / 1e6 / took_ms if known else None
