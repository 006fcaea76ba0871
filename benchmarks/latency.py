"""Our int8 files against the peers' own of the same float network.

One thread, batch 1, interleaved in one run.

    python -m benchmarks.latency [--seconds 5] [--models resnet56-a mobilenetv2-32 mobilenetv2-224]

ONNX Runtime's ``quantize_static`` on ort-cpu, with its defaults and in the form that is fastest on
x86, uint8 and per channel; litert-torch's PT2E on tflite, per channel, floats at the boundary of
both files. A ratio below 1 says that ours is faster.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from benchmarks.support.command import run
from benchmarks.support.networks import Network, build
from benchmarks.support.peers import LITERT_TORCH, PeerError
from edgeq.calibration.quantize import quantize_onnx
from edgeq.deploy.evaluation.chain import Pair
from edgeq.deploy.evaluation.profile import profile
from edgeq.deploy.pipeline.export import export
from edgeq.exporter import ExportOptions
from edgeq.formats.onnx_io import serialize
from edgeq.machine import fingerprint
from edgeq.timing import ratio

MODELS = ("resnet56-a", "mobilenetv2-32", "mobilenetv2-224")
CALIBRATION = 8  # images: latency does not depend on the ranges


class _Images(CalibrationDataReader):
    def __init__(self, network: Network) -> None:
        self._left = iter({"input": image[None]} for image in network.calibration[:CALIBRATION])

    def get_next(self) -> Any:
        return next(self._left, None)


def main() -> None:
    """Build the files, measure, print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--models", nargs="+", default=MODELS)
    arguments = parser.parse_args()
    machine = fingerprint()
    print(
        f"{machine.cpu}, {', '.join(machine.isa)}; onnxruntime {onnxruntime.__version__}, "
        f"{', '.join(LITERT_TORCH.requirements)}\n"
    )
    columns = (
        "network",
        "runtime",
        "peer",
        "edgeq p50 ms",
        "peer p50 ms",
        "edgeq / peer",
        "95 %",
        "trusted",
    )
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for name in arguments.models:
        with tempfile.TemporaryDirectory() as folder:
            _measure(build(name), Path(folder), arguments.seconds)


def _measure(network: Network, folder: Path, seconds: float) -> None:
    (folder / "qdq.onnx").write_bytes(
        serialize(quantize_onnx(network.model, [network.calibration[:CALIBRATION]]))
    )
    options = ExportOptions(io_type="float32")
    ours = {
        file.format: file.path
        for file in export(folder / "qdq.onnx", ["onnx", "tflite"], folder, options, stem="ours")
    }
    (folder / "float.onnx").write_bytes(serialize(network.model))
    best = {
        "activation_type": QuantType.QUInt8,
        "weight_type": QuantType.QInt8,
        "per_channel": True,
    }
    peers = [("quantize_static", "ort-cpu", _static(network, folder, "static"), ours["onnx"])]
    peers.append(
        (
            "quantize_static, uint8, per channel",
            "ort-cpu",
            _static(network, folder, "static-uint8", **best),
            ours["onnx"],
        )
    )
    try:
        peers.append(
            ("litert-torch PT2E", "tflite", _litert_torch(network, folder), ours["tflite"])
        )
    except PeerError as error:
        print(f"litert-torch fails on {network.name}: {error}", file=sys.stderr)
    pairs = list(
        dict.fromkeys(
            Pair(path, target) for _, target, theirs, own in peers for path in (own, theirs)
        )
    )
    found = dict(zip(pairs, profile(pairs, seconds=seconds), strict=True))
    for peer, target, theirs, own in peers:
        first, second = found[Pair(own, target)].latency, found[Pair(theirs, target)].latency
        times = ratio(first, second)
        trusted = first.why or second.why or "yes"
        cells = (
            network.name,
            target,
            peer,
            f"{first.p50_ms:.3f}",
            f"{second.p50_ms:.3f}",
            f"{times.value:.3f}",
        )
        print(
            f"| {' | '.join(cells)} | {times.low:.3f} to {times.high:.3f} | {trusted} |", flush=True
        )
    _tell_operators(found)


def _tell_operators(found: dict[Pair, Any]) -> None:
    """What ONNX Runtime made of each file, for whoever looks for the reason of a ratio."""
    for pair in found:
        if pair.target == "ort-cpu":
            options = onnxruntime.SessionOptions()
            options.log_severity_level = 3
            options.optimized_model_filepath = str(pair.artefact.with_suffix(".running.onnx"))
            onnxruntime.InferenceSession(
                str(pair.artefact), options, providers=["CPUExecutionProvider"]
            )
            kinds = Counter(
                node.op_type for node in onnx.load(options.optimized_model_filepath).graph.node
            )
            print(
                f"{pair.artefact.name}: "
                f"{', '.join(f'{kind} {count}' for kind, count in kinds.most_common())}",
                file=sys.stderr,
            )


def _static(network: Network, folder: Path, name: str, **options: Any) -> Path:
    output = folder / f"{name}.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        quantize_static(
            folder / "float.onnx", output, _Images(network), quant_format=QuantFormat.QDQ, **options
        )
    return output


def _litert_torch(network: Network, folder: Path) -> Path:
    network.save_program(folder / "program.pt2")
    np.save(folder / "images.npy", network.calibration[:CALIBRATION])
    output = folder / "litert-torch.tflite"
    LITERT_TORCH.run(
        program=str(folder / "program.pt2"), images=str(folder / "images.npy"), output=str(output)
    )
    return output


if __name__ == "__main__":
    run(main)
