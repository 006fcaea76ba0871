"""Kills commands at random moments, gives each again, and prints what is not as if nothing was.

    python -m tests.support.checks.killing FOLDER SEED COUNT

A line of JSON stands for each fault; the last says how many were killed in the middle, by command.
What is asked of a command that was killed by SIGKILL and given again:

- it ends with 0, and each of its files has the bytes of a run that nobody disturbed;
- before that, each file is the old one or the new one, byte for byte, or not there;
- neither a temporary file nor a process of it is left.

All run in children of one process that has imported everything, so a try costs what the work does.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

MARK = "EDGEQ_KILLED_TRY"
MOST_SECONDS = 60.0
GONE_SECONDS = 5.0
_CACHE = "torchinductor_"  # which PyTorch keeps for the next one
OWN = "tests.support.checks.killing:network"
SWEEP = """
[grid]
x = [1, 2, 3, 4]
[cell]
function = "tests.support.checks.killing:score"
memory_gib = 0.1
"""
GATE = """
artefacts = ["base.onnx"]
data = "base.npz"
baseline = "old/baseline.json"
stages = ["base.onnx @ ort-cpu-ref"]
[rules]
agreement = { min = 0.9 }
"""


@dataclass(frozen=True, slots=True)
class Kind:
    """A command to kill.

    Attributes:
        words: its command line, in a folder of its own.
        files: what it leaves, whose bytes are compared; those in ``old`` are there before.
        apart: whether files of other tools are opened in a process of their own, which costs a
            start of Python.
    """

    words: tuple[str, ...]
    files: tuple[str, ...]
    apart: bool = False


KINDS = {
    "train": Kind(
        (
            *("train", "--model", OWN, "--data", "tests.support.models.tiny_training:source"),
            *("--epochs", "3", "--batch-size", "16", "--threads", "1", "-o", "run", "--resume"),
        ),
        ("run/last.safetensors", "run/best.safetensors", "run/run.json"),
    ),
    "calibrate": Kind(
        (
            *("calibrate", "float.onnx", "--data", "base.npz", "--samples", "16"),
            *("-o", "old/q.onnx", "--overwrite"),
        ),
        ("old/q.onnx",),
    ),
    "calibrate apart": Kind(
        (
            *("calibrate", "float.onnx", "--data", "base.npz", "--samples", "16"),
            *("-o", "old/q.onnx", "--overwrite"),
        ),
        ("old/q.onnx",),
        apart=True,
    ),
    "export": Kind(
        (
            *("export", "base.onnx", "--to", "onnx", "--to", "tflite", "--to", "vectors"),
            *("-o", "old", "--overwrite"),
        ),
        ("old/base.onnx", "old/base.tflite", "old/base-vectors/model.h"),
    ),
    "sweep": Kind(
        (
            *("sweep", "sweep.toml", "--jobs", "2", "-o", "cells"),
            *("--code", "tests.support.checks.killing:score"),
        ),
        ("cells/table.csv",),
    ),
    "gate": Kind(
        (
            "gate",
            "--config",
            "gate.toml",
            "--sarif",
            "old/gate.sarif",
            "--markdown",
            "old/gate.md",
        ),
        ("old/gate.sarif", "old/gate.md", "old/baseline.json"),
    ),
    "gate --update": Kind(
        ("gate", "--config", "gate.toml", "--update", "--accept-guessing"),
        ("old/baseline.json",),
    ),
    "report": Kind(
        ("report", "result.json", "-o", "old/page.html", "--overwrite"), ("old/page.html",)
    ),
}


def network() -> nn.Module:
    """A network that is trained in no time."""
    from torch import nn

    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 4))


def score(x: int) -> dict[str, float]:
    """A cell."""
    time.sleep(0.05)
    return {"score": 1 / x}


def main() -> None:
    """Kill as many commands as are asked for, in the given folder."""
    root, first, count = Path(sys.argv[1]).resolve(), int(sys.argv[2]), int(sys.argv[3])
    import_all()
    start = starting_folder(root / "start")
    wanted, seconds = {}, {}
    for name, kind in KINDS.items():
        began = time.monotonic()
        place = copied(start, root / "undisturbed" / name)
        code, said = ended(forked(kind, place), place)
        if code:
            sys.exit(f"{name} ends with {code}: {said}")
        wanted[name], seconds[name] = held(kind, place), time.monotonic() - began
    killed: Counter[str] = Counter()
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        name = list(KINDS)[seed % len(KINDS)]
        place = copied(start, root / str(seed))
        before = held(KINDS[name], place)
        pid = forked(KINDS[name], place)
        time.sleep(float(rng.uniform(0, 1.1 * seconds[name])))
        killed[name] += _killed(pid)
        faults = [
            *_half_written(before, held(KINDS[name], place), wanted[name]),
            *_left_running(place),
            *_again(KINDS[name], place, wanted[name]),
        ]
        for fault in faults:
            _tell({"seed": seed, "command": name, "fault": fault})
        if not faults:
            shutil.rmtree(place)
    _tell({"tries": count, "killed": sum(killed.values()), "each": dict(sorted(killed.items()))})


def import_all() -> None:
    """Import what commands need, once for all children."""
    import onnxruntime
    import torch
    from tests.support.models import tiny_training

    from edgeq.calibration.statistics import resume
    from edgeq.deploy import cli
    from edgeq.deploy.gate import run as gate_run
    from edgeq.training.run import base

    torch.set_num_threads(1)
    for module, name in ((base, "SAVE_SECONDS"), (resume, "EVERY_S")):
        setattr(module, name, 0.0)  # the more is written, the more can be disturbed
    assert all((onnxruntime, tiny_training, cli, gate_run))


def starting_folder(place: Path) -> Path:
    """What is there before each command: inputs, and older files where it writes."""
    from tests.contract.damage.test_corrupted import small_model

    (place / "old").mkdir(parents=True)
    small = small_model()
    (place / "base.onnx").write_bytes(small.SerializeToString())
    random = np.random.default_rng(0)
    images, labels = random.normal(size=(40, 3, 8, 8)).astype(np.float32), np.arange(40) % 5
    np.savez(place / "base.npz", images=images, labels=labels)
    (place / "float.onnx").write_bytes(_float_model())
    (place / "sweep.toml").write_text(SWEEP)
    (place / "gate.toml").write_text(GATE)
    for words in (
        ("export", "base.onnx", "--to", "tflite", "--to", "vectors", "-o", "old"),
        ("calibrate", "float.onnx", "--data", "base.npz", "--samples", "4", "-o", "old/q.onnx"),
        ("gate", "--config", "gate.toml", "--update", "--accept-guessing"),
        ("lint", "base.onnx", "--html", "old/page.html"),
    ):
        code, said = ended(forked(Kind(words, ()), place), place)
        if code:
            sys.exit(f"{words} end with {code}: {said}")
    for name in ("base.onnx", "gate.sarif", "gate.md"):
        (place / "old" / name).write_text("old")
    (place / "result.json").write_text(_linted(place))
    return place


def _linted(place: Path) -> str:
    kind = Kind(("lint", "base.onnx", "--json"), ())
    _, said = ended(forked(kind, place), place)
    return said[said.index("{") :]


def _float_model() -> bytes:
    from onnx import TensorProto, helper, numpy_helper

    random = np.random.default_rng(1)
    weights = {
        "w": random.normal(size=(4, 3, 3, 3)).astype(np.float32),
        "v": random.normal(size=(144, 5)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["a"], name="a"),
        helper.make_node("Relu", ["a"], ["b"], name="b"),
        helper.make_node("Flatten", ["b"], ["c"], name="c"),
        helper.make_node("MatMul", ["c", "v"], ["out"], name="out"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 3, 8, 8])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 5])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    model = helper.make_model(graph, opset_imports=opset, ir_version=9)
    return bytes(model.SerializeToString())


def copied(start: Path, place: Path) -> Path:
    """A copy of a folder, with room for temporary files."""
    shutil.copytree(start, place)
    (place / "tmp").mkdir(exist_ok=True)
    return place


def forked(kind: Kind, place: Path, prepare: Callable[[], None] = lambda: None) -> int:
    """A child that runs a command in a folder, once what prepares it was called."""
    pid = os.fork()
    if pid:
        return pid
    code = 99
    try:
        import tempfile

        from edgeq.deploy.cli import run

        os.setsid()
        os.chdir(place)
        os.environ |= {MARK: str(place), "TMPDIR": str(place / "tmp")}
        os.environ["EDGEQ_IN_PROCESS"] = "0" if kind.apart else "1"
        tempfile.tempdir = None
        with (place / "said.txt").open("w") as file:
            sys.stdout = sys.stderr = file
            prepare()
            code = run(kind.words)
    finally:
        os._exit(code)


def ended(pid: int, place: Path) -> tuple[int, str]:
    """How a child ends, and what it has said."""
    until = time.monotonic() + MOST_SECONDS
    while not (found := os.waitpid(pid, os.WNOHANG))[0]:
        if time.monotonic() > until:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(found[1]), (place / "said.txt").read_text()


def _killed(pid: int) -> bool:
    """Kill a child; whether it was still at work."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL


