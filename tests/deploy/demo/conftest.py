"""A report as a real run fills it.

Two networks, stable and original, in three schemes on five targets.
"""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from edgeq.deploy.demo.content import LayerCurve, ModelRow, Report
from edgeq.machine import Machine
from edgeq.metrics.accuracy import wilson
from edgeq.results import Accuracy, Comparison, Drift, Hop, Profile, Stage
from edgeq.timing import Latency
from edgeq.timing.trust import Trust

SAMPLES = 10_000
TARGETS = ("torch", "ort-cpu-ref", "ort-cpu", "tflite-ref", "tflite")
BLOCKS = 27
CAUSES = ("quantisation", "export", "graph optimisation", "conversion", "kernel rounding")
CORRECT = {
    ("stable", "FP32"): 9212,
    ("stable", "4W/8A"): 9226,
    ("stable", "4W/4A"): 9163,
    ("original", "4W/4A"): 9257,
}


def make_accuracy(correct: int) -> Accuracy:
    return Accuracy(correct, SAMPLES, *wilson(correct, SAMPLES))


def make_latency(p50_ms: float, why: str = "") -> Latency:
    return Latency(
        runs=1873,
        p50_ms=p50_ms,
        p90_ms=1.07 * p50_ms,
        p95_ms=1.12 * p50_ms,
        p99_ms=1.31 * p50_ms,
        mean_ms=1.02 * p50_ms,
        min_ms=0.97 * p50_ms,
        spread=0.046,
        drift=-0.0123,
        trust=Trust(clock=not why, processor_time=not why, ratios=True, why=why),
        blocks_ms=(p50_ms, 1.01 * p50_ms),
    )


def make_estimate(ms: float) -> Latency:
    return replace(
        make_latency(ms, "estimated: a model"),
        runs=0,
        p90_ms=ms,
        p95_ms=ms,
        p99_ms=ms,
        mean_ms=ms,
        min_ms=ms,
        spread=0.0,
        drift=0.0,
    )


def make_drift(tensor: str, depth: int, rmse: float, lsb: dict[int, int] | None = None) -> Drift:
    sqnr_db = 20 * math.log10(0.9 / rmse) if rmse else math.inf
    metrics = {"mse": rmse**2, "rmse": rmse, "sqnr_db": sqnr_db, "max_abs": 6 * rmse}
    return Drift(tensor, depth, 163_840, metrics, lsb or {})


def make_row(model: str, scheme: str, *, stable: bool, speed_ms: float) -> ModelRow:
    quantized = scheme != "FP32"
    correct = CORRECT.get(("stable" if stable else "original", scheme), 9338)
    targets = TARGETS if quantized else TARGETS[:3:2]
    rmse = 0.1549 if stable else 0.2757
    return ModelRow(
        model=model,
        scheme=scheme,
        stable=stable,
        parameters=414_602 if stable else 853_018,
        accuracy={target: make_accuracy(correct - number) for number, target in enumerate(targets)},
        activation_mse=rmse**2 if quantized else None,
        activation_rmse=rmse if quantized else None,
        sqnr_db=(17.3 if stable else 12.8) if quantized else None,
        latency={
            "ort-cpu": make_latency(speed_ms),
            **(
                {
                    "tflite": make_latency(
                        1.4 * speed_ms, "half of the runs spread over 31% of the median"
                    )
                }
                if quantized
                else {}
            ),
        },
        size_bytes={"onnx": 3_451_220, **({"tflite": 921_344} if quantized else {})},
    )


def make_curve(model: str, scheme: str, *, stable: bool) -> LayerCurve:
    start, growth = (0.05, 0.01) if stable else (0.09, 0.05)
    start = start / 16 if scheme == "4W/8A" else start
    points = (
        make_drift(
            f"layer{1 + block // 9}.{block % 9}.out",
            4 * block,
            start * math.exp(growth * block) * (1 + 0.1 * (block % 3)),
        )
        for block in range(BLOCKS)
    )
    return LayerCurve(model, scheme, stable, tuple(points))


