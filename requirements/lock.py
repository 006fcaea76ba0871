"""Write the locks of this folder again from the ranges in pyproject.toml.

``make lock`` does so, or ``make lock UPGRADE=1`` for newer versions.

Each set is resolved among all sets, so that every package has one version, for every system and
Python from 3.11 on. Without UPGRADE versions stay as they are where the ranges allow it. Only the
index of packages itself is asked, never extra ones or folders, which may hold a part of a version's
files and so a part of its hashes. At the end each lock is tried for PLATFORMS and PYTHONS: where a
package has no wheel, this ends with an error.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from install import HERE, SETS, for_uv, pip_settings

# how the packages are called that torch's common build needs on Linux, and the CPU build does not
CUDA = ("cuda-", "nvidia-", "triton")
OLDEST = "3.11"
PYTHONS = (OLDEST, "3.12", "3.13")
PLATFORMS = (
    "x86_64-manylinux_2_39",
    "aarch64-manylinux_2_39",
    "aarch64-apple-darwin",
    "x86_64-pc-windows-msvc",
)
OLDEST_MACOS = "14.0"  # of onnxruntime's and torch's wheels
_HEADER = "# Written by `make lock` from pyproject.toml; not to be edited.\n"


def requirements() -> dict[str, list[str]]:
    """The ranges of every lock, by its name."""
    content = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))
    project = content["project"]
    return {
        "uv": ["uv"],
        "torch": [line for line in project["dependencies"] if re.match(r"torch\b", line)],
        "core": [*project["dependencies"], *content["build-system"]["requires"]],
        "edge": project["optional-dependencies"]["edge"],
        **content["dependency-groups"],
    }


def resolve(wanted: list[str], *flags: str) -> str:
    """What uv resolves ranges to, as the text of a lock."""
    fixed = [
        "--universal",
        "--python-version",
        OLDEST,
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
        "--quiet",
    ]
    command = [str(Path(sys.executable).parent / "uv"), "pip", "compile", "-", *fixed, *flags]
    return subprocess.run(
        command, input="\n".join(wanted), capture_output=True, encoding="utf-8", check=True
    ).stdout


def packages(lock: str) -> list[str]:
    """The packages of a lock."""
    return re.findall(r"^([a-z0-9][a-z0-9._-]*)==", lock, re.MULTILINE)


def without_wheels() -> list[str]:
    """The locks that cannot be installed from wheels alone, each with the system and the Python."""
    program = str(Path(sys.executable).parent / "uv")
    fixed = "pip install --quiet --dry-run --target . --no-deps --require-hashes --no-build"
    found = []
    for name in ("uv", "torch", *SETS):
        for platform in PLATFORMS:
            for python in PYTHONS:
                where = ["--python-platform", platform, "--python-version", python]
                lock = ["--requirements", str(HERE / f"{name}.txt")]
                done = subprocess.run(
                    [program, *fixed.split(), *where, *lock],
                    env={**os.environ, "MACOSX_DEPLOYMENT_TARGET": OLDEST_MACOS},
                    capture_output=True,
                    encoding="utf-8",
                    check=False,
                )
                if done.returncode:
                    found.append(f"{name}.txt on {platform}, Python {python}: {done.stderr}")
    return found


def main() -> None:
    """Write every lock, and look whether all of each can be installed where edgeq is to run."""
    settings = {
        name: value
        for name, value in pip_settings().items()
        if name not in ("extra-index-url", "find-links")
    }
    os.environ.update(for_uv(settings, os.environ))
    ranges = requirements()
    together = HERE / ".together.txt"
    try:
        together.write_text(
            "".join(lock.read_text(encoding="utf-8") for lock in HERE.glob("[a-z]*.txt")),
            encoding="utf-8",
        )
        upgrade = ["--upgrade"] if os.environ.get("UPGRADE") else []
        resolve(
            [line for lines in ranges.values() for line in lines],
            "--output-file",
            str(together),
            *upgrade,
        )
        apart = [
            name
            for name in packages(resolve(ranges["torch"], "-c", str(together)))
            if name == "torch" or name.startswith(CUDA)
        ]
        for name in ("uv", "torch", *SETS):
            left_out = (
                [flag for package in apart for flag in ("--no-emit-package", package)]
                if name != "torch"
                else []
            )
            text = resolve(ranges[name], "-c", str(together), *left_out)
            (HERE / f"{name}.txt").write_text(_HEADER + text, encoding="utf-8")
    except subprocess.CalledProcessError as error:
        sys.exit(error.stderr)
    finally:
        together.unlink(missing_ok=True)
    sys.exit("\n".join(without_wheels()) or 0)


if __name__ == "__main__":
    main()
