"""Damaged ONNX files through ``edgeq export``.

Each is told in words, and none crashes, hangs or leaves half a file behind.

All files of a run go through one process, one after the other. It reports after each; where no
report comes in time, the file that it is at has hung or killed it.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import textwrap
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper
from tests.support.checks.corruption import KINDS, damaged
from tests.support.models.qdq_models import S8, U4, U8, Graph, Grid

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    import onnx

MOST_SECONDS = 5.0
START_SECONDS = 60.0
# of address space beyond what the imports take: a lie about a size must not become an allocation
MOST_MEMORY = 4 * 2**30

_WORKER = textwrap.dedent(
    """
    import contextlib, io, json, resource, sys, time
    from pathlib import Path
    import onnx, onnx_ir
    from edgeq.deploy.cli import run

    def export(source, output, name):
        formats = ["--to", "tflite", "--to", "onnx"]
        return run(["export", source, *formats, "-o", output, "--name", name])

    with contextlib.redirect_stdout(io.StringIO()):
        export(sys.argv[2], sys.argv[3], "warm")
    if sys.platform == "linux":
        own = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (own + int(sys.argv[1]),) * 2)
    print(json.dumps("ready"), file=sys.__stdout__, flush=True)
    for line in sys.stdin:
        source, output = line.rstrip("\\n").split("\\t")
        said, start = io.StringIO(), time.monotonic()
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = export(source, output, "model")
        report = json.dumps([code, time.monotonic() - start, said.getvalue()])
        print(report, file=sys.__stdout__, flush=True)
    """
)


def small_model() -> onnx.ModelProto:
    """A graph of many kinds of operators and few weights: most of its bits are structure."""
    graph = Graph(np.random.default_rng(5))
    image = graph.input("image", ["N", 3, 8, 8], S8)
    stem = graph.weighted(
        "Conv",
        image,
        "stem",
        (4, 3, 3, 3),
        U8,
        per_channel=True,
        relu=True,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
    )
    deep = graph.weighted(
        "Conv",
        stem,
        "deep",
        (4, 1, 3, 3),
        S8,
        group=4,
        kernel_shape=[3, 3],
        pads=[1, 1, 1, 1],
        strides=[1, 1],
    )
    added = graph.op("Add", [stem, deep], "added", U4, relu=True)
    most = graph.op("MaxPool", [added], "most", U4, kernel_shape=[2, 2], strides=[2, 2])
    starts, ends, axes = (
        graph.constant(f"slice{i}", np.array([v])) for i, v in enumerate((1, 3, 1))
    )
    part = graph.op("Slice", [most, starts, ends, axes], "part", U4)
    wide = graph.op("Concat", [most, part], "wide", U4, axis=1)
    edge = graph.op(
        "Pad", [wide, graph.constant("pads", np.array([0, 0, 0, 0, 0, 0, 1, 1]))], "edge", U4
    )
    mean = graph.op("AveragePool", [edge], "mean", U4, kernel_shape=[2, 2], strides=[2, 2])
    turned = graph.op("Transpose", [mean], "turned", U4, perm=[0, 2, 3, 1])
    flat = graph.op("Reshape", [turned, graph.constant("shape", np.array([0, -1]))], "flat", U4)
    graph.weighted("Gemm", flat, "logits", (5, 24), Grid(0.1, 100), transB=1)
    graph.node("Softmax", [graph.nodes[-1].output[0]], "probabilities", axis=-1)
    return graph.proto("probabilities")


def wide_model() -> onnx.ModelProto:
    """The operators that the small model has none of.

    Functions, products, resizing, gathering, scattering and means.
    """
    graph = Graph(np.random.default_rng(6))
    image = graph.input("image", [1, 4, 6, 6], S8)
    graph.scales["image_dequantized"] = 0.02
    up = graph.weighted(
        "ConvTranspose",
        image,
        "up",
        (4, 3, 2, 2),
        S8,
        channel_axis=1,
        strides=[2, 2],
        kernel_shape=[2, 2],
    )
    soft = graph.op("Sigmoid", [up], "soft", Grid(1 / 256, 0))
    swish = graph.op("HardSwish", [soft], "swish", S8)
    leaky = graph.op("LeakyRelu", [swish], "leaky", S8, alpha=0.2)
    times = graph.op("Mul", [leaky, soft], "times", S8)
    less = graph.op("Sub", [times, leaky], "less", S8)
    sizes = graph.constant("sizes", np.array([1, 3, 6, 6]))
    small = graph.op(
        "Resize",
        [less, "", "", sizes],
        "resized",
        S8,
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
    )
    some = graph.op(
        "Gather", [small, graph.constant("indices", np.array([2, 0]))], "some", S8, axis=1
    )
    halves = [f"half{i}" for i in range(2)]
    graph.nodes.append(
        helper.make_node(
            "Split", [some, graph.constant("parts", np.array([1, 1]))], halves, name="split", axis=1
        )
    )
    left, right = (graph.quantize(half, S8) for half in halves)
    product = graph.op("MatMul", [left, right], "product", Grid(0.01, 128))
    rows = graph.op(
        "Squeeze", [product, graph.constant("first", np.array([0, 1]))], "rows", Grid(0.01, 128)
    )
    most = graph.op(
        "ReduceMax",
        [rows, graph.constant("last", np.array([1]))],
        "most",
        Grid(0.01, 128),
        keepdims=0,
    )
    line = graph.op(
        "Unsqueeze", [most, graph.constant("front", np.array([0]))], "line", Grid(0.01, 128)
    )
    mean = graph.op(
        "ReduceMean",
        [line, graph.constant("axis", np.array([1]))],
        "mean",
        Grid(0.01, 128),
        keepdims=1,
    )
    return graph.proto(mean)


MODELS = (small_model, wide_model)


@dataclass
class Worker:
    """The process that exports, and a watch over it."""

    process: subprocess.Popen[str]

    def report(self, seconds: float) -> Any:
        assert self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], seconds)
        line = self.process.stdout.readline() if ready else ""
        return json.loads(line) if line else None

    def export(self, source: Path, output: Path) -> Any:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{source}\t{output}\n")
        self.process.stdin.flush()
        return self.report(MOST_SECONDS)

    def why(self) -> str:
        died = self.process.poll()
        return (
            f"it ran longer than {MOST_SECONDS} s"
            if died is None
            else f"the process ended with {died}"
        )


@pytest.fixture
def worker(tmp_path: Path) -> Iterator[Worker]:
    (tmp_path / "sound.onnx").write_bytes(small_model().SerializeToString())
    arguments = [str(MOST_MEMORY), str(tmp_path / "sound.onnx"), str(tmp_path / "warm")]
    environment = {**os.environ, "TMPDIR": str(tmp_path), "NO_COLOR": "1"}
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
    ) as process:
        found = Worker(process)
        deadline = time.monotonic() + START_SECONDS
        while (answer := found.report(deadline - time.monotonic())) != "ready":
            assert answer is not None, f"the worker did not start: {found.why()}"
        yield found
        process.kill()


def complaints(worker: Worker, folder: Path, seed: int) -> str:
    """What is wrong with the way one damaged file was dealt with; empty where nothing is."""
    case = damaged(MODELS[seed // len(KINDS) % len(MODELS)](), seed)
    folder.mkdir()
    for name, content in {**case.beside, "model.onnx": case.content}.items():
        (folder / name).write_bytes(content)
    before = sorted(path.name for path in folder.iterdir())
    answer = worker.export(folder / "model.onnx", folder / "out")
    if answer is None:
        return f"{case.name}: {worker.why()}"
    code, seconds, said = answer
    written = (
        sorted(path.name for path in (folder / "out").iterdir())
        if (folder / "out").exists()
        else []
    )
    if seconds > MOST_SECONDS or "Traceback" in said or code not in (0, 2):
        return f"{case.name}: code {code} after {seconds:.1f} s: {said[:1500]}"
    if (
        written != (["model.onnx", "model.tflite"] if code == 0 else [])
        or sorted(path.name for path in folder.iterdir() if path.name != "out") != before
    ):
        return f"{case.name}: code {code} left {written} behind"
    if code == 2 and ("hint: " not in said or len(said) > 2000):
        return f"{case.name}: no message for people: {said[:500]}"
    return ""


def check(worker: Worker, folder: Path, seeds: range) -> None:
    found = [
        complaint
        for seed in seeds
        if (complaint := complaints(worker, folder / f"{seed:04d}", seed))
    ]
    assert not found, f"{len(found)} of {len(seeds)}:\n" + "\n".join(found)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_a_sound_file_is_exported(
    model: Callable[[], onnx.ModelProto], worker: Worker, tmp_path: Path
) -> None:
    (tmp_path / "sound.onnx").write_bytes(model().SerializeToString())
    code, _, said = worker.export(tmp_path / "sound.onnx", tmp_path / "out")
    assert code == 0, said
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [
        "model.onnx",
        "model.tflite",
    ]


def test_a_hundred_damaged_files_are_told_in_words(worker: Worker, tmp_path: Path) -> None:
    assert len(KINDS) <= 100
    check(worker, tmp_path, range(100))


@pytest.mark.slow
def test_a_thousand_damaged_files_are_told_in_words(worker: Worker, tmp_path: Path) -> None:
    check(worker, tmp_path, range(100, 1100))


def test_most_damage_is_noticed() -> None:
    """The damage is real: hardly any of it gives the bytes of the sound file back."""
    sound = small_model().SerializeToString()
    assert sum(damaged(small_model(), seed).content == sound for seed in range(290)) <= 10
