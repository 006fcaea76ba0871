"""ONNX Runtime's providers for NVIDIA GPUs, which node ran on which of them, and in which numbers.

A provider leaves what it cannot run to the CPU without a word, and one that finds no CUDA leaves
everything. So the fallback to the CPU is forbidden, and the first run is profiled: every node has
to have run on the provider that was asked for.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections import Counter
from typing import TYPE_CHECKING, Any

from edgeq.targets.workers.ort_model import OrtModel
from edgeq.targets.workers.wire import Damaged, Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

_COPIES = ("MemcpyFromHost", "MemcpyToHost")
_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_MULTIPLYING = ("Conv", "FusedConv", "ConvTranspose", "Gemm", "FusedGemm", "MatMul", "FusedMatMul")
_FLOATS = ("float", "float16", "bfloat16", "double")
_SUFFIX = "_kernel_time"
_ERRORS_ONLY = 3


def versions() -> dict[str, str]:
    """The package that is installed; it can be asked without a GPU."""
    from importlib.metadata import version

    import onnxruntime  # noqa: F401  an installed package may still fail to load

    return {"onnxruntime-gpu": version("onnxruntime-gpu")}


class Engine(OrtModel):
    """One model on one provider.

    Args:
        model: the ONNX file.
        options: ``provider``, ``threads``, and ``provider_options``, which go to the provider as
            they are.
    """

    def __init__(self, model: bytes, options: dict[str, Any]) -> None:
        provider = str(options["provider"])
        with tempfile.TemporaryDirectory(prefix="edgeq-") as folder:
            session = _start(
                model,
                provider,
                dict(options.get("provider_options", {})),
                int(options["threads"]),
                folder,
            )
            super().__init__(session)
            with open(session.end_profiling(), encoding="utf-8") as file:  # noqa: PTH123  a worker's Python may be old
                self.layers = placed(json.load(file))
        refuse_others(self.layers, provider)
        self.facts = {"provider": provider, **told(self.layers)}


def placed(events: Iterable[dict[str, Any]]) -> list[dict[str, str]]:
    """Which node ran where and on which numbers, from the events of a profile.

    Returns:
        For each node, in the order of execution: ``made_from`` (its name), ``kind`` (its operator),
        ``provider`` and ``type`` (of the first thing it reads).
    """
    found = []
    for event in events:
        name, arguments = str(event.get("name", "")), event.get("args", {})
        if event.get("cat") == "Node" and name.endswith(_SUFFIX) and "provider" in arguments:
            types = [kind for shape in arguments.get("input_type_shape", []) for kind in shape]
            kind, place = str(arguments.get("op_name", "")), str(arguments["provider"])
            found.append(
                {
                    "made_from": name.removesuffix(_SUFFIX),
                    "kind": kind,
                    "provider": place,
                    "type": types[0] if types else "",
                }
            )
    return found


def refuse_others(layers: list[dict[str, str]], provider: str) -> None:
    """Accept a model that ran where it was to run.

    Raises:
        Refused: some nodes ran elsewhere, or nothing tells where they ran.
    """
    if not layers:
        raise Refused("its profile names no node, so nothing tells where they ran")
    elsewhere = [
        layer for layer in layers if layer["provider"] != provider and layer["kind"] not in _COPIES
    ]
    others = Counter((layer["kind"], layer["provider"]) for layer in elsewhere)
    if others:
        left = ", ".join(
            f"{kind} {count} on {place}" for (kind, place), count in sorted(others.items())
        )
        raise Refused(f"{provider} left to others: {left}")


def told(layers: list[dict[str, str]]) -> dict[str, str]:
    """What ran, for reports: operators by the numbers they compute with.

    Multiplications in float beside quantisers are named.
    """
    counts = Counter(f"{layer['kind']} in {layer['type'] or 'no input'}" for layer in layers)
    facts = {"operators": ", ".join(f"{kind} {count}" for kind, count in sorted(counts.items()))}
    widened = Counter(
        layer["kind"]
        for layer in layers
        if layer["kind"] in _MULTIPLYING and layer["type"] in _FLOATS
    )
    if widened and any(layer["kind"] in _QUANTIZERS for layer in layers):
        which = ", ".join(f"{kind} {count}" for kind, count in sorted(widened.items()))
        facts["computed_in_float"] = (
            f"{which}: the provider has no integer kernel for them, and dequantises in "
            "front of each"
        )
    return facts


def _start(
    model: bytes, provider: str, provider_options: dict[str, str], threads: int, folder: str
) -> Any:
    import onnxruntime as ort

    if provider not in ort.get_available_providers():
        raise Refused(
            f"this build of onnxruntime has no {provider}; it has "
            f"{', '.join(ort.get_available_providers())}"
        )
    if hasattr(ort, "preload_dlls"):
        ort.preload_dlls()  # the CUDA libraries that pip may have installed beside it
    options = ort.SessionOptions()
    options.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    options.enable_profiling = True
    options.profile_file_prefix = os.path.join(folder, "profile")  # noqa: PTH118  a worker's Python may be old
    try:
        session = ort.InferenceSession(
            model, options, providers=[(provider, provider_options)], enable_fallback=0
        )
    except Exception as error:  # its exceptions have no base of their own
        damaged = type(error).__name__ in ("InvalidProtobuf", "InvalidGraph", "NoSuchFile")
        raise (Damaged if damaged else Refused)(str(error)) from error
    if session.get_providers()[0] != provider:
        raise Refused(
            f"{provider} did not start, and everything would run on {session.get_providers()[0]}"
        )
    return session
