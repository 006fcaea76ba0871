"""Runs Python on a processor without VNNI, with every Python that it starts.

    python -m tests.support.runtimes.haswell FOLDER -m pytest -p no:xdist tests/core/qdq/ort_x86

QEMU's user mode emulates one program. What that starts, workers among them, would run on the
processor that is really here, so the folder becomes an environment whose interpreter is a script
that calls QEMU again. ``/proc/cpuinfo`` says what the emulated processor has, in a namespace of its
own, which only root can make. numpy keeps to its plain kernels: QEMU 7 ends its sorting of AVX2 by
a crash.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from tests.support.runtimes.avx2 import QEMU

# QEMU warns of what its emulation leaves out, and some tests want nothing said
PROCESSOR = "Haswell,-pcid,-x2apic,-tsc-deadline,-hle,-invpcid,-rtm"
_HIDDEN = ("avx512", "avx_vnni", "amx_")
_IN_NAMESPACE = 'mount --bind "$0" /proc/cpuinfo && exec "$@"'


def why_not() -> str:
    """What is missing here; empty for nothing."""
    if QEMU is None:
        return "needs qemu-x86_64, of the package qemu-user"
    if os.geteuid() or shutil.which("unshare") is None:
        return "needs root and unshare, to say in /proc/cpuinfo what is emulated"
    return ""


def main() -> int:
    """Run the interpreter with the arguments behind the folder; returns its exit code."""
    if reason := why_not():
        sys.exit(f"{sys.argv[0]} {reason}")
    folder = Path(sys.argv[1]).resolve()
    environment = os.environ | {"NPY_DISABLE_CPU_FEATURES": "X86_V3"}
    command = ["unshare", "--mount", "sh", "-c", _IN_NAMESPACE, str(_cpuinfo(folder))]
    command += [str(_interpreter(folder)), *sys.argv[2:]]
    return subprocess.run(command, env=environment, check=False).returncode


def _interpreter(folder: Path) -> Path:
    """A script in the place of an environment's interpreter, which takes itself for that."""
    script = folder / "bin" / "python"
    script.parent.mkdir(parents=True, exist_ok=True)
    for name in ("pyvenv.cfg", "lib"):
        if not (folder / name).exists() and (Path(sys.prefix) / name).exists():
            (folder / name).symlink_to(Path(sys.prefix) / name)
    real = Path(sys.executable).resolve()
    words = (QEMU, "-cpu", PROCESSOR, "-0", script, real)
    script.write_text(f'#!/bin/sh\nexec {shlex.join(map(str, words))} "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return script


def _cpuinfo(folder: Path) -> Path:
    path = folder / "cpuinfo"
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    path.write_text("\n".join(map(_without_dot_products, lines)) + "\n", encoding="utf-8")
    return path


def _without_dot_products(line: str) -> str:
    name, colon, value = line.partition(":")
    if name.strip() != "flags":
        return line
    return name + colon + " ".join(["", *(f for f in value.split() if not f.startswith(_HIDDEN))])


if __name__ == "__main__":
    sys.exit(main())
