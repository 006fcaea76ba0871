"""Other converters, each in an environment of its own.

It is made when it is first needed, outside the repository.

The folder is ``EDGEQ_PEERS``, else ``~/.cache/edgeq/peers``. A peer's environment takes 2 to 3 GB.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

INSTALL_SECONDS = 480
RUN_SECONDS = 3600
WORKERS = Path(__file__).parents[1] / "workers"


class PeerError(Exception):
    """A peer cannot be installed, or failed at its work; the message says with what."""


@dataclass(frozen=True, slots=True)
class Peer:
    """Another converter.

    Attributes:
        name: its package, and the name of its worker script.
        requirements: what pip installs.
        python: the interpreter that it needs, by the name of its command; this one by default.
    """

    name: str
    requirements: tuple[str, ...]
    python: str = sys.executable

    def run(self, **arguments: object) -> Any:
        """Start the peer's worker in its environment with JSON arguments.

        Returns what it prints as JSON in its last line.

        Raises:
            PeerError: it cannot be installed, fails, or takes longer than ``RUN_SECONDS``.
        """
        command = [
            str(self._python()),
            str(WORKERS / f"{self.name.replace('-', '_')}.py"),
            json.dumps(arguments),
        ]
        try:
            done = subprocess.run(
                command,
                capture_output=True,
                text=True,
                check=False,
                timeout=RUN_SECONDS,
                env=_environment(),
            )
        except subprocess.TimeoutExpired as error:
            raise PeerError(f"it took longer than {RUN_SECONDS} s") from error
        if done.returncode:
            raise PeerError(last_line(done.stderr or done.stdout))
        return json.loads(done.stdout.strip().splitlines()[-1])

    def _python(self) -> Path:
        folder = (
            Path(os.environ.get("EDGEQ_PEERS", Path.home() / ".cache" / "edgeq" / "peers"))
            / self.name
        )
        python, stamp = folder / "bin" / "python", folder / "installed.txt"
        if stamp.exists() and stamp.read_text(encoding="utf-8").split("\n") == list(
            self.requirements
        ):
            return python
        if shutil.which(self.python) is None:
            raise PeerError(f"it needs {self.python}, which is not installed")
        folder.parent.mkdir(parents=True, exist_ok=True)
        print(f"installing {' '.join(self.requirements)} into {folder}", file=sys.stderr)
        for command in (
            [self.python, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "-q", *self.requirements],
        ):
            try:
                done = subprocess.run(
                    command, capture_output=True, text=True, check=False, timeout=INSTALL_SECONDS
                )
            except subprocess.TimeoutExpired as error:
                raise PeerError(f"its installation took longer than {INSTALL_SECONDS} s") from error
            if done.returncode:
                raise PeerError(f"its installation failed: {last_line(done.stderr)}")
        stamp.write_text("\n".join(self.requirements), encoding="utf-8")
        return python


LITERT_TORCH = Peer("litert-torch", ("torch==2.13.0", "litert-torch==0.10.0"))
TORCHAO = Peer("torchao", ("torch==2.13.0", "torchao==0.18.0", "numpy==2.4.6"))
BREVITAS = Peer("brevitas", ("torch==2.13.0", "brevitas==0.13.4"))
AUTO_LIRPA = Peer(
    "auto-lirpa",
    ("auto_LiRPA==0.3", "torch==1.12.1", "torchvision==0.13.1", "numpy==1.24.4", "tqdm"),
    "python3.10",
)
ONNX2TF = Peer("onnx2tf", ("onnx2tf==1.29.24",))
PEERS_OF_PTQ = {
    "onnxruntime": Peer("onnxruntime", ("onnxruntime==1.32.0", "onnx==1.23.2")),
    # without a version of its own, pip takes torch with CUDA for it
    "aimet-onnx": Peer("aimet-onnx", ("torch==2.13.0", "aimet-onnx==2.42.0")),
    "nncf": Peer("nncf", ("nncf==3.4.0", "onnx==1.23.2", "onnxruntime==1.32.0")),
    "neural-compressor": Peer(
        "neural-compressor",
        ("neural-compressor==2.6", "six", "numpy<2", "onnx<1.17", "onnxruntime<1.19"),
    ),
    "onnx-neural-compressor": Peer(
        "onnx-neural-compressor", ("onnx-neural-compressor==1.0", "prettytable==3.18.0", "scipy")
    ),
}
"""Tools that quantise ONNX after training."""


def last_line(text: str) -> str:
    """The last line that says something, which is where Python puts the error."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "no reason given"


def _environment() -> dict[str, str]:
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "", "PYTHONWARNINGS": "ignore"}
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"} | quiet