def held(kind: Kind, place: Path) -> dict[str, bytes | None]:
    """What a command's files hold; None for those that are not there."""
    paths = {name: place / name for name in kind.files}
    return {name: path.read_bytes() if path.exists() else None for name, path in paths.items()}


def _half_written(
    before: dict[str, bytes | None], now: dict[str, bytes | None], wanted: dict[str, bytes | None]
) -> list[str]:
    """Files that are neither what they were nor what they become; those of a run may be between."""
    return [
        f"{name} is neither old nor new"
        for name, content in now.items()
        if content not in (before[name], wanted[name], None) and not name.startswith("run/")
    ] + [f"{name} is gone" for name, content in before.items() if content and not now[name]]


def _left_running(place: Path) -> list[str]:
    """Processes that a killed command has left."""
    until = time.monotonic() + GONE_SECONDS
    while (found := _processes(place)) and time.monotonic() < until:
        time.sleep(0.02)
    return [f"leaves the process {each}" for each in found]


def _processes(place: Path) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        with contextlib.suppress(OSError):
            if f"{MARK}={place}\0".encode() in path.read_bytes():
                found.append((path.parent / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def _again(kind: Kind, place: Path, wanted: dict[str, bytes | None]) -> list[str]:
    """What is wrong after the command was given again."""
    code, said = ended(forked(kind, place), place)
    if code:
        return [f"given again it ends with {code}: {said[-500:]}"]
    faults = [
        f"given again {name} is other than without a kill"
        for name, content in held(kind, place).items()
        if content != wanted[name]
    ]
    left = [path for path in place.rglob("*") if path.name.startswith(".edgeq")]
    left += [path for path in (place / "tmp").iterdir() if not path.name.startswith(_CACHE)]
    return faults + [f"leaves {path.relative_to(place)}" for path in left]


def _tell(what: object) -> None:
    sys.stdout.write(f"{json.dumps(what)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
