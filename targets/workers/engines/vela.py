"""Arm's Vela, the compiler for Ethos-U NPUs.

What it makes of a model, and what it estimates that costs.

It computes no outputs. :meth:`Engine.get_output` is the compiled file, in which what it left on the
CPU stands beside the operator that runs on the NPU.
"""

from __future__ import annotations

import csv
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeq.targets.workers.wire import Refused

if TYPE_CHECKING:
    from numpy.typing import NDArray


def versions() -> dict[str, str]:
    """The package's version."""
    from importlib.metadata import version

    import ethosu.vela  # noqa: F401  an installed package may still fail to load

    return {"ethos-u-vela": version("ethos-u-vela")}


class Engine:
    """One compiled model.

    Args:
        model: a TFLite file.
        options: ``accelerator``, such as ``ethos-u55-128``; ``system_config`` and ``memory_mode``,
            sections of Vela's configuration file, which has defaults for both; ``config_text``, a
            configuration file to take in its place.
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        self.inputs: list[dict[str, Any]] = []
        self.outputs: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory() as folder:
            place = Path(folder)
            (place / "model.tflite").write_bytes(model)
            said = _compile(place, options)
            compiled, summaries = (
                place / "model_vela.tflite",
                list(place.glob("model_summary_*.csv")),
            )
            if not compiled.is_file():
                raise Refused(_last(said))
            self._compiled = np.frombuffer(compiled.read_bytes(), np.uint8)
            self.facts = {**(_row(summaries[0]) if summaries else {}), "said": said}

    def get_output(self, _index: int = 0) -> NDArray[np.uint8]:
        """The compiled file."""
        return self._compiled


def _compile(place: Path, options: dict[str, Any]) -> str:
    """Run Vela in a process of its own, since it ends its process on some models.

    Returns what it wrote.
    """
    command = [
        sys.executable,
        "-m",
        "ethosu.vela",
        str(place / "model.tflite"),
        "--output-dir",
        str(place),
    ]
    command += ["--accelerator-config", str(options["accelerator"])]
    for option in ("system_config", "memory_mode"):
        if options.get(option) is not None:
            command += [f"--{option.replace('_', '-')}", str(options[option])]
    if options.get("config_text") is not None:
        (place / "vela.ini").write_text(str(options["config_text"]), "utf-8")
        command += ["--config", str(place / "vela.ini")]
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        errors="replace",
        check=False,
    )
    if done.returncode < 0:
        raise Refused(
            f"Vela was ended by {signal.Signals(-done.returncode).name} while it compiled the model"
        )
    if done.returncode:
        raise Refused(_last(done.stdout))
    return done.stdout


def _row(summary: Path) -> dict[str, str]:
    with summary.open(encoding="utf-8", newline="") as file:
        return dict(next(csv.DictReader(file)))


def _last(said: str) -> str:
    """The last line, which is the exception where there was one, without its type."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return lines[-1].rpartition("Error: ")[2].strip("'") if lines else "Vela does not say why"
