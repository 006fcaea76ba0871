"""What pairs of products that saturate cost on this processor, and what each remedy costs.

Accuracy, steps and latency.

    EDGEQ_DATA=DIR python -m benchmarks.saturation
        [--network resnet56-a] [--seconds 3] [--exactness]

Each network is calibrated once with plain min-max weights and written in four ways: int8 weights,
the portable dialect (uint8 weights where a pair can saturate), uint8 weights everywhere, and 7-bit
weights; and once more with pair-safe scales. ``worst LSB`` is of single operators on equal
integers, optimised against plain; ``times FP32`` is FP32's time over the row's, all rows
interleaved. ``--exactness`` leaves latency out, which means nothing under an emulator:

    EDGEQ_DATA=DIR qemu-x86_64 -cpu Haswell python -m benchmarks.saturation --exactness --samples 8
"""

from __future__ import annotations

import argparse
import os
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tests.support.checks.exactness import Runtime, feeds_of

from benchmarks.support.command import run
from benchmarks.support.networks import build
from edgeq.calibration.config import CalibrationConfig
from edgeq.calibration.quantize import fold_onnx, quantize_onnx
from edgeq.data import load, normalize
from edgeq.exporters.onnx.dialects import to_dialect
from edgeq.exporters.onnx.portable import store_uint8
from edgeq.formats.dialect import CANONICAL, VNNI
from edgeq.formats.onnx_io import serialize
from edgeq.machine import adds_pairs, fingerprint
from edgeq.models.pretrained import NORMALIZATION
from edgeq.qdq.ort_x86.saturation import pair_sums
from edgeq.qdq.qoperator.convert import read_as_qdq
from edgeq.qdq.reader import read_qdq
from edgeq.qdq.segments import cut
from edgeq.quant import QuantizedTensor
from edgeq.target import TARGETS
from edgeq.timing import ratio
from edgeq.timing.measuring import measure

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgeq.target import Session

NETWORKS = ("resnet20-a", "resnet56-a", "mobilenetv2-32", "resnet8")
CALIBRATION, OPERATORS = 200, 4  # samples for ranges, and for single operators


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """A float network with data.

    Attributes:
        model: float ONNX, BatchNorm folded.
        calibration: float32, (n, 3, h, w).
        images: float32, (m, 3, h, w).
        labels: (m,); None where the network's weights are random.
    """

    model: ir.Model
    calibration: NDArray[np.float32]
    images: NDArray[np.float32]
    labels: NDArray[np.int64] | None


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--network", action="append", choices=NETWORKS)
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--samples", type=int, default=500)
    parser.add_argument("--exactness", action="store_true", help="measure no latency")
    arguments = parser.parse_args()
    machine = fingerprint()
    kernels = (
        "adds pairs of products in 16 bits"
        if adds_pairs(machine)
        else "has a dot product that adds in 32 bits"
    )
    print(
        f"{machine.cpu}, which {kernels}; one thread, batch 1, onnxruntime "
        f"{machine.runtimes['onnxruntime']}"
    )
    for name in arguments.network or NETWORKS:
        print(
            f"\n{name}\n{'':12s} {'uint8 layers':>12s} {'accuracy':>9s} {'changed':>8s} "
            f"{'worst LSB':>10s} {'SQNR dB':>8s}  times FP32"
        )
        _print_rows(
            _case(name, arguments.samples), None if arguments.exactness else arguments.seconds
        )


def _case(name: str, samples: int) -> Case:
    folder = Path(os.environ["EDGEQ_DATA"])
    source = load("cifar10-lossless", folder)
    if name == "resnet8":
        model = fold_onnx(read_as_qdq(folder / "models" / "resnet8-float.onnx"))
        source = source.with_normalization((0.0,) * 3, (1 / 255,) * 3)
    elif name.startswith("resnet"):
        model, source = build(name).model, source.with_normalization(*NORMALIZATION)
    else:
        network = build(name)
        return Case(network.model, network.calibration, network.evaluation[:samples], None)
    part = source.test.take(np.arange(min(samples, len(source.test))))
    calibration = normalize(source.train.take(np.arange(CALIBRATION)).images, source)
    return Case(model, calibration, normalize(part.images, source), part.class_labels)


