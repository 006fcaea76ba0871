"""Whatever a runtime does ends its worker with one clear error, and leaves no process behind."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from tests.support.models import onnx_models, tflite_models
from tests.support.runtimes.worker_targets import WORKERS

from edgeq.errors import TargetError
from edgeq.formats.tflite_schema import schema

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from edgeq.targets.workers.target import WorkerTarget

    Make = Callable[..., WorkerTarget]

IMAGES = onnx_models.images(5)
HOST = """
import sys, time
from pathlib import Path
from edgeq.targets import ort
from edgeq.targets.workers.launchers import Here
from edgeq.targets.workers.target import WorkerTarget
options = {"fault": "run:hang"}
target = WorkerTarget("x", ort.cpu.capabilities, sys.argv[1], options=options, launcher=Here())
session = target.open(Path(sys.argv[2]))
print(session.facts["pid"], flush=True)
session.invoke()
"""


def processes(group_of: int) -> list[str]:
    """The processes of a session, zombies among them; a worker leads one."""
    out = subprocess.run(
        ["ps", "-o", "pid=", "--sid", str(group_of)], capture_output=True, text=True, check=False
    )
    return out.stdout.split()


def wait_until_gone(pid: int, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while processes(pid) and time.monotonic() < end:
        time.sleep(0.05)
    return not processes(pid)


def test_a_sound_worker_computes(make: Make, model: Path) -> None:
    with make().open(model, intermediates=True) as session:
        assert np.array_equal(session.run(IMAGES), IMAGES + np.float32(1))
        assert list(session.tensors(IMAGES)) == ["input", "sum"]
        assert session.facts["bytes"] == str(model.stat().st_size)
        pid = int(session.facts["pid"])
        assert processes(pid) == [str(pid)]
    assert processes(pid) == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("load:segfault", "was killed by SIGSEGV; it last wrote: the last words"),
        ("load:abort", "was killed by SIGABRT"),
        ("load:exit", "ended with exit code 3"),
        ("load:raise", "failed: in the runtime"),
        ("load:refuse", "refuses the model: it has an operator that nobody knows"),
        ("load:absent", "cannot be used: no such runtime"),
    ],
)
def test_a_fault_while_loading(make: Make, model: Path, fault: str, words: str) -> None:
    with pytest.raises(TargetError, match=re.escape(words)) as caught:
        make(fault).open(model)
    assert caught.value.exit_code == 4
    assert "hint: " in str(caught.value)
    assert "second line" not in str(caught.value)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("third:killed", "was killed by SIGKILL"),
        ("third:segfault", "was killed by SIGSEGV; it last wrote: the last words"),
        ("third:raise", "failed: in the runtime"),
        ("run:exit", "ended with exit code 3"),
        (
            "answer:shape",
            r"answers with float32 (1, 1, 8, 8) where it announced float32 (1, 3, 8, 8)",
        ),
        (
            "answer:dtype",
            r"answers with int32 (1, 3, 8, 8) where it announced float32 (1, 3, 8, 8)",
        ),
        ("answer:large", "answers with garbage: it announces"),
        ("answer:half", "answers with garbage: it lists the arrays"),
        ("answer:nan", "answers with NaN"),
    ],
)
def test_a_fault_in_mid_batch(make: Make, model: Path, fault: str, words: str) -> None:
    with make(fault).open(model) as session:
        pid = int(session.facts["pid"])
        with pytest.raises(TargetError, match=re.escape(words)) as caught:
            session.run(IMAGES)
        assert "hint: " in str(caught.value)
        assert processes(pid) == []
        with pytest.raises(TargetError, match="has ended"):
            session.run(IMAGES)


@pytest.mark.parametrize("fault", ["run:hang", "run:spin"])
def test_a_hang_is_over_when_its_time_is(make: Make, model: Path, fault: str) -> None:
    with make(fault, seconds=0.3).open(model) as session:
        pid, began = int(session.facts["pid"]), time.monotonic()
        with pytest.raises(TargetError, match=r"did not answer within 0\.3 s[\s\S]*run_seconds"):
            session.run(IMAGES)
        assert time.monotonic() - began < 8
    assert processes(pid) == []


def test_a_model_that_takes_too_long_to_load(make: Make, model: Path) -> None:
    target = make("load:hang")
    with pytest.raises(TargetError, match="did not answer within"):
        replace(target, limits=replace(target.limits, open_seconds=1.5)).open(model)


@pytest.mark.parametrize("fault", ["run:memory", "run:leak"])
def test_a_runtime_that_hoards_meets_its_memory_limit(make: Make, model: Path, fault: str) -> None:
    session = make(fault, memory_bytes=2**31).open(model)
    with session, pytest.raises(TargetError, match=r"ran out of memory[\s\S]*memory_mb"):
        session.run(IMAGES)


def test_what_a_runtime_prints_is_no_answer(make: Make, model: Path) -> None:
    with make("run:chatter").open(model) as session:
        assert np.array_equal(session.run(IMAGES[:2]), IMAGES[:2] + np.float32(1))


def test_what_a_runtime_starts_ends_with_it(make: Make, model: Path) -> None:
    with make("load:child").open(model) as session:
        pid = int(session.facts["pid"])
        assert len(processes(pid)) == 2
    assert wait_until_gone(pid)


def test_a_worker_does_not_outlive_its_host(engine_file: str, model: Path) -> None:
    host = subprocess.Popen(
        [sys.executable, "-c", HOST, engine_file, str(model)], stdout=subprocess.PIPE, text=True
    )
    assert host.stdout is not None
    pid = int(host.stdout.readline())
    assert processes(pid)
    os.kill(host.pid, signal.SIGKILL)
    host.wait()
    host.stdout.close()
    assert wait_until_gone(pid)


def test_a_real_runtime_that_aborts_loses_its_worker_only(tmp_path: Path) -> None:
    path = tmp_path / "abort.tflite"
    build, int8 = tflite_models.ModelBuilder(), schema.TensorType.INT8
    x, y = (build.tensor(name, (1, 8), int8, [scale]) for name, scale in (("x", 0.03), ("y", 1e-9)))
    build.operator(
        schema.BuiltinOperator.ADD,
        [x, x],
        [y],
        schema.BuiltinOptions.AddOptions,
        schema.AddOptionsT(),
        2,
    )
    build.graph.inputs, build.graph.outputs = [x], [y]
    # LiteRT cannot express such a ratio of scales, and ends the process that loads it
    path.write_bytes(build.content())
    with pytest.raises(TargetError, match="was killed by SIGABRT"):
        WORKERS["worker-tflite-ref"].open(path)
