"""ONNX Runtime's provider for Qualcomm's QNN, on the library of the Hexagon processor (HTP).

On a PC that library simulates the processor, to the integer, and takes a hundred times as long.
ONNX Runtime may not fall back to its CPU kernels: the whole graph is on the HTP, or the model is
refused with the operator that QNN names.
"""

from __future__ import annotations

import os
import re
import tempfile
import time
from typing import Any

from edgeq.targets.workers.ort_model import OrtModel
from edgeq.targets.workers.wire import Damaged, Refused

_PROVIDER = "qnn"
_SILENT, _WARNINGS = 4, 2
_UNKNOWN = re.compile(
    r"Unsupported nodes in QNN EP: \{ name: (?P<node>.*?), type: (?P<kind>\w+) \}"
)
_INVALID = re.compile(
    r"backendValidateOpConfig\(\) failed for node `(?P<node>.*?)` of type `(?P<kind>\w+)`"
)
_NUMBERED = re.compile(r"_\d+$")  # the same node, when QNN is asked again


def versions() -> dict[str, str]:
    """The plug-in's package, the runtime that it plugs into, and Qualcomm's own library."""
    from importlib.metadata import version

    import onnxruntime
    from onnxruntime_qnn import build_and_package_info

    found = {"onnxruntime-qnn": version("onnxruntime-qnn"), "onnxruntime": onnxruntime.__version__}
    return {**found, "QNN": str(getattr(build_and_package_info, "qnn_version", "unknown"))}


class Engine(OrtModel):
    """One model.

    Args:
        model: an ONNX file with a fixed batch of one.
        _options: none; the simulator has threads of its own.
    """

    def __init__(self, model: bytes, _options: dict[str, Any]) -> None:
        began = time.perf_counter()
        session = _start(model, _device())
        took = time.perf_counter() - began
        super().__init__(session)
        self.facts = {
            "provider": "QNN, HTP simulated on this machine",
            "on the HTP": "the whole graph",
            "compiled in": f"{took:.2f} s",
        }


def _device() -> Any:
    """The plug-in's device, the provider registered with this process once."""
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    if not any(device.ep_name == _PROVIDER for device in ort.get_ep_devices()):
        ort.register_execution_provider_library(_PROVIDER, qnn.get_library_path())
    return next(device for device in ort.get_ep_devices() if device.ep_name == _PROVIDER)


def _start(model: bytes, device: Any) -> Any:
    from onnxruntime.capi.onnxruntime_pybind11_state import InvalidGraph, InvalidProtobuf

    try:
        return _session(model, device, _SILENT)
    except (InvalidProtobuf, InvalidGraph) as error:
        raise Damaged(str(error)) from error
    except Exception as error:  # ONNX Runtime's exceptions have no base of their own
        raise Refused(_culprits(_log_of(model, device)) or str(error)) from error


def _session(model: bytes, device: Any, severity: int) -> Any:
    import onnxruntime as ort
    import onnxruntime_qnn as qnn

    options = ort.SessionOptions()
    options.log_severity_level = severity
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.add_provider_for_devices([device], {"backend_path": qnn.get_qnn_htp_path()})
    return ort.InferenceSession(model, options)


def _log_of(model: bytes, device: Any) -> str:
    """What the provider says while it refuses a model.

    It says so to the process's own standard error.
    """
    with tempfile.TemporaryFile() as file:
        kept = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            _session(model, device, _WARNINGS)
        except Exception:  # noqa: BLE001, S110  it was caught once already; this time only the log is wanted
            pass
        finally:
            os.dup2(kept, 2)
            os.close(kept)
        file.seek(0)
        return file.read().decode(errors="replace")


def _culprits(log: str) -> str:
    """The nodes that QNN does not take, in a sentence; empty where the log names none."""
    found = {
        match["node"]: match["kind"]
        for pattern in (_UNKNOWN, _INVALID)
        for match in pattern.finditer(log)
    }
    found = {
        name: kind
        for name, kind in found.items()
        if _NUMBERED.sub("", name) == name or _NUMBERED.sub("", name) not in found
    }
    if not found:
        return ""
    first = [f"{name!r} ({kind})" for name, kind in list(found.items())[:3]]
    more = f" and {len(found) - len(first)} more" if len(found) > len(first) else ""
    return (
        f"QNN does not take {', '.join(first)}{more} on the HTP, and falling back to the CPU "
        "is forbidden"
    )