def _variants(case: Case) -> dict[str, ir.Model]:
    def calibrated(*, pair_safe: bool = False, bits: int = 8) -> ir.Model:
        config = CalibrationConfig(weight_bits=bits, pair_safe=pair_safe, methods=())
        return quantize_onnx(case.model, [case.calibration], config)

    plain = calibrated()
    unsigned = to_dialect(plain, VNNI)
    store_uint8(unsigned)
    return {
        "int8": to_dialect(plain, VNNI),
        "portable": to_dialect(plain, CANONICAL),
        "all uint8": unsigned,
        "pair-safe": to_dialect(calibrated(pair_safe=True), CANONICAL),
        "7-bit inner": to_dialect(calibrated(bits=7), VNNI),
    }


def _print_rows(case: Case, seconds: float | None) -> None:
    optimised, plain = TARGETS.load("ort-cpu"), TARGETS.load("ort-cpu-ref")
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        files = {"FP32": Path(folder) / "float.onnx"}
        files["FP32"].write_bytes(serialize(case.model))
        variants = _variants(case)
        for name, model in variants.items():
            files[name] = Path(folder) / f"{name.replace(' ', '-')}.onnx"
            files[name].write_bytes(serialize(model))
        sessions = {name: stack.enter_context(optimised.open(path)) for name, path in files.items()}
        times = (
            dict.fromkeys(sessions, "")
            if seconds is None
            else _times(sessions, case.images[:1], seconds)
        )
        expected = sessions["FP32"].run(case.images)
        print(
            f"{'FP32':12s} {'':12s} {_accuracy(expected, case.labels):>9s} {'':8s} "
            f"{'':10s} {'':8s}  {times['FP32']}"
        )
        for name, model in variants.items():
            found = sessions[name].run(case.images)
            with plain.open(files[name]) as session:
                reference = session.run(case.images)
            changed = int((found.argmax(1) != reference.argmax(1)).sum())
            worst = _worst_operator(model, files[name], case.images[:OPERATORS], Path(folder))
            noise = 10 * np.log10((expected**2).sum() / ((found - expected) ** 2).sum())
            cells = (
                f"{name:12s} {_unsigned_layers(model):>12s} "
                f"{_accuracy(found, case.labels):>9s} {changed:8d} {worst:10d}"
            )
            print(f"{cells} {noise:8.1f}  {times[name]}")


def _times(
    sessions: dict[str, Session], image: NDArray[np.float32], seconds: float
) -> dict[str, str]:
    for session in sessions.values():
        session.prepare(image)
    taken = measure(sessions, seconds=seconds)
    ratios = {name: ratio(taken["FP32"], latency) for name, latency in taken.items()}
    return {
        name: f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f}), {taken[name].p50_ms:.3f} ms"
        for name, each in ratios.items()
    }


def _accuracy(outputs: NDArray[np.float32], labels: NDArray[np.int64] | None) -> str:
    return "" if labels is None else f"{100 * float((outputs.argmax(1) == labels).mean()):.1f} %"


def _unsigned_layers(model: ir.Model) -> str:
    layers = [op for op in read_qdq(model).ops if op.op_type in ("Conv", "Gemm", "MatMul")]
    unsigned = sum(
        op.inputs[1].params is not None and op.inputs[1].params.dtype == "uint8"
        for op in layers
        if op.inputs[1] is not None
    )
    risky = sum(sums.can_saturate for sums in pair_sums(read_qdq(model)))
    return f"{unsigned} of {len(layers)}" + (f", {risky}!" if risky else "")


def _worst_operator(model: ir.Model, path: Path, images: NDArray[np.float32], folder: Path) -> int:
    """The largest difference between optimised and plain, tensor by tensor.

    Each is computed from equal integers.
    """
    segments = cut(model)
    runtimes = [Runtime.of(segments.model, folder, optimize=on) for on in (True, False)]
    worst = 0
    with TARGETS.load("ort-cpu-ref").open(path, intermediates=True) as session:
        for image in images:  # one at a time: some files have no other batch
            tensors = session.tensors(image[None])
            integers = {
                name: tensor.values.astype(np.int64)
                for name, tensor in tensors.items()
                if isinstance(tensor, QuantizedTensor)
            }
            feeds = feeds_of(segments, image[None], integers)
            feeds[model.graph.inputs[0].name or ""] = feeds.pop("input")
            found, plain = (runtime.integers(segments, feeds) for runtime in runtimes)
            worst = max(
                worst,
                *(int(np.abs(found[each.name] - plain[each.name]).max()) for each in segments.cuts),
            )
    return worst


if __name__ == "__main__":
    run(main)