def make_comparison(scale: float) -> Comparison:
    names = ("resnet56.ckpt @ torch-fp32", "resnet56.ckpt @ torch", "resnet56.onnx @ ort-cpu-ref",
             "resnet56.onnx @ ort-cpu",
             "resnet56.tflite @ tflite-ref", "resnet56.tflite @ tflite")  # fmt: skip
    stages = tuple(
        Stage(
            artefact=name.split(" @ ")[0],
            target=name.split(" @ ")[1],
            size_bytes=921_344 + number,
            accuracy=make_accuracy(9163 - number),
            agreement=1 - 0.0171 * (number > 0) - 0.0003 * number,
            flipped=tuple(range(17, 17 + 31 * number, 31)),
            facts={"provider": "CPUExecutionProvider", "operators": "QLinearConv 55, QLinearAdd 27"}
            if number > 1
            else {},
        )
        for number, name in enumerate(names)
    )
    sizes = (0.21, 0.0, 0.013, 0.0017, 0.0092)
    hops = tuple(
        Hop(
            names[n],
            names[n + 1],
            cause,
            make_drift("output", 110, scale * sizes[n]),
            make_tensors(n, scale * sizes[n]),
        )
        for n, cause in enumerate(CAUSES)
    )
    reference = tuple(
        Hop(
            names[0],
            name,
            "quantisation",
            make_drift("output", 110, scale * (0.21 + 0.002 * n)),
            (),
        )
        for n, name in enumerate(names[1:])
    )
    return Comparison("cifar10-jpeg", SAMPLES, names[0], stages, hops, reference)


def make_tensors(number: int, rmse: float) -> tuple[Drift, ...]:
    off = 0 if rmse == 0 else 700 + 37 * number
    grid = {0: 163_840 - 2 * off - 3, -1: off, 1: off, 8: 3} if rmse else {0: 163_840}
    return tuple(
        make_drift(
            f"layer{1 + block // 9}.{block % 9}.conv1",
            4 * block,
            0.3 * rmse * (1 + 0.05 * block),
            grid if number else None,
        )
        for block in range(BLOCKS)
    )


@pytest.fixture
def report() -> Report:
    rows = tuple(
        make_row(model, scheme, stable=stable, speed_ms=speed)
        for model, stable, base in (("ResNet56", False, 1.0), ("Stable ResNet56", True, 0.9))
        for scheme, speed in (
            ("FP32", 1.83 * base),
            ("4W/8A", 0.912 * base),
            ("4W/4A", 0.934 * base),
        )
    )
    return Report(
        title="Stable and original ResNet56 on CIFAR-10",
        created="2026-03-02T10:11:12+00:00",
        command="edgeq demo -o demo --data cifar10-jpeg",
        data="cifar10-jpeg",
        samples=SAMPLES,
        machine=Machine(
            cpu="Example CPU @ 2.60GHz",
            architecture="x86_64",
            cores=2,
            isa=("avx2", "fma", "avx512_vnni"),
            governor="",
            load_average=0.41,
            kernel="Linux 6.1.0",
            python="3.11.9",
            runtimes={"onnxruntime": "1.31.1", "ai-edge-litert": "2.3.0"},
        ),
        rows=rows,
        curves=tuple(
            make_curve(model, scheme, stable=stable)
            for model, stable in (("ResNet56", False), ("Stable ResNet56", True))
            for scheme in ("4W/8A", "4W/4A")
        ),
        comparisons=(
            ("ResNet56 4W/4A", make_comparison(1.0)),
            ("Stable ResNet56 4W/4A", make_comparison(0.4)),
        ),
        profiles=(
            Profile(
                "resnet56.tflite", "ethos-u55", 1, 1, "estimated", make_estimate(7.41), 921_344
            ),
            Profile("resnet56.onnx", "ort-cpu", 1, 1, "measured", make_latency(0.934), 3_451_220),
        ),
        notes=("Trained for 2 epochs: accuracies are those of a short run.",),
    )
