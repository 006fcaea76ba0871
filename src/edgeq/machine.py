"""The machine that numbers were taken on: int8 answers and latencies both depend on it."""

from __future__ import annotations

import math
import os
import platform
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

# What int8 and float kernels choose by; x86 names first, then Arm's as Linux writes them (asimd is
# Neon, asimddp its dot product).
ISA_FLAGS = (
    "sse4_1", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512_vnni", "avx512_bf16",
    "avx_vnni", "avx_vnni_int8", "amx_tile", "amx_int8", "amx_bf16",
    "neon", "asimd", "asimddp", "asimdhp", "i8mm", "bf16", "sve", "sve2", "sme",
)  # fmt: skip
RUNTIMES = (
    "numpy", "torch", "onnx", "onnxruntime", "onnxruntime-gpu", "onnxruntime-qnn",
    "ai-edge-litert", "tflite-runtime", "tensorflow", "tflite-micro", "ethos-u-vela", "openvino",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Machine:
    """What a latency or an integer result may depend on.

    Attributes:
        cpu: the processor's name for people.
        architecture: as the kernel says it: ``x86_64``, ``aarch64``.
        cores: how many this process may use.
        isa: which of ``ISA_FLAGS`` the processor has.
        governor: the frequency governor of the first core; empty where it cannot be read.
        load_average: waiting processes, mean of the last minute; NaN where the system does not say.
        kernel: the operating system and its version.
        python: Python's version.
        runtimes: package name to version, of what is installed of ``RUNTIMES``.
    """

    cpu: str
    architecture: str
    cores: int
    isa: tuple[str, ...]
    governor: str
    load_average: float
    kernel: str
    python: str
    runtimes: Mapping[str, str]


_DOT_PRODUCTS = frozenset(("avx512_vnni", "avx_vnni", "avx_vnni_int8", "amx_int8"))


def adds_pairs(machine: Machine) -> bool:
    """Whether int8 kernels add pairs of products in 16 bits: x86 without a dot product.

    See :mod:`edgeq.qdq.ort_x86.saturation`.
    """
    return machine.architecture in ("x86_64", "AMD64") and not _DOT_PRODUCTS.intersection(
        machine.isa
    )


def fingerprint() -> Machine:
    """This machine, now; imports no runtime."""
    cpu, flags = parse_cpuinfo(_read(Path("/proc/cpuinfo")))
    return Machine(
        cpu=cpu or platform.processor() or platform.machine(),
        architecture=platform.machine(),
        cores=usable_cores(),
        isa=tuple(flag for flag in ISA_FLAGS if flag in flags),
        governor=_read(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor")).strip(),
        load_average=os.getloadavg()[0] if hasattr(os, "getloadavg") else math.nan,
        kernel=f"{platform.system()} {platform.release()}",
        python=platform.python_version(),
        runtimes=dict(_installed()),
    )


def usable_cores() -> int:
    """How many processor cores this process may use; where the system does not say, all."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return found or 1


def usable_threads() -> int:
    """How many threads may compute at a time: one a core, or fewer by ``OMP_NUM_THREADS``."""
    asked = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0].strip()
    most = int(asked) if asked.isascii() and asked.isdigit() else 0
    return min(usable_cores(), most or usable_cores())


def memory_bytes() -> int | None:
    """How much memory this machine has; None where the system does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):
        return None


def parse_cpuinfo(text: str) -> tuple[str, frozenset[str]]:
    """The processor's name, empty for none, and its flags, from Linux's ``/proc/cpuinfo``."""
    fields: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    name = fields.get("model name") or fields.get("Hardware") or fields.get("Model") or ""
    return name, frozenset((fields.get("flags") or fields.get("Features") or "").split())


@cache
def _installed() -> dict[str, str]:
    """Package to version; looked up once, since what is imported does not change."""
    found: dict[str, str] = {}
    for name in RUNTIMES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
