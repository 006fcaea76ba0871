"""Feeds damaged files to commands in this process, and prints what is wrong with what they say.

    python -m tests.support.checks.fuzzing FOLDER SEED COUNT

The folder holds a sound file of each kind. A line of JSON stands for each file that is told badly;
``done`` is the last. A command that takes too long is stopped; one that crashes ends all, and the
file that it was at lies in the folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import resource
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from tests.support.checks.corruption import damaged
from tests.support.checks.hostile import MAKERS as OTHERS
from tests.support.checks.hostile import document, pick
from tests.support.damage.flatbuffers import tables

from edgeq.deploy.cli import run

MAKERS = {**OTHERS, "tflite": tables, "result.json": document}
MOST_SECONDS = 300  # that a command hangs
MOST_CPU_SECONDS = 15  # of processor time, where a command usually takes less than 1
MOST_GROWTH = 2**30  # bytes of memory that a file of some kilobytes may cost
MOST_BYTES = 8 * 2**30  # of address space, most of which is libraries
LONGEST = 20_000  # characters that a command says
COMMANDS: dict[str, tuple[tuple[str, ...], ...]] = {
    "onnx": (
        ("lint", "FILE"),
        ("diff", "FILE", "base.onnx"),
        ("export", "FILE", "-o", "out"),
        ("bounds", "FILE"),
        ("audit", "FILE", "--target", "ort-cpu"),
        ("compare", "FILE", "--target", "ort-cpu,emulator", "--data", "base.npz"),
        ("calibrate", "FILE", "--data", "base.npz", "-o", "out.onnx", "--samples", "4"),
        ("why", "FILE", "--target", "ort-cpu", "--data", "base.npz", "--limit", "4"),
        ("profile", "FILE", "--target", "ort-cpu", "--seconds", "0.01", "--runs", "1"),
    ),
    "tflite": (("lint", "FILE"), ("diff", "FILE", "base.tflite"), ("audit", "FILE")),
    "toml": (
        ("sweep", "FILE", "-o", "out"),
        ("gate", "--config", "FILE"),
        ("train", "--recipe", "FILE", "-o", "out", "--check", "tflite"),
        ("calibrate", "base.onnx", "--data", "base.npz", "--recipe", "FILE", "-o", "out.onnx"),
    ),
    "result.json": (
        ("report", "FILE", "-o", "out.html", "--overwrite"),
        ("report", "FILE", "-o", "out.md", "--overwrite"),
        ("report", "FILE", "-o", "out.csv", "--overwrite"),
    ),
    "json": (
        ("gate", "base.onnx", "--data", "base.npz", "--target", "ort-cpu", "--baseline", "FILE"),
    ),
    "safetensors": (("export", "FILE", "-o", "out"), ("diff", "FILE", "base.safetensors")),
    "npz": (
        ("data", "FILE"),
        ("compare", "base.onnx", "--target", "ort-cpu", "--data", "FILE"),
        ("calibrate", "base.onnx", "--data", "FILE", "-o", "out.onnx"),
    ),
}


class _TooLong(BaseException):
    pass


def _stop(*_: object) -> None:
    raise _TooLong


def main() -> None:
    """Feed as many files as are asked for, in the given folder."""
    first, count = map(int, sys.argv[2:4])
    contextlib.chdir(sys.argv[1]).__enter__()
    for kind in (signal.SIGALRM, signal.SIGPROF):
        signal.signal(kind, _stop)
    resource.setrlimit(resource.RLIMIT_AS, (MOST_BYTES, MOST_BYTES))
    model = onnx.load("base.onnx")
    sound = {kind: Path(f"base.{kind}").read_bytes() for kind in MAKERS if kind != "toml"}
    for seed in range(first, first + count):
        rng = np.random.default_rng(seed)
        kind = pick(rng, [*COMMANDS, "onnx", "onnx", "tflite"])  # which have the most to damage
        content = (
            damaged(model, seed).content
            if kind == "onnx"
            else MAKERS[kind](sound.get(kind, b""), rng)
        )
        path = Path(f"damaged.{kind}")
        path.write_bytes(content)
        words = [str(path) if word == "FILE" else word for word in pick(rng, COMMANDS[kind])]
        if fault := _fault(words):
            kept = Path(f"{seed}.{kind}")
            kept.write_bytes(content)
            _tell(json.dumps({"seed": seed, "command": words, "fault": fault}))
    _tell("done")


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _fault(words: list[str]) -> str:
    """What is wrong with what a command does; empty for nothing."""
    outputs = tuple(map(Path, ("out", "out.onnx", "out.html", "out.md", "out.csv")))
    for each in outputs:
        shutil.rmtree(each, ignore_errors=True) if each.is_dir() else each.unlink(missing_ok=True)
    said, code, held = io.StringIO(), 0, _peak()
    signal.alarm(MOST_SECONDS)
    signal.setitimer(signal.ITIMER_PROF, MOST_CPU_SECONDS)
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            code = run(words)
    except _TooLong:
        return f"takes more than {MOST_SECONDS} s, or {MOST_CPU_SECONDS} s of processor time"
    except BaseException as error:  # noqa: BLE001  # whatever escapes is a fault
        return f"{type(error).__name__} escapes: {error}"
    finally:
        signal.alarm(0)
        signal.setitimer(signal.ITIMER_PROF, 0)
    text: Any = said.getvalue()
    if code == 70:
        return f"a bug: {text[-300:]}"
    if "Traceback" in text:
        return "shows a traceback"
    if set("\x1b\u202e\u200b\u2028") & set(text):
        return "acts on the terminal"
    if len(text) > LONGEST:
        return f"says {len(text)} characters"
    if code == 2 and any(
        each.is_file() or (each.is_dir() and any(each.iterdir())) for each in outputs
    ):
        return "is refused, and leaves files"
    grown = _peak() - held
    return f"takes {grown >> 20} MB" if grown > MOST_GROWTH else ""


def _peak() -> int:
    """The most memory that this process or one that it has started ever held, in bytes."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return 1024 * max(resource.getrusage(kind).ru_maxrss for kind in kinds)


if __name__ == "__main__":
    main()
