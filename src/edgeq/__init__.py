"""edgeq: is what the device computes what was trained, and if not, where, by how much and why?

For a network and a training loop of one's own: ``quantize`` with a ``Scheme``,
``post_optimizer_step`` behind each step of the optimiser, ``sync_statistics`` where several
processes share its batches, ``export`` and ``compare``. What the commands do is here under their
names: ``calibrate``, ``search``, ``lint``, ``diff``, ``bounds``, ``profile``, ``audit``,
``emulate``, ``survey``, ``gate``, ``why``. All are imported when they are first asked for, since
they need torch and ``import edgeq`` does not.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Any

__version__ = "0.1.0"

# ONNX Runtime would give this machine an id, keep it at home, and report its sessions
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

_HOMES = {
    "CalibrationConfig": "edgeq.calibration.config",
    "ExportOptions": "edgeq.exporter",
    "Scheme": "edgeq.training.recipes.scheme",
    "audit": "edgeq.deploy.api.runs",
    "bounds": "edgeq.deploy.api.files",
    "calibrate": "edgeq.deploy.api.files",
    "compare": "edgeq.deploy.api.runs",
    "diff": "edgeq.deploy.api.files",
    "emulate": "edgeq.deploy.api.runs",
    "export": "edgeq.deploy.api.exporting",
    "gate": "edgeq.deploy.api.runs",
    "lint": "edgeq.deploy.api.files",
    "load_data": "edgeq.deploy.api.files",
    "profile": "edgeq.deploy.api.runs",
    "search": "edgeq.deploy.api.searching",
    "quantize": "edgeq.training.kept_function",
    "set_bits": "edgeq.training.qat_transform",
    "survey": "edgeq.deploy.api.runs",
    "post_optimizer_step": "edgeq.training.optimization.post_optimizer",
    "sync_statistics": "edgeq.training.distributed_stats",
    "why": "edgeq.deploy.api.runs",
}


def __getattr__(name: str) -> Any:
    if name == "targets":
        return import_module("edgeq.targets")  # a package that answers when it is called
    if name not in _HOMES:
        raise AttributeError(f"module 'edgeq' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_HOMES, "targets"})
