"""Documents as commands print them, of every kind, and of the size that a page has to bear."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from edgeq.deploy.report.documents import Document
from edgeq.metrics.accuracy import wilson

if TYPE_CHECKING:
    from collections.abc import Sequence

TARGETS = ("torch", "ort-cpu-ref", "ort-cpu", "emulator", "tflite-ref", "tflite-builtin", "tflite")
PICTURE = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR42mNgAAAAAgAB"
    "c3UBGAAAAABJRU5ErkJggg=="
)


def made(
    kind: str, label: str, content: Any, created: str = "", command: str = "", **drawn: Any
) -> Document:
    """A document of whatever content."""
    return Document(kind, label, content, created, command, **drawn)


def accuracy(correct: int, total: int = 2000) -> dict[str, Any]:
    low, high = wilson(correct, total)
    return {"correct": correct, "total": total, "low": low, "high": high}


def drift(name: str, depth: int, sqnr_db: float | None) -> dict[str, Any]:
    """A tensor; None is equal."""
    error = 0.0 if sqnr_db is None else 10 ** (-sqnr_db / 20)
    off = int(16_000 * error)
    return {
        "tensor": name,
        "depth": depth,
        "elements": 32_000,
        "mse": error**2,
        "rmse": error,
        "sqnr_db": sqnr_db,
        "max_abs": 4 * error,
        "lsb": {"-1": off, "0": 32_000 - 2 * off - 3, "1": off, "8": 3} if off else {"0": 32_000},
        "max_lsb": 12 if off else 0,
    }


def layers(count: int) -> list[str]:
    return [f"layer{n // 18 + 1}.{n // 2 % 9}.conv{n % 2 + 1}" for n in range(count)]


def hop(source: str, stage: str, cause: str, sqnr_db: float | None, count: int) -> dict[str, Any]:
    return {
        "source": source,
        "stage": stage,
        "cause": cause,
        "output": drift("output", count, sqnr_db),
        "tensors": [
            drift(name, n, None if sqnr_db is None else sqnr_db + 20 + 6 * math.sin(n / 4) - n / 3)
            for n, name in enumerate(layers(count))
        ],
        "outputs": [],
        "without_tensors": "",
    }


def stage(name: str, correct: int, changed: int) -> dict[str, Any]:
    artefact, target = name.split(" @ ")
    return {
        "artefact": artefact,
        "target": target,
        "size_bytes": 350_000 if artefact.endswith("onnx") else 240_000,
        "accuracy": accuracy(correct),
        "agreement": 1 - changed / 2000,
        "flipped": list(range(7, 7 + 13 * min(changed, 100), 13)),
        "facts": {"provider": "CPUExecutionProvider"},
        "answers": "scores",
        "changed": changed,
        "score": None,
    }


def comparison(
    count: int = 8, changed: Sequence[int] = (0, 0, 0, 0, 3, 5, 9), lost: int = 0
) -> dict[str, Any]:
    """What compare prints: stages of one network, the last of which lost so many samples."""
    targets = [*TARGETS, *(f"board-{n}" for n in range(len(TARGETS), len(changed)))]
    names = [
        f"net.{'tflite' if target.startswith(('tflite', 'board')) else 'onnx'} @ {target}"
        for target in targets
    ]
    causes = ("lowering", "graph optimisation", "emulation", "conversion", "kernel rounding")
    sqnr = (32.0, None, 44.0, None, 38.0, 41.0, 36.0, None, 30.0)
    return {
        "data": "cifar10",
        "samples": 2000,
        "reference": names[0],
        "stages": [
            stage(name, 1840 - min(n, n_changed) - more, n_changed + more)
            for n, (name, n_changed) in enumerate(zip(names, changed, strict=True))
            for more in (lost if n == len(names) - 1 else 0,)
        ],
        "hops": [
            hop(a, b, causes[n % 5], sqnr[n % 9], count) for n, (a, b) in enumerate(pairwise(names))
        ],
        "from_reference": [hop(names[0], name, "all", 36.0, count) for name in names[1:]],
        "failures": [],
        "remarks": [],
        "saturating": [],
    }


def graph(count: int = 8) -> list[dict[str, Any]]:
    """A chain of layers with a connection over every second one."""
    names = layers(count)
    return [
        {
            "op": "Conv" if n % 2 else "Add",
            "output": name,
            "inputs": [
                *names[max(0, n - 1) : n],
                *(names[n - 2 : n - 1] if n > 2 and n % 2 else []),
            ],
        }
        for n, name in enumerate(names)
    ]


def profile(artefact: str, target: str, p50_ms: float, *, trusted: bool) -> dict[str, Any]:
    return {
        "artefact": artefact,
        "target": target,
        "threads": 1,
        "batch": 1,
        "kind": "measured",
        "latency": {
            "runs": 1200,
            "p50_ms": p50_ms,
            "p90_ms": 1.1 * p50_ms,
            "p95_ms": 1.2 * p50_ms,
            "p99_ms": 1.5 * p50_ms,
            "mean_ms": 1.02 * p50_ms,
            "min_ms": 0.97 * p50_ms,
            "spread": 0.05,
            "drift": 0.01,
            "trust": {
                "clock": trusted,
                "processor_time": True,
                "ratios": True,
                "why": "" if trusted else "others used the processors",
                "advice": "" if trusted else "use a machine of its own",
            },
            "blocks_ms": [p50_ms * (1 + n / 50) for n in range(12)],
            "processor_blocks_ms": [p50_ms * 0.9] * 12,
            "energy_mj": None,
        },
        "size_bytes": 350_000,
        "facts": {},
        "saturating": None,
    }


MACHINE = {
    "cpu": "Example CPU",
    "architecture": "x86_64",
    "cores": 2,
    "isa": ["avx2"],
    "governor": "",
    "load_average": 0.41,
    "kernel": "Linux 6.1.0",
    "python": "3.11.9",
    "runtimes": {"onnxruntime": "1.31.1"},
}


def finding(rule: str, outcome: str, message: str, **more: Any) -> dict[str, Any]:
    return {
        "rule": rule,
        "stage": "net.tflite @ tflite",
        "metric": rule,
        "outcome": outcome,
        "message": message,
        "measured": 1.0,
        "limit": 0.5,
        "baseline": 0.9,
        "unit": "points",
        "cause": "",
        "next_command": "",
        "reason": "",
        **more,
    }


def every_kind() -> list[Document]:
    """A document of each command that has a drawing of its own, and one that has none."""
    from tests.support.report.making import makers

    return [*measured(), *makers()]


def measured() -> list[Document]:
    """Those of the commands that measure something, and one that has no drawing."""
    stages = [stage(f"net.onnx @ {target}", 1840, 0) for target in ("ort-cpu-ref", "ort-cpu")]
    return [
        made(
            "compare",
            "first",
            {"comparison": comparison()},
            "2026-03-01T10:00:00+00:00",
            "edgeq compare net.onnx net.tflite --data cifar10",
            pictures={7: PICTURE, 20: PICTURE},
            titles={7: "cat", 20: "dog"},
            answers={
                "net.onnx @ torch": {7: "cat", 20: "dog"},
                "net.tflite @ tflite": {7: "dog", 20: "cat"},
            },
            graphs={"net.onnx": graph(), "net.tflite": graph()},
        ),
        made(
            "profile",
            "times",
            {
                "machine": MACHINE,
                "profiles": [
                    profile("net.onnx", "ort-cpu", 1.2, trusted=True),
                    profile("net.tflite", "tflite", 0.8, trusted=True),
                    profile("net.tflite", "tflite-ref", 7.5, trusted=False),
                ],
                "failures": [],
            },
        ),
        made(
            "gate",
            "gate",
            {
                "outcome": "failed",
                "findings": [
                    finding("exactness", "fail", "1 weight differs", next_command="edgeq diff a b"),
                    finding("accuracy", "inconclusive", "2,000 samples would decide"),
                    finding("latency", "expected-failure", "0.8 times", reason="no VNNI"),
                    finding("size", "pass", "kept"),
                ],
                "deltas": [
                    {"stage": "net.tflite @ tflite", "metric": "x", "before": 0.1, "now": None}
                ],
            },
        ),
        made(
            "why",
            "why",
            {
                "why": {
                    "stages": [
                        {**stages[0], "against": "", "state": "reference", "verdict": "reference"},
                        {
                            **stages[1],
                            "against": "net.onnx @ ort-cpu-ref",
                            "state": "WRONG",
                            "verdict": "wrong in 1 operator",
                            "lost": 3,
                            "gained": 1,
                            "growth": {"rate_db": 0.5, "low_db": 0.1, "high_db": 0.9, "blocks": 5},
                            "operators": [
                                {
                                    "number": 2,
                                    "op_type": "Conv",
                                    "tensor": "conv",
                                    "wrong": 3,
                                    "elements": 100,
                                    "max_lsb": 4,
                                    "accumulated_lsb": 5,
                                    "accumulated_db": 31.0,
                                }
                            ],
                        },
                    ],
                    "causes": [
                        {
                            "kind": "padding",
                            "what": "the border is off",
                            "operator": "conv",
                            "op_type": "Conv",
                            "evidence": ["only the first row is"],
                            "hint": "edgeq export net.onnx",
                        }
                    ],
                }
            },
        ),
        made(
            "lint",
            "lint",
            {
                "files": [
                    {
                        "file": "net.onnx",
                        "findings": [
                            {
                                "rule": "dead-channel",
                                "severity": "warning",
                                "node": "conv",
                                "message": "channel 3 is dead",
                                "hint": "train longer",
                            }
                        ],
                    },
                    {"file": "net.tflite", "findings": []},
                ]
            },
        ),
        made(
            "bounds",
            "bounds",
            {
                "accumulator_bits": 23,
                "bounds": {
                    "file": "net.onnx",
                    "sums": [{"layer": "conv", "op_type": "Conv", "bits": 23, "channels": 8}],
                    "certificates": [
                        {
                            "reference": "FP32",
                            "kernel_lsb": 1.0,
                            "samples": 16,
                            "certified": 4,
                            "tensors": [
                                {"tensor": f"t{n}", "bound": 2.0**n, "measured": 1 + n / 4}
                                for n in range(5)
                            ],
                            "held": [{"target": "ort-cpu", "beyond": 0, "changed": 0}],
                        }
                    ],
                },
            },
        ),
        made(
            "diff",
            "diff",
            {"equal": False, "diff": {"differences": [{"where": "conv", "kind": "weights"}]}},
        ),
        made("audit", "audit", {"audit": {"operators": [{"name": "conv", "runs": "int8"}]}}),
    ]
