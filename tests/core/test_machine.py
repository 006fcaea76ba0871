"""The fingerprint of a machine, and the two shapes of ``/proc/cpuinfo`` it is read from."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest

from edgeq import machine
from edgeq.machine import ISA_FLAGS, fingerprint, memory_bytes, parse_cpuinfo

X86 = """processor\t: 0
vendor_id\t: GenuineIntel
model name\t: Intel(R) Xeon(R) Platinum 8481C
flags\t\t: fpu sse4_1 avx2 avx512_vnni amx_int8
bogomips\t: 5400.00

processor\t: 1
model name\t: another
flags\t\t: fpu
"""
ARM = """processor\t: 0
BogoMIPS\t: 108.00
Features\t: fp asimd asimddp

Hardware\t: BCM2835
Model\t\t: Raspberry Pi 5
"""


def test_x86_names_its_model_and_flags() -> None:
    name, flags = parse_cpuinfo(X86)
    assert name == "Intel(R) Xeon(R) Platinum 8481C"
    assert flags == {"fpu", "sse4_1", "avx2", "avx512_vnni", "amx_int8"}


def test_arm_names_its_board_and_features() -> None:
    name, flags = parse_cpuinfo(ARM)
    assert name == "BCM2835"
    assert flags == {"fp", "asimd", "asimddp"}


def test_a_machine_without_cpuinfo_still_has_a_fingerprint(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_read", lambda _path: "")
    found = fingerprint()
    assert found.cpu
    assert found.isa == ()
    assert found.governor == ""


def test_flags_are_told_in_one_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        machine, "_read", lambda path: X86 if path == Path("/proc/cpuinfo") else "performance\n"
    )
    found = fingerprint()
    assert found.isa == ("sse4_1", "avx2", "avx512_vnni", "amx_int8")
    assert found.isa == tuple(flag for flag in ISA_FLAGS if flag in found.isa)
    assert found.governor == "performance"


def test_the_fingerprint_is_of_this_process() -> None:
    found = fingerprint()
    assert found.cores == len(os.sched_getaffinity(0))
    assert found.python == ".".join(map(str, sys.version_info[:3]))
    assert found.runtimes["numpy"] == version("numpy")
    assert found.load_average >= 0


def test_a_system_that_tells_less_has_a_fingerprint_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As macOS, which knows no affinity, and Windows, which knows nothing of the three."""
    for name in ("sched_getaffinity", "getloadavg", "sysconf"):
        monkeypatch.delattr(os, name, raising=False)
    found = fingerprint()
    assert found.cores == os.cpu_count()
    assert math.isnan(found.load_average)
    assert memory_bytes() is None


def test_no_runtime_is_imported() -> None:
    code = (
        "import json, sys; from edgeq.machine import fingerprint; fingerprint(); "
        "print(json.dumps(list(sys.modules)))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "onnxruntime", "onnx", "ai_edge_litert", "numpy"} & set(
        json.loads(out.stdout)
    )


@pytest.mark.parametrize(
    ("asked", "threads"),
    [(None, 4), ("1", 1), ("3,1", 3), ("9", 4), ("0", 4), ("many", 4), ("", 4)],
)
def test_openmp_variable_bounds_threads(
    asked: str | None, threads: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "usable_cores", lambda: 4)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if asked is not None:
        monkeypatch.setenv("OMP_NUM_THREADS", asked)
    assert machine.usable_threads() == threads
